"""Bytes: each token is one byte of the UTF-8 text, so no text is foreign to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from tidegate.text.tokenizers.base import Tokenizer, check_fields, refuse_vocabulary, token_of


@final
class BytesTokenizer(Tokenizer):
    """Ids 0 … 255 are the bytes, 256 starts a document."""

    kind: ClassVar[str] = "bytes"

    def __init__(self) -> None:
        self.vocabulary_size = 257
        self.document_id = 256
        self.unknown_id = None
        self._table = [bytes([byte]) for byte in range(256)] + [b""]

    def missing(self, text: str) -> list[str]:
        """Return nothing: every text has bytes."""
        return []

    def token_bytes(self, token: int) -> bytes:
        """Return the one byte, or none for the document token."""
        return token_of(self._table, token)

    def encode_normalized(self, text: str) -> NDArray[np.uint32]:
        """Return the bytes."""
        return np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.uint32)

    def _contents(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_contents(cls, contents: dict[str, Any]) -> BytesTokenizer:
        """Build it; there are no fields of its own."""
        check_fields(contents)
        return cls()

    @classmethod
    def train(cls, pieces: Iterable[str], vocabulary: int | None) -> BytesTokenizer:
        """Build it; there is nothing to learn."""
        refuse_vocabulary(cls.kind, vocabulary)
        return cls()
