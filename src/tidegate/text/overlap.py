"""How much of a text a model copied: the longest stretch of it that stands in a corpus, word for word.

>>> [found] = tidegate.overlaps_with_files([text], ["corpus/"])    # doctest: +SKIP
>>> found.length, found.stretch, found.covered_share                # doctest: +SKIP
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidegate.arguments import one_or_more
from tidegate.errors import TidegateError
from tidegate.text.corpus import Piece, read_pieces
from tidegate.text.longest_match import SEPARATOR, MatchSearch
from tidegate.text.normalize import normalize
from tidegate.text.sources import TextArgument, find_sources
from tidegate.text.store import TokenStore
from tidegate.text.tokenizers.base import Tokenizer

ALPHABETIC_THRESHOLD, EAST_ASIAN_THRESHOLD = 50, 16
"""Characters from which on a stretch counts as copied: about ten words of English, three short clauses of Chinese. What
everybody says in the same words is mostly shorter."""
BLOCK = 2**18
"""Symbols of the corpus that are compared at once."""


@dataclass(frozen=True)
class Overlap:
    """What of one text stands in a corpus, in characters of the normalised text."""

    text: str
    """the text that was looked for, normalised"""
    start: int
    """where its longest stretch begins that stands in the corpus; 0 if there is none"""
    length: int
    """characters of that stretch"""
    covered: int
    """characters of the text that lie in such stretches of at least `threshold` characters"""
    threshold: int

    @property
    def stretch(self) -> str:
        """The longest stretch itself; of several as long, one of them."""
        return self.text[self.start : self.start + self.length]

    @property
    def share(self) -> float:
        """The longest stretch as a share of the text, 0 to 1."""
        return self.length / max(1, len(self.text))

    @property
    def covered_share(self) -> float:
        """Share of the text's characters that lie in stretches of at least `threshold`, 0 to 1."""
        return self.covered / max(1, len(self.text))


def overlaps_with_files(
    texts: str | Sequence[str],
    data: TextArgument | Sequence[TextArgument],
    *,
    threshold: int | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[Overlap]:
    """Return for each text its overlap with the files, folders or globs, as training reads them; either may be one.

    A stretch lies within one document. The corpus may be of any size: the memory depends on the texts alone.
    threshold: characters from which on a stretch counts as copied; by default `threshold_of` each text.
    ``report(bytes on disk read, bytes on disk in all)`` is called as the reading goes on.
    Errors: a TidegateError for whatever is not there or no text.
    """
    sources = find_sources(list(one_or_more(data)))
    total = sum(source.size for source in sources)
    return overlaps(texts, read_pieces(sources, report=lambda done: report(done, total)), threshold=threshold)


def overlaps(texts: str | Sequence[str], pieces: Iterable[Piece], *, threshold: int | None = None) -> list[Overlap]:
    """Return for each text its overlap with a corpus that comes as pieces; the arguments of `overlaps_with_files`.

    The pieces are not read to their end where nothing more can be found.
    """
    if threshold is not None and threshold < 1:
        raise TidegateError(f"threshold is {threshold}, but a stretch has 1 character or more: give such a number.")
    texts = [normalize(text) for text in one_or_more(texts)]
    thresholds = [threshold or threshold_of(text) for text in texts]
    search = MatchSearch([_code_points(text) for text in texts], thresholds)
    block = max(BLOCK, 4 * max(map(len, texts), default=0))  # each block is read with a text's length of the one before
    held: list[str] = []
    size = 0
    for piece in pieces:
        if piece.starts_document:
            held.append(_BETWEEN)
        held.append(piece.text)
        size += len(piece.text)
        if size >= block:
            search.feed(_code_points("".join(held)))
            held, size = [], 0
            if search.finished:
                break
    search.feed(_code_points("".join(held)))
    return [
        Overlap(text, match.start, match.length, match.covered, match.threshold)
        for text, match in zip(texts, search.matches, strict=True)
    ]


def longest_run_in_store(
    text: str,
    store: TokenStore,
    tokenizer: Tokenizer,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> str:
    """Return the longest stretch of a text whose tokens stand side by side in a store, in whole characters.

    Ids are compared, so nothing is decoded, and the files that the store was made of need not be there. Where a token
    is a character this is the longest stretch that `overlaps` finds; of words or pairs of bytes that one may be longer
    by parts of a token at its two ends. What the vocabulary lacks matches nothing.
    ``report(tokens read, in all)`` is called as the reading goes on.
    """
    ids = tokenizer.encode(text)
    search = MatchSearch([ids], [max(1, len(ids))])
    for start in range(0, len(store), BLOCK):
        block = store.read(start, min(start + BLOCK, len(store)))
        block[(block == tokenizer.document_id) | (block == tokenizer.unknown_id)] = SEPARATOR
        search.feed(block.astype(np.uint32))
        report(start + len(block), len(store))
        if search.finished:
            break
    [match] = search.matches
    run = b"".join(tokenizer.token_bytes(int(token)) for token in ids[match.start : match.start + match.length])
    return run.decode("utf-8", errors="ignore")  # a run of bytes may begin or end within a character


def threshold_of(text: str) -> int:
    """Return from how many characters on a stretch of this text counts as copied: fewer where most are East Asian."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return EAST_ASIAN_THRESHOLD if 2 * wide > len(text) else ALPHABETIC_THRESHOLD


_BETWEEN = "\ud800"  # half of a surrogate pair: normalised text has none, so no match goes across it


def _code_points(text: str) -> NDArray[np.uint32]:
    """Return the characters as numbers, (characters,)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
