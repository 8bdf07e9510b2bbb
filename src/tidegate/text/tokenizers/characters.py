"""Characters: each token is one Unicode code point that the training text had."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from tidegate.errors import TidegateError
from tidegate.text.tokenizers.base import UNKNOWN_BYTES, Tokenizer, check_fields, refuse_vocabulary, token_of

_CODE_POINTS = 0x110000


@final
class CharactersTokenizer(Tokenizer):
    """The distinct characters in code point order, then the document token, then the unknown one."""

    kind: ClassVar[str] = "characters"

    def __init__(self, characters: str) -> None:
        """Take the vocabulary: distinct characters, sorted by code point."""
        self.document_id = len(characters)
        self.unknown_id = self.document_id + 1
        self.vocabulary_size = self.document_id + 2
        self._characters = characters
        self._known = frozenset(characters)
        self._table = [character.encode("utf-8") for character in characters] + [b"", UNKNOWN_BYTES]
        self._id_of_code = np.full(_CODE_POINTS, self.unknown_id, np.uint32)
        self._id_of_code[_codes(characters)] = np.arange(len(characters), dtype=np.uint32)

    def missing(self, text: str) -> list[str]:
        """Return the characters that the vocabulary lacks."""
        return [character for character in dict.fromkeys(self.normalize(text)) if character not in self._known]

    def token_bytes(self, token: int) -> bytes:
        """Return the character's UTF-8 bytes."""
        return token_of(self._table, token)

    def encode_normalized(self, text: str) -> NDArray[np.uint32]:
        """Return the characters' ids."""
        return self._id_of_code[_codes(text)]

    def joined(self, other: Tokenizer) -> CharactersTokenizer:
        """Return the tokenizer of the characters of both."""
        assert isinstance(other, CharactersTokenizer)
        return CharactersTokenizer("".join(sorted(self._known | other._known)))

    def _contents(self) -> dict[str, Any]:
        return {"characters": self._characters}

    @classmethod
    def from_contents(cls, contents: dict[str, Any]) -> CharactersTokenizer:
        """Build it from its characters, which must be sorted and distinct."""
        check_fields(contents, "characters")
        characters = contents["characters"]
        if not isinstance(characters, str) or any("\ud800" <= character <= "\udfff" for character in characters):
            raise TidegateError("The tokenizer's field 'characters' is no string of characters: the file is damaged.")
        if any(one >= other for one, other in pairwise(characters)):
            raise TidegateError(
                "The tokenizer's characters are not in code point order, each once: the file is damaged."
            )
        return cls(characters)

    @classmethod
    def train(cls, pieces: Iterable[str], vocabulary: int | None) -> CharactersTokenizer:
        """Gather the distinct characters of the whole text."""
        refuse_vocabulary(cls.kind, vocabulary)
        characters: set[str] = set()
        for piece in pieces:
            characters.update(piece)
        return cls("".join(sorted(characters)))


def _codes(text: str) -> NDArray[np.uint32]:
    """Return the code points, (characters,) uint32."""
    return np.frombuffer(text.encode("utf-32-le"), "<u4")
