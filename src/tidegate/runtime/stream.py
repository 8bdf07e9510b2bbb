"""Text as it is written: prompt in, pieces out, at a memory that grows with neither.

Every piece is valid text: half a character waits for its rest, and is dropped where the text ends; what may become a
stop string waits until it is clear that it does not.
"""

from __future__ import annotations

import itertools
import numbers
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tidegate.arguments import one_or_more
from tidegate.errors import TidegateError
from tidegate.runtime.sampling import Sampling, choose, uniform
from tidegate.text.normalize import cut_pieces, normalize_stream, refuse_surrogates
from tidegate.text.tokenizer import Tokenizer
from tidegate.text.utf8_stream import Utf8Stream

if TYPE_CHECKING:
    from tidegate.runtime.model import Model

PIECE = 1 << 14
"""Characters of a prompt that are held at once."""
LONGEST_STOP = 1000
SHOWN_MISSING = 10
SUGGESTED = 3
"""Missing words for which near ones are looked for."""


class Reading(NamedTuple):
    """Where a model stands after a prompt; any number of samples go on from it."""

    logits: NDArray[np.float32]
    """(V,), of the first token to write"""
    state: Any
    recent: tuple[int, ...]
    """the prompt's last ids, for the repetition penalty"""
    unknown: tuple[str, ...] = ()
    """words of the prompt, the first few, that were read as the unknown token"""


def stream(
    model: Model,
    prompt: str | Iterable[str] = "",
    *,
    sampling: Sampling,
    max_tokens: int | None,
    stop: str | Sequence[str] = (),
    sample: int = 0,
    end_at_document: bool = True,
) -> Iterator[str]:
    """Go on from a prompt, one piece of text after another.

    prompt: a text, or the parts of one that need not fit in memory. max_tokens: None writes without end. stop: the
    text ends before this string, or the first of these. sample: which of the samples of one seed. end_at_document: end
    where the model ends the document, else go on within it. Raises TidegateError for what the vocabulary lacks of the
    prompt.
    """
    reading = read_prompt(model, prompt, window=sampling.repetition_window)
    return write(
        model,
        reading,
        sampling=sampling,
        max_tokens=max_tokens,
        stop=stop,
        sample=sample,
        end_at_document=end_at_document,
    )


def read_prompt(
    model: Model, prompt: str | Iterable[str], *, window: int, accepted: Callable[[str], object] | None = None
) -> Reading:
    """Read a prompt from the initial state, after the document token if the model knows what that means.

    Else a text without a prompt begins as after a line's end, which every model has seen.
    window: how many ids are remembered; accepted: called with each piece of the prompt's text once it is read.
    """
    tokenizer = model.tokenizer
    logits, state = None, model.initial_state()
    if model.knows_documents:
        logits, state = model.step(tokenizer.document_id, state)
    recent: deque[int] = deque(maxlen=window)
    unknown: dict[str, None] = {}
    for piece in _pieces(prompt):
        ids, lacking = encode_prompt(model, piece)
        unknown |= dict.fromkeys(lacking[: SHOWN_MISSING - len(unknown)])
        if len(ids):
            logits, state = model.read(ids, state)
        recent.extend(ids[-window:].tolist() if window else ())
        if accepted is not None:
            accepted(piece)
    if logits is None:
        logits, state = model.read(
            [tokenizer.document_id] if tokenizer.unreadable("\n") else tokenizer.encode_known("\n"), state
        )
    return Reading(logits, state, tuple(recent), tuple(unknown))


def _pieces(prompt: str | Iterable[str]) -> Iterator[str]:
    """Cut as the training text was cut, in its normal form, so that a piece's border changes neither."""
    parts = (prompt,) if isinstance(prompt, str) else prompt
    return cut_pieces(normalize_stream(parts), PIECE)


def encode_prompt(model: Model, piece: str) -> tuple[NDArray[np.uint32], list[str]]:
    """Return the ids of a text that a model is to read, and what its vocabulary lacks of it, which is read as unknown;
    a TidegateError where the model was trained on no unknown token."""
    refuse_surrogates(piece, "The prompt")
    tokenizer = model.tokenizer
    missing = tokenizer.unreadable(piece)
    if missing and not model.knows_unknown:
        raise TidegateError(
            f"The prompt has {described(missing, tokenizer)}, which the model's vocabulary ({tokenizer.kind}) lacks: "
            "omit it, or use a model with a bytes or bpe tokenizer, which lack nothing."
        )
    return tokenizer.encode_known(piece), missing


def described(missing: Sequence[str], tokenizer: Tokenizer) -> str:
    """Return what a vocabulary lacks as a list to show, with words of it that are spelled alike."""
    parts = []
    for number, word in enumerate(missing[:SHOWN_MISSING]):
        near = tokenizer.near(word) if number < SUGGESTED else []
        parts.append(repr(word.strip(" ") or word) + (f" (similar: {', '.join(map(repr, near))})" if near else ""))
    return ", ".join(parts) + (" …" if len(missing) > SHOWN_MISSING else "")


def read_as_unknown(missing: Sequence[str], tokenizer: Tokenizer) -> str:
    """Return a sentence that says which words of a prompt were read as unknown."""
    return f"Not in the vocabulary, read as unknown: {described(missing, tokenizer)}."


def write(
    model: Model,
    reading: Reading,
    *,
    sampling: Sampling,
    max_tokens: int | None,
    stop: str | Sequence[str] = (),
    sample: int = 0,
    end_at_document: bool = True,
) -> Iterator[str]:
    """Yield the text that follows a prompt that was read; the arguments are those of `stream`."""
    _check_limits(max_tokens, sample)
    stops = StopStrings([model.tokenizer.normalize(string) for string in one_or_more(stop)])
    return _filtered(
        _tokens(model, reading, sampling.seeded(), max_tokens, sample, end_at_document), stops, model.tokenizer
    )


def _check_limits(max_tokens: int | None, sample: int) -> None:
    for name, value in (("max_tokens", max_tokens), ("sample", sample)):
        if value is not None and not isinstance(value, numbers.Integral):
            raise TidegateError(f"{name} is {value!r}, but it must be a whole number.")
    if max_tokens is not None and max_tokens < 0:
        raise TidegateError(f"max_tokens is {max_tokens}, but it must be 0 or more, or None for a text without end.")
    if not 0 <= sample < 2**63:
        raise TidegateError(f"sample is {sample}, but it must be from 0 to 2^63 - 1.")


def _tokens(
    model: Model, reading: Reading, sampling: Sampling, max_tokens: int | None, sample: int, end_at_document: bool
) -> Iterator[int]:
    """Yield the ids that are drawn; the unknown token is never one of them."""
    tokenizer, (logits, state, before, _) = model.tokenizer, reading
    never = [] if tokenizer.unknown_id is None else [tokenizer.unknown_id]
    if not end_at_document:
        never.append(tokenizer.document_id)
    assert sampling.seed is not None
    recent = deque(before, maxlen=sampling.repetition_window)
    token_id = tokenizer.document_id
    for position in itertools.count() if max_tokens is None else range(max_tokens):
        if position > 0:
            logits, state = model.step(token_id, state)
        token_id = choose(logits, sampling, tuple(recent), uniform(sampling.seed, sample, position), never)
        if token_id == tokenizer.document_id:
            return
        recent.append(token_id)
        yield token_id


def _filtered(ids: Iterator[int], stops: StopStrings, tokenizer: Tokenizer) -> Iterator[str]:
    """Yield the text of the ids, without half characters and up to the first stop string."""
    characters = Utf8Stream()
    for token_id in ids:
        text = stops.feed(characters.feed(tokenizer.token_bytes(token_id)))
        if text:
            yield text
        if stops.found:
            return
    if text := stops.finish():
        yield text


class StopStrings:
    """Passes text on up to the first stop string, and holds back the longest end that could begin one."""

    def __init__(self, stops: Sequence[str]) -> None:
        for string in stops:
            if not 1 <= len(string) <= LONGEST_STOP:
                raise TidegateError(
                    f"A stop string has {len(string)} characters, but it must have from 1 to {LONGEST_STOP}."
                )
        self.found = False
        self._stops = tuple(stops)
        self._held = ""

    def feed(self, text: str) -> str:
        """Take a piece; return what can be no part of a stop string. After one is found, nothing more is returned."""
        if self.found or not text:
            return ""
        text = self._held + text
        found = [(at + len(string), at) for string in self._stops if (at := text.find(string)) >= 0]
        self.found = bool(found)
        # the one that is whole first, so that the borders between pieces do not matter
        end = min(found)[1] if found else len(text) - max((_overlap(text, s) for s in self._stops), default=0)
        self._held = text[end:]
        return text[:end]

    def finish(self) -> str:
        """Return what was held back, now that nothing can follow it."""
        return "" if self.found else self._held


def _overlap(text: str, string: str) -> int:
    """Return the length of the longest proper beginning of `string` that `text` ends with."""
    return next((n for n in range(min(len(string) - 1, len(text)), 0, -1) if text.endswith(string[:n])), 0)
