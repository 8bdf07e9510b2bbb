"""What a tagger reads of a sentence: the language model's tokens, where in them each word ends, words, characters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tidegate.errors import TidegateError
from tidegate.text.normalize import normalize
from tidegate.text.tokenizer import Tokenizer

UNKNOWN, LONGEST = 0, 60
"""the number of what has no vector of its own; characters of a word that are looked at"""
MOST_WORDS = 1_000_000
"""that have vectors of their own"""
# scripts without spaces between words: kana, Han, and their punctuation and full-width forms
SPACELESS = re.compile("[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")


class EncodedSentence(NamedTuple):
    """A sentence as numbers."""

    ids: NDArray[np.uint32]
    """``(T,)`` of the language model, after the document token"""
    ends: NDArray[np.int64]
    """``(W,)``: where in these each word ends"""
    words: NDArray[np.int64]
    """``(W,)``"""
    spellings: list[tuple[int, ...]]
    """W tuples: each word's characters"""


def spoken(tokens: Sequence[str]) -> list[str]:
    """Return the pieces of the sentence that tokens make, one a token: with a space before it, but the first, and where
    either side of the border is of a script without spaces."""
    pieces, before = [], ""
    for token in tokens:
        joined = not before or SPACELESS.match(before[-1]) or SPACELESS.match(token[0])
        pieces.append(token if joined else f" {token}")
        before = token
    return pieces


def word_form(token: str) -> str:
    """Return the form under which a word has its vector: small letters, each digit a 0."""
    return re.sub(r"\d", "0", token.lower())


@dataclass(frozen=True)
class WordVocabulary:
    """The words and characters that have vectors of their own, from number 1 on."""

    words: tuple[str, ...]
    characters: tuple[str, ...]

    @classmethod
    def of(cls, sentences: Iterable[Sequence[str]], least: int = 2) -> WordVocabulary:
        """Return that of sentences: words that come `least` times and more, at most `MOST_WORDS`, and all characters,
        the most frequent first."""
        words: Counter[str] = Counter()
        characters: Counter[str] = Counter()
        for tokens in sentences:
            for token in tokens:
                words[word_form(token)] += 1
                characters.update(token)
        return cls(
            tuple(word for word, count in words.most_common(MOST_WORDS) if count >= least),
            tuple(character for character, _ in characters.most_common()),
        )


class SentenceEncoder:
    """Turns sentences into numbers."""

    def __init__(self, tokenizer: Tokenizer, vocabulary: WordVocabulary) -> None:
        self.tokenizer, self.vocabulary = tokenizer, vocabulary
        self._words = {word: number for number, word in enumerate(vocabulary.words, 1)}
        self._characters = {character: number for number, character in enumerate(vocabulary.characters, 1)}

    def encode(self, tokens: Sequence[str]) -> EncodedSentence:
        """Return a sentence of one token and more as numbers; a TidegateError where a token is empty."""
        tokens = [normalize(token).strip() for token in tokens]
        if not all(tokens):
            raise TidegateError(f"Token {tokens.index('') + 1} of a sentence is empty: omit it.")
        ids, ends = self._read(spoken(tokens))
        words = [self._words.get(word_form(token), UNKNOWN) for token in tokens]
        spellings = [tuple(self._characters.get(c, UNKNOWN) for c in token[:LONGEST]) for token in tokens]
        return EncodedSentence(ids, ends, np.array(words, np.int64), spellings)

    def _read(self, pieces: list[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        document = np.array([self.tokenizer.document_id], np.uint32)
        if self.tokenizer.unknown_id is not None:  # whose bytes are not known
            parts = [self.tokenizer.encode_known(piece) for piece in pieces]
            ends = np.cumsum([len(part) for part in parts])  # the last of the word, after the document token
            return np.concatenate([document, *parts]), ends.astype(np.int64)
        ids = self.tokenizer.encode("".join(pieces))
        token_ends = np.cumsum([len(self.tokenizer.token_bytes(int(token))) for token in ids])
        word_ends = np.cumsum([len(piece.encode()) for piece in pieces])
        # one token may reach over several words, as pairs of Chinese characters do
        places = np.minimum(np.searchsorted(token_ends, word_ends), len(ids) - 1)
        return np.concatenate([document, ids]), (places + 1).astype(np.int64)
