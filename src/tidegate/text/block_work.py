"""What is done with a block, in this process or in another: count it, take a sample of it, turn it into ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tidegate.json_files import read_json
from tidegate.text.blocks import Block, cut_parts
from tidegate.text.html_text import html_text
from tidegate.text.normalize import normalize
from tidegate.text.tokenizer import TOKENIZER_LIMITS, Tokenizer, from_json

SAMPLE_PIECE = 2**14
"""characters of a piece that a sample takes or leaves"""


class Counts(NamedTuple):
    """What a block has, part by part; the text is the normalised one."""

    byte_counts: NDArray[np.int64]
    """UTF-8 bytes of each part; 0 for one without text"""
    character_counts: NDArray[np.int64]
    digests: NDArray[np.uint8]
    """(parts, 32) sha256 of each part's UTF-8"""
    lines: NDArray[np.int64]
    """(parts, 3) characters of a part's first, longest and last line; (n, -1, -1) where it has no line end"""
    codes: NDArray[np.uint32]
    """the code points that occur, ascending"""
    code_counts: NDArray[np.int64]
    """how often each does"""


class Ids(NamedTuple):
    """The tokens of one side of the split, training or validation."""

    ids: NDArray[Any]
    """uint16 or uint32; each document begins with the document token"""
    starts: NDArray[np.int64]
    """where in `ids` documents begin"""
    byte_count: int
    character_count: int
    unknown_count: int


def count_block(block: Block) -> Counts:
    """Count the parts of a block."""
    texts = normalized(block)
    data = [text.encode("utf-8") for text in texts]
    codes, code_counts = _histogram(data, texts)
    return Counts(
        np.array([len(part) for part in data], np.int64),
        np.array([len(text) for text in texts], np.int64),
        np.array([list(hashlib.sha256(part).digest()) for part in data], np.uint8).reshape(-1, 32),
        np.array([_line_lengths(text) for text in texts], np.int64).reshape(-1, 3),
        codes,
        code_counts,
    )


class Text(NamedTuple):
    """A block's normalised text, divided into what is trained on and what is validated on."""

    trained: list[tuple[str, bool]]
    """(text, starts a document)"""
    validated: list[tuple[str, bool]]
    digest: str
    """of all its parts, kept or not, by `parts_digest`"""


def divided(block: Block, kept: NDArray[np.bool_], cut: int) -> Text:
    """Divide the parts of a block that are kept.

    kept: whether each part is taken. cut: bytes of the kept text before the validation part.
    """
    texts = normalized(block)
    digest = parts_digest(b"".join(hashlib.sha256(text.encode("utf-8")).digest() for text in texts))
    parts = ((text, starts) for text, starts, takes in zip(texts, block.starts, kept, strict=True) if takes)
    return Text(*divide(parts, cut), digest)


def sample(parts: Iterable[tuple[str, bool]], share: float) -> list[str]:
    """Return about `share` of a text, in pieces evenly from all of it."""
    taken: list[str] = []
    seen = got = 0.0
    for text, _ in parts:
        for piece in cut_parts([text], SAMPLE_PIECE):
            if got <= seen * share:
                taken.append(piece)
                got += len(piece)
            seen += len(piece)
    return taken


def codes_of(parts: Iterable[tuple[str, bool]]) -> NDArray[np.uint32]:
    """Return the code points of a text, ascending."""
    texts = [text for text, _ in parts]
    return _histogram([text.encode("utf-8") for text in texts], texts)[0]


def encode(parts: Iterable[tuple[str, bool]], tokenizer: Tokenizer, dtype: str) -> Ids:
    """Encode a text, with a document token before each part that starts a document."""
    pieces: list[NDArray[Any]] = []
    starts: list[int] = []
    length = byte_count = character_count = unknown = 0
    document = np.array([tokenizer.document_id], dtype)
    for text, starts_document in parts:
        ids = tokenizer.encode_normalized(text)
        if starts_document:
            starts.append(length)
            pieces.append(document)
        pieces.append(ids.astype(dtype))
        length += len(ids) + starts_document
        byte_count += len(text.encode("utf-8"))
        character_count += len(text)
        if tokenizer.unknown_id is not None:
            unknown += int(np.count_nonzero(ids == tokenizer.unknown_id))
    ids = np.concatenate(pieces) if pieces else np.empty(0, dtype)
    return Ids(ids, np.array(starts, np.int64), byte_count, character_count, unknown)


def parts_digest(digests: bytes) -> str:
    """Return the digest of a block, from those of its parts one after another: tells whether it is still the same."""
    return hashlib.sha256(digests).hexdigest()


def normalized(block: Block) -> list[str]:
    """Return each part's normalised text."""
    return [normalize(html_text(part) if block.html else part) for part in block.parts]


def divide(parts: Iterable[tuple[str, bool]], cut: int) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """Divide (text, starts a document) before and from byte `cut` of the text on, at the start of the character there;
    the second half of a part that is cut in two starts no document."""
    before: list[tuple[str, bool]] = []
    after: list[tuple[str, bool]] = []
    position = 0
    for text, starts in parts:
        data = text.encode("utf-8")
        here = cut - position
        position += len(data)
        if not 0 < here < len(data):
            (before if here > 0 else after).append((text, starts))
            continue
        while here and data[here] & 0xC0 == 0x80:  # a byte within a character
            here -= 1
        if here:
            before.append((data[:here].decode("utf-8"), starts))
        after.append((data[here:].decode("utf-8"), starts and here == 0))
    return before, after


@lru_cache(maxsize=2)
def tokenizer_of(path: str) -> Tokenizer:
    """Return the tokenizer that this program wrote to a file of the cache."""
    return from_json(read_json(Path(path), TOKENIZER_LIMITS, "prepare the text again"))


def _histogram(data: list[bytes], texts: list[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Return the code points of texts, ascending, and how often each occurs."""
    if all(len(part) == len(text) for part, text in zip(data, texts, strict=True)):  # ASCII alone
        counts = np.bincount(np.frombuffer(b"".join(data), np.uint8), minlength=1)
    else:
        counts = np.bincount(np.frombuffer("".join(texts).encode("utf-32-le"), "<u4"), minlength=1)
    codes = np.flatnonzero(counts)
    return codes.astype(np.uint32), counts[codes].astype(np.int64)


def _line_lengths(text: str) -> tuple[int, int, int]:
    if "\n" not in text:
        return len(text), -1, -1
    lengths = [len(line) for line in text.split("\n")]
    return lengths[0], max(lengths), lengths[-1]
