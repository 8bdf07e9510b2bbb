"""A conversation with a model: all that is kept of it is the model's state, a few kilobytes, however long it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors

from tidegate.errors import TidegateError
from tidegate.folder.tensor_file import write_tensor_file
from tidegate.runtime.model import Model
from tidegate.runtime.sampling import Sampling
from tidegate.runtime.stack import State
from tidegate.runtime.stream import Reading, encode_prompt, write
from tidegate.text.chat_template import ChatTemplate

FORMAT, FORMAT_VERSION = "tidegate-session", "1"
SESSION_BYTES = 1 << 28


@dataclass
class Session:
    """A conversation as it stands."""

    model: Model
    template: ChatTemplate
    system: str | None = None
    """what the conversation begins with"""
    turns: int = 0
    """answers given so far"""
    state: State | None = None
    """after the last answer; None before the first question"""
    unknown: list[str] = field(default_factory=list)
    """words of the last question that were read as unknown"""

    def ask(self, question: str, sampling: Sampling, max_tokens: int) -> Iterator[str]:
        """Yield the answer, piece by piece; whenever the caller stops listening, the conversation goes on after what
        was given of it. TidegateError for what the vocabulary lacks of the question."""
        first = self.state is None
        text = self.template.first_turn(question, self.system) if first else self.template.next_turn(question)
        ids, self.unknown = encode_prompt(self.model, text)
        state = self.state
        if state is None:
            _, state = self.model.step(self.model.tokenizer.document_id, self.model.initial_state())
        logits, state = self.model.read(ids, state)
        reading, given = Reading(logits, state, ()), []
        try:
            for piece in write(
                self.model, reading, sampling=sampling, max_tokens=max_tokens, stop=(self.template.end,),
                sample=self.turns,
            ):  # fmt: skip
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
            with safetensors.safe_open(path, framework="np") as file:
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
            if any(not np.isfinite(tensor).all() for tensor in tensors.values()):
                raise ValueError("its numbers are not finite")
            self.turns = turns
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            raise TidegateError(f"{path} cannot be read as a session ({error}): give another --session.") from None
        self.state = tuple(
            type(layer)(*(tensors[f"{index}.{name}"] for name in layer._fields)) for index, layer in enumerate(empty)
        )

    def _names(self) -> dict[str, str]:
        if not self.model.digest:
            raise TidegateError("A session needs a model from a folder: these weights have no digest.")
        template = hashlib.sha256(self.template.source.encode()).hexdigest()
        return {"format": FORMAT, "version": FORMAT_VERSION, "model": self.model.digest, "template": template}
