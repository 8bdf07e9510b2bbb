"""Where a run of Chinese characters may be cut without changing its byte pairs.

A merge joins bytes only into a token, so that where no token of the vocabulary has the end of one character beside the
start of the next, what stands left and right is merged each for itself. Most pairs of characters in a text are such
places, and what lies between them is a word of the vocabulary, or a single character: few, which come again and again.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_FIRST, _LAST = 0x4E00, 0x9FA5  # all of them letters in every version of Unicode, and three bytes in UTF-8
_BITS = 22
"""2**22 flags: two pairs of characters may share one, which at worst leaves out a cut."""
_MOST_PAIRS = 2**20


class HanCuts:
    """Knows the pairs of Chinese characters that some token joins, by a flag for each hash of a pair."""

    def __init__(self, tokens: Iterable[bytes]) -> None:
        """Look through the tokens' bytes. Tokens that hold parts of characters join all characters that have them."""
        self._joined = np.zeros(2**_BITS, np.bool_)
        pairs = 0
        for left, right in {joint for token in tokens for joint in _joints(token)}:
            lefts, rights = _ending(left), _starting(right)
            pairs += len(lefts) * len(rights)
            if pairs > _MOST_PAIRS:  # no vocabulary that was learnt from text: then nothing is cut
                self._joined[:] = True
                return
            self._joined[_hash(lefts[:, None], rights[None, :])] = True

    def cuts(self, text: str) -> NDArray[np.intp]:
        """Return the positions in the text at which it may be cut: each between two Chinese characters."""
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        han = (codes >= _FIRST) & (codes <= _LAST)
        inside = np.flatnonzero(han[:-1] & han[1:])
        return inside[~self._joined[_hash(codes[inside], codes[inside + 1])]] + 1


def _hash(left: NDArray[np.uint32], right: NDArray[np.uint32]) -> NDArray[np.uint32]:
    hashed: NDArray[np.uint32] = (left * np.uint32(0x9E3779B1) ^ right * np.uint32(0x85EBCA77)) >> np.uint32(32 - _BITS)
    return hashed


def _joints(token: bytes) -> list[tuple[bytes, bytes]]:
    """Return what stands left and right of each place in a token at which a character starts."""
    starts = [index for index in range(1, len(token)) if token[index] & 0xC0 != 0x80]
    edges = [0, *starts, len(token)]
    parts = [token[start:end] for start, end in pairwise(edges)]
    return list(pairwise(parts))


def _ending(part: bytes) -> NDArray[np.uint32]:
    """Return the Chinese characters whose UTF-8 ends in these bytes."""
    whole, tail = len(part) == 3 and part[0] >> 4 == 0xE, len(part) < 3 and part[0] >> 6 == 0b10
    if not (whole or tail):
        return np.empty(0, np.uint32)
    step = 64 ** len(part)
    return np.arange(_FIRST + (_payload(part) - _FIRST) % step, _LAST + 1, step, dtype=np.uint32)


def _starting(part: bytes) -> NDArray[np.uint32]:
    """Return the Chinese characters whose UTF-8 begins with these bytes."""
    if len(part) > 3 or part[0] >> 4 != 0xE:
        return np.empty(0, np.uint32)
    step = 64 ** (3 - len(part))
    first = _payload(part) * step
    return np.arange(max(first, _FIRST), min(first + step, _LAST + 1), dtype=np.uint32)


def _payload(part: bytes) -> int:
    """Return the bits of a code point that these bytes of its UTF-8 hold."""
    bits = 0
    for byte in part:
        bits = bits << 6 | byte & (0x0F if byte >= 0xE0 else 0x3F)
    return bits
