"""What every tokenizer is: a reversible map from normalised text to ids, with a digest that tells it from any other."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from tidegate.errors import TidegateError
from tidegate.text.normalize import NORMALIZATION, normalize

FORMAT = "tidegate-tokenizer"
FORMAT_VERSION = 1
LARGEST_VOCABULARY = 2_000_000
UNKNOWN_BYTES = "\N{REPLACEMENT CHARACTER}".encode()
"""What the unknown id stands for when ids become text."""


class Tokenizer(ABC):
    """Text to ids and back. Ids are 0 … vocabulary_size - 1."""

    kind: ClassVar[str]
    vocabulary_size: int
    """V"""
    document_id: int
    """the token that starts every document; no text encodes to it, and it stands for no bytes"""
    unknown_id: int | None
    """stands for all that the vocabulary lacks; None where it lacks nothing"""

    @final
    def normalize(self, text: str) -> str:
        """Return the text as this tokenizer sees it: line ends ``\\n``, NFC."""
        return normalize(text)

    @final
    def encode(self, text: str) -> NDArray[np.uint32]:
        """Return the ids of the normalised text, (tokens,) uint32, without any special token."""
        return self.encode_normalized(normalize(text))

    @final
    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of the ids; bytes that are no UTF-8 come out as U+FFFD."""
        return b"".join(self.token_bytes(int(token)) for token in ids).decode("utf-8", errors="replace")

    @final
    def to_json(self) -> dict[str, Any]:
        """Return all that makes up this tokenizer, as docs/formats.md describes tokenizer.json."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "kind": self.kind,
            "normalization": NORMALIZATION,
            **self._contents(),
        }

    @final
    @cached_property
    def digest(self) -> str:
        """sha256 of the canonical JSON, in hexadecimal digits: equal only for tokenizers that give the same ids."""
        return canonical_digest(self.to_json())

    @abstractmethod
    def missing(self, text: str) -> list[str]:
        """Return what the vocabulary lacks of this text, each once, in order of appearance."""

    @abstractmethod
    def token_bytes(self, token: int) -> bytes:
        """Return the UTF-8 bytes of one token; an id outside 0 … V - 1 is an IndexError."""

    @abstractmethod
    def encode_normalized(self, text: str) -> NDArray[np.uint32]:
        """Return the ids of a text that `normalize` has gone over already."""

    def encode_known(self, text: str) -> NDArray[np.uint32]:
        """Return the ids of a text that a model reads and is not measured on: as `encode`, but a word that the
        vocabulary has with a space before it alone, or without one alone, is read as that."""
        return self.encode(text)

    def unreadable(self, text: str) -> list[str]:
        """Return what `encode_known` reads as unknown, each once, in order of appearance."""
        return self.missing(text)

    def near(self, word: str) -> list[str]:
        """Return up to three words of the vocabulary that are spelled much like this one, the nearest first."""
        return []

    def joined(self, other: Tokenizer) -> Tokenizer:
        """Return a tokenizer of this kind that has this one's tokens and, besides, those of `other`, of the same kind.

        Bytes and BPE lack nothing, and stay as they are. Ids change: match tokens by `token_match`, never by number.
        """
        return self

    @abstractmethod
    def _contents(self) -> dict[str, Any]:
        """Return the fields of tokenizer.json that this kind adds."""

    @classmethod
    @abstractmethod
    def from_contents(cls, contents: dict[str, Any]) -> Tokenizer:
        """Build it from the fields that `_contents` gave, every one of them checked."""

    @classmethod
    @abstractmethod
    def train(cls, pieces: Iterable[str], vocabulary: int | None) -> Tokenizer:
        """Learn it from normalised text; `vocabulary` is the largest V, None the kind's own."""


def canonical_digest(value: object) -> str:
    """Return the sha256, in hexadecimal digits, of the value's canonical JSON: sorted keys, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()  # a file's name may not be UTF-8


def check_fields(contents: dict[str, Any], *names: str) -> None:
    """Raise a TidegateError unless the fields are exactly these."""
    if set(contents) != set(names):
        found = ", ".join(map(repr, sorted(map(str, contents)))) or "none"
        wanted = ", ".join(map(repr, names)) or "none"
        raise TidegateError(f"The tokenizer has the fields {found}, but its kind has {wanted}: the file is damaged.")


def token_of(table: list[bytes], token: int) -> bytes:
    """Return ``table[token]``, where a negative id is an error too."""
    if not 0 <= token < len(table):
        raise IndexError(f"token {token} is outside 0 … {len(table) - 1}")
    return table[token]


def refuse_vocabulary(kind: str, vocabulary: int | None) -> None:
    """Raise a TidegateError if a size is given for a kind whose size is not chosen."""
    if vocabulary is not None:
        raise TidegateError(
            f"A vocabulary of {vocabulary} was asked for, but {kind} set their own: omit it, or take words or bpe."
        )
