"""A conversation with a model: all that is kept of it is the model's state, a few kilobytes, however long it is."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tidegate.errors import TidegateError
from tidegate.files import unreadable
from tidegate.folder.tensor_file import FAILURES, check_digest, opened_tensors, write_tensor_file
from tidegate.runtime.sampling import Sampling
from tidegate.runtime.stack import State
from tidegate.runtime.stream import Reading, encode_prompt, write
from tidegate.text.chat_template import ChatTemplate
from tidegate.text.conversations.message import Message, message

if TYPE_CHECKING:
    from tidegate.runtime.model import Model

FORMAT, FORMAT_VERSION = "tidegate-session", "2"
SESSION_BYTES = 1 << 28
MAX_TOKENS = 400
"""longest answer where none is given"""


@dataclass
class Session:
    """A conversation as it stands.

    >>> talk = tidegate.load("runs/talks").conversation()   # doctest: +SKIP
    >>> talk.chat("My name is Anna.")                       # doctest: +SKIP
    >>> for piece in talk.ask("What is my name?"):          # doctest: +SKIP
    ...     print(piece, end="", flush=True)
    """

    model: Model
    template: ChatTemplate
    system: str | None = None
    """what the conversation begins with"""
    single_turn: bool = False
    """whether each question begins a new conversation, as in the texts that the model learned from"""
    turns: int = 0
    """answers given so far"""
    state: State | None = None
    """after the last answer; None before the first question"""
    unknown: list[str] = field(default_factory=list)
    """words of the last question that were read as unknown"""

    def chat(self, question: str, *, sampling: Sampling | None = None, max_tokens: int = MAX_TOKENS) -> str:
        """Return the answer to a question, as a whole; the arguments are those of `ask`."""
        return "".join(self.ask(question, sampling, max_tokens))

    def ask(
        self, question: str, sampling: Sampling | None = None, max_tokens: int = MAX_TOKENS
    ) -> Generator[str, None, None]:
        """Return an iterator of the answer's pieces; whenever the caller stops listening, the conversation goes on
        after what was given of it.

        sampling: how tokens are drawn, by default as `Sampling()` says; max_tokens: longest answer. TidegateError for
        an empty question, and for what the vocabulary lacks of it.
        """
        if not message("user", question).content:
            raise TidegateError("The question is empty: give it a text.")
        return self._answer(question, sampling or Sampling(), max_tokens)

    def read(self, before: Sequence[Message]) -> None:
        """Begin with what was said before: messages up to an answer, or the system's alone."""
        if before and before[0].role == "system":
            self.system = before[0].content
        if self.single_turn or len(before) < 2:
            return
        _, state = self.model.step(self.model.tokenizer.document_id, self.model.initial_state())
        # cut before and after each answer, as they were learned
        for segment in self.template.segments(before):
            _, state = self.model.read(encode_prompt(self.model, segment.text)[0], state)
        self.state, self.turns = state, sum(turn.role == "assistant" for turn in before)

    def _answer(self, question: str, sampling: Sampling, max_tokens: int) -> Generator[str, None, None]:
        if self.single_turn:
            self.state = None
        first = self.state is None
        text = self.template.first_turn(question, self.system) if first else self.template.next_turn(question)
        ids, self.unknown = encode_prompt(self.model, text)
        state = self.state
        if state is None:
            _, state = self.model.step(self.model.tokenizer.document_id, self.model.initial_state())
        logits, state = self.model.read(ids, state)
        reading, given = Reading(logits, state, ()), []
        try:
            pieces = write(
                self.model, reading, sampling=sampling, max_tokens=max_tokens, stop=(self.template.end,),
                sample=self.turns,
            )  # fmt: skip
            for piece in _whole_characters(pieces):
                given.append(piece)
                yield piece
        finally:
            # read as it was learnt: the answer with the mark of its end, cut into tokens as a whole
            end = self.model.tokenizer.encode("".join(given) + self.template.end)
            _, self.state = self.model.read(end, state)
            self.turns += 1

    def save(self, path: Path) -> None:
        """Write the conversation's file, atomically."""
        if self.state is None:
            return
        tensors = {
            f"{index}.{name}": np.asarray(value)
            for index, layer in enumerate(self.state)
            for name, value in layer._asdict().items()
        }
        write_tensor_file(path, tensors, self._names() | {"turns": str(self.turns)})

    def restore(self, path: Path) -> None:
        """Go on with a conversation's file; TidegateError where it is damaged, or of another model or template."""
        wanted = self._names()
        empty = self.model.initial_state()
        try:
            if path.stat().st_size > SESSION_BYTES:
                raise ValueError(f"larger than {SESSION_BYTES:,} bytes")
            with opened_tensors(path) as file:
                found = file.metadata() or {}
                for name in ("format", "version"):
                    if found.get(name) != wanted[name]:
                        raise ValueError(f"its {name} is {found.get(name)!r}, not {wanted[name]!r}")
                for name, what in (("model", "model"), ("template", "chat template")):
                    if found.get(name) != wanted[name]:
                        raise TidegateError(
                            f"The session {path} is a conversation with another {what}: give the one that it was with, "
                            "or another --session."
                        )
                slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no dict)
                kinds = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
                layers = [layer._asdict() for layer in empty]
                right = {f"{i}.{name}": (v.shape, "F32") for i, layer in enumerate(layers) for name, v in layer.items()}
                turns = int(found.get("turns", "")[:12])
                if kinds != right or turns < 1:
                    raise ValueError("its tensors are not a state of this model")
                tensors = {name: file.get_tensor(name) for name in kinds}
            check_digest(path, tensors, found, "restore the file from a copy, or give another --session")
            if any(not np.isfinite(tensor).all() for tensor in tensors.values()):
                raise ValueError("its numbers are not finite")
            self.turns = turns
        except PermissionError as error:
            raise unreadable(path, error) from None
        except FAILURES as error:
            raise TidegateError(f"{path} cannot be read as a session ({error}): give another --session.") from None
        self.state = tuple(
            type(layer)(*(tensors[f"{index}.{name}"] for name in layer._fields)) for index, layer in enumerate(empty)
        )

    def _names(self) -> dict[str, str]:
        if not self.model.digest:
            raise TidegateError("A session needs a model from a folder: these weights have no digest.")
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "model": self.model.digest,
            "template": self.template.digest,
        }


def _whole_characters(pieces: Iterable[str]) -> Iterator[str]:
    """Yield an answer's text without the replacement characters at its end: there a model of bytes ended the answer
    within a character."""
    held = ""
    for piece in pieces:
        text = held + piece
        shown = text.rstrip("\ufffd")
        held = text[len(shown) :]
        if shown:
            yield shown
