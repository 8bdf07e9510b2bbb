"""Tokens of one vocabulary found again in another: by their text, never by their number.

Two vocabularies of the same size in another order turn all that a model writes into a cipher, without any error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tidegate.text.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class TokenMatch:
    """Which tokens two vocabularies share. The document token and the unknown one match by what they mean."""

    old_of_new: NDArray[np.int64]
    """(new V,) the id in the old vocabulary of each token of the new one; -1 where the old lacks it"""
    dropped: int
    """tokens of the old vocabulary that the new one lacks"""
    parts: dict[int, list[int]] = field(default_factory=dict)
    """of each token that the old vocabulary lacks but can spell, as BPE does: the old tokens that spell it"""
    unknown: tuple[int, int] | None = None
    """the ids of the unknown token, old and new, where both have one: what it stood for are the added tokens too"""

    @property
    def kept(self) -> int:
        """Tokens that both have."""
        return int((self.old_of_new >= 0).sum())

    @property
    def added(self) -> int:
        """Tokens that the new vocabulary alone has."""
        return int((self.old_of_new < 0).sum())

    @property
    def is_identity(self) -> bool:
        """Whether both are the same, number by number."""
        return self.dropped == 0 and np.array_equal(self.old_of_new, np.arange(len(self.old_of_new)))

    def sentence(self) -> str:
        """Say it for a person."""
        if self.is_identity:
            return f"Vocabulary: all {self.kept:,} tokens kept as they were."
        origin = "the unknown token" if self.unknown else f"the mean of {'their parts' if self.parts else 'the known'}"
        return (
            f"Vocabulary: {self.kept:,} tokens kept, matched by their text; {self.added:,} added, which start from "
            f"{origin}; {self.dropped:,} dropped."
        )


def match(old: Tokenizer, new: Tokenizer) -> TokenMatch:
    """Find the tokens of `new` in `old`, which is of the same kind."""
    known = {text: token for token, text in reversed(list(enumerate(_texts(old))))}
    old_of_new = np.array([known.get(text, -1) for text in _texts(new)], np.int64)
    dropped = old.vocabulary_size - len(np.unique(old_of_new[old_of_new >= 0]))
    parts = dict(_parts(old, new, np.flatnonzero(old_of_new < 0).tolist()))
    unknown = None if old.unknown_id is None or new.unknown_id is None else (old.unknown_id, new.unknown_id)
    return TokenMatch(old_of_new, dropped, parts, unknown)


def _parts(old: Tokenizer, new: Tokenizer, added: list[int]) -> Iterator[tuple[int, list[int]]]:
    """Spell each added token in the old vocabulary, where that can be done."""
    for token in added:
        if token in (new.document_id, new.unknown_id):
            continue
        try:
            spelled = old.encode(new.token_bytes(token).decode("utf-8")).tolist()
        except UnicodeDecodeError:  # a token may be a part of a character
            continue
        if spelled and old.unknown_id not in spelled:
            yield token, spelled


def _texts(tokenizer: Tokenizer) -> list[tuple[str, bytes]]:
    """Return what tells each token from all others; of the same bytes, as two chains of merges may give, a number."""
    special = {tokenizer.document_id: "document", tokenizer.unknown_id: "unknown"}
    texts, met = [], dict[tuple[str, bytes], int]()
    for token in range(tokenizer.vocabulary_size):
        text = (special.get(token, "text"), b"" if token in special else tokenizer.token_bytes(token))
        times = met[text] = met.get(text, 0) + 1
        texts.append(text if times == 1 else (f"text {times}", text[1]))
    return texts
