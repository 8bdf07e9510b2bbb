"""Words: the most frequent words of the training text; what is rarer becomes the unknown token.

A text is cut without loss, in one of two ways. `words`: a run of letters and digits with at most one space before it, a
Han character by itself, and any other character (punctuation, white space, marks) by itself. `whitespace`: a run of
anything but white space with at most one space before it, and a line end with at most one before it. The latter is how
the word-level standard sets (PTB, WikiText) are counted: their line end is the literature's <eos>.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Any, ClassVar, Self, final

import numpy as np
from numpy.typing import NDArray

from tidegate.errors import TidegateError
from tidegate.text.tokenizers.base import LARGEST_VOCABULARY, UNKNOWN_BYTES, Tokenizer, check_fields, token_of

_SPECIAL = 2
_COUNTED = 2_000_000  # where more words were met, those met once are forgotten: some 200 MB
_COMPARED = 50_000  # the most frequent words, among which near ones are looked for
_LONGEST_RUN = 64  # a longer run of letters goes on in the next token, so no token is unbounded
# 々〆〇, extension A, the unified block, compatibility, the supplementary planes
_HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"


class _FrequentWords(Tokenizer):
    """The words from the most frequent on, then the document token, then the unknown one."""

    pattern: ClassVar[re.Pattern[str]]
    """what is a word; every character is in one, so that the words of a text joined are the text"""
    default_vocabulary: ClassVar[int]

    def __init__(self, words: list[str]) -> None:
        """Take the vocabulary: distinct words, the most frequent first."""
        self.document_id = len(words)
        self.unknown_id = self.document_id + 1
        self.vocabulary_size = self.document_id + _SPECIAL
        self._words = words
        self._ids = {word: token for token, word in enumerate(words)}
        self._table = [word.encode("utf-8") for word in words] + [b"", UNKNOWN_BYTES]

    def missing(self, text: str) -> list[str]:
        """Return the words that the vocabulary lacks."""
        return [word for word in dict.fromkeys(self.cut(self.normalize(text))) if word not in self._ids]

    def token_bytes(self, token: int) -> bytes:
        """Return the word's UTF-8 bytes."""
        return token_of(self._table, token)

    def encode_normalized(self, text: str) -> NDArray[np.uint32]:
        """Return the words' ids."""
        find, unknown = self._ids.get, self.unknown_id
        return np.array([find(word, unknown) for word in self.cut(text)], np.uint32)

    def encode_known(self, text: str) -> NDArray[np.uint32]:
        """Return the words' ids, where a word that stands in the vocabulary only with a space before it, or only
        without one, is that word; a space by itself that the vocabulary lacks is part of no word, and has no id."""
        words = self.cut(self.normalize(text))
        known = [(word, self._spelled(word)) for word in words]
        ids = [self.unknown_id if token is None else token for word, token in known if word != " " or token is not None]
        return np.array(ids, np.uint32)

    def unreadable(self, text: str) -> list[str]:
        """Return the words that the vocabulary has neither with a space before them nor without one."""
        return [word for word in self.missing(text) if word != " " and self._spelled(word) is None]

    def near(self, word: str) -> list[str]:
        """Return up to three words of the vocabulary that are spelled much like this one, those that differ in case
        alone first."""
        names: dict[str, list[str]] = {}
        for known in islice(self._words, _COMPARED):
            names.setdefault(known.strip(" ").casefold(), []).append(known.strip(" "))
        close = difflib.get_close_matches(word.strip(" ").casefold(), names, n=3, cutoff=0.75)
        return list(dict.fromkeys(name for one in close for name in names[one]))[:3]

    def _spelled(self, word: str) -> int | None:
        """Return the id of a word, or of the same one with the space before it added or taken away."""
        other = word[1:] if word.startswith(" ") else f" {word}"
        return self._ids.get(word, self._ids.get(other))

    def joined(self, other: Tokenizer) -> Self:
        """Return the tokenizer of this one's words, and after them those that `other` alone has."""
        assert isinstance(other, _FrequentWords)
        return type(self)(self._words + [word for word in other._words if word not in self._ids])

    def _contents(self) -> dict[str, Any]:
        return {"words": list(self._words)}

    @classmethod
    def from_contents(cls, contents: dict[str, Any]) -> Self:
        """Build it from its words, which must be distinct and each one word by the rule above."""
        check_fields(contents, "words")
        words = contents["words"]
        if not isinstance(words, list) or len(words) > LARGEST_VOCABULARY:
            raise TidegateError(
                f"The tokenizer's field 'words' is no list of at most {LARGEST_VOCABULARY} words: the file is damaged."
            )
        for word in words:
            if not isinstance(word, str) or not cls.pattern.fullmatch(word) or _has_surrogate(word):
                raise TidegateError(
                    f"The tokenizer's vocabulary has {str(word)[:40]!r}, which is not one word: the file is damaged."
                )
        if len(set(words)) != len(words):
            raise TidegateError("The tokenizer's vocabulary has a word twice: the file is damaged.")
        return cls(list(words))

    @classmethod
    def train(cls, pieces: Iterable[str], vocabulary: int | None) -> Self:
        """Count the words and keep the most frequent; V, with the two special tokens, is at most `vocabulary`."""
        largest = cls.default_vocabulary if vocabulary is None else vocabulary
        if not _SPECIAL < largest <= LARGEST_VOCABULARY:
            raise TidegateError(
                f"A vocabulary of {largest} words was asked for: {_SPECIAL + 1} to {LARGEST_VOCABULARY} is possible."
            )
        counts: Counter[str] = Counter()
        for piece in pieces:
            counts.update(cls.cut(piece))
            if len(counts) > _COUNTED:
                counts = Counter({word: count for word, count in counts.items() if count > 1})
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(ranked[: largest - _SPECIAL])

    @classmethod
    def cut(cls, text: str) -> list[str]:
        """Return the words of the text; joined they are the text again."""
        return cls.pattern.findall(text)


def _has_surrogate(word: str) -> bool:
    return not word.isascii() and any("\ud800" <= character <= "\udfff" for character in word)


@final
class WordsTokenizer(_FrequentWords):
    """Words of letters and digits, Han characters, and single other characters."""

    kind: ClassVar[str] = "words"
    pattern: ClassVar[re.Pattern[str]] = re.compile(rf" ?[^\W_{_HAN}]{{1,{_LONGEST_RUN}}}|.", re.DOTALL)
    default_vocabulary: ClassVar[int] = 20_000


@final
class WhitespaceTokenizer(_FrequentWords):
    """What stands between spaces, and line ends."""

    kind: ClassVar[str] = "whitespace"
    pattern: ClassVar[re.Pattern[str]] = re.compile(rf" ?\S{{1,{_LONGEST_RUN}}}| ?\n|.", re.DOTALL)
    default_vocabulary: ClassVar[int] = 100_000
