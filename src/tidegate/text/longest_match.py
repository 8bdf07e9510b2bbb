"""The longest stretch that a short sequence shares with a very long one, which is read once, block by block.

The samples are what is indexed, so the memory does not grow with the long sequence. A match of L symbols holds
L - q + 1 windows of q symbols, each one symbol further, so it is enough to look up every (L - q + 1)-th window of the
long sequence among those of the sample: only where one is found are all L symbols compared. L is one more than the
longest match so far, hence the search quickens as it goes.

Windows are compared by a hash, the sum of a[k] B^k modulo 2^64, of which one running sum gives every window at once.
Equal windows have equal hashes, and what a hash finds is compared symbol by symbol: the result is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Symbols = NDArray[np.uint32]
Positions = NDArray[np.intp]
Hashes = NDArray[np.uint64]

SEPARATOR = 2**32 - 1
"""A symbol that no sample has: no match goes across it."""
_BASE = 0x9E3779B97F4A7C15
_FILTER_BITS = range(8, 21)
_COMPARED_FIRST = 64
_WINDOWS_KEPT = 4
"""Lengths whose windows are kept: those that are probed, compared, tried next, and that cover."""


@dataclass(frozen=True)
class Match:
    """What one sample shares with the long sequence."""

    start: int
    """where the longest stretch begins in the sample"""
    length: int
    """symbols of the longest stretch that both have"""
    covered: int
    """symbols of the sample that lie within shared stretches of `threshold` symbols or more"""
    threshold: int


class MatchSearch:
    """Finds the longest matches of several samples in a sequence that is fed block by block."""

    def __init__(self, samples: Sequence[Symbols], thresholds: Sequence[int]) -> None:
        """Take the samples, each (n,) uint32, and for each the least length of a match that counts as covering."""
        self._powers = _Powers()
        self._samples = [_Sample(_Hashed(s, self._powers), t) for s, t in zip(samples, thresholds, strict=True)]
        self._overhang = max((len(sample) for sample in samples), default=1) - 1
        self._tail = np.empty(0, np.uint32)

    @property
    def finished(self) -> bool:
        """Whether every sample was found whole, so that nothing that may follow changes the result."""
        return all(sample.is_whole for sample in self._samples)

    def feed(self, symbols: Symbols) -> None:
        """Read the next symbols; a match may have begun in those before."""
        block = np.concatenate([self._tail, symbols])
        self._tail = block[max(0, len(block) - self._overhang) :] if self._overhang > 0 else block[:0]
        text = _Hashed(block, self._powers)
        for sample in self._samples:
            if not sample.is_whole:
                sample.search(text)

    @property
    def matches(self) -> list[Match]:
        """What was found so far, a match for each sample."""
        return [sample.match for sample in self._samples]


class _Powers:
    """The powers of the hash's base and their inverses modulo 2^64, as many as were ever needed."""

    def __init__(self) -> None:
        self.powers, self.inverses = _powers_of(_BASE, 0), _powers_of(_BASE, 0)

    def grow(self, count: int) -> None:
        if count > len(self.powers):
            count = 1 << count.bit_length()
            self.powers, self.inverses = _powers_of(_BASE, count), _powers_of(pow(_BASE, -1, 2**64), count)


def _powers_of(base: int, count: int) -> Hashes:
    factors = np.full(count, base, np.uint64)
    factors[:1] = 1
    return np.cumprod(factors, dtype=np.uint64)


class _Hashed:
    """A sequence, and the hash of any window of it."""

    def __init__(self, symbols: Symbols, powers: _Powers) -> None:
        powers.grow(len(symbols))
        self.symbols = symbols
        self._inverses = powers.inverses
        self._sums = np.zeros(len(symbols) + 1, np.uint64)
        np.cumsum(np.multiply(symbols, powers.powers[: len(symbols)], dtype=np.uint64), out=self._sums[1:])

    def every(self, stride: int, length: int) -> Hashes:
        """Return the hashes of the windows at 0, stride, 2 stride, …"""
        count = max(0, len(self.symbols) - length + 1)
        return (self._sums[length:][:count:stride] - self._sums[:count:stride]) * self._inverses[:count:stride]

    def at(self, starts: Positions, length: int) -> Hashes:
        """Return the hashes of the windows that begin at `starts`."""
        return (self._sums[starts + length] - self._sums[starts]) * self._inverses[starts]


class _Windows:
    """All windows of one length of a sample, found by their hashes."""

    def __init__(self, sample: _Hashed, length: int) -> None:
        hashes = sample.every(1, length)
        self._order = np.argsort(hashes, kind="stable")
        self._hashes, self._firsts = np.unique(hashes[self._order], return_index=True)
        bits = min(_FILTER_BITS[-1], max(_FILTER_BITS[0], len(self._hashes).bit_length() + 4))
        self._shift = np.uint64(64 - bits)
        self._filter = np.zeros(1 << bits, bool)
        self._filter[self._hashes >> self._shift] = True

    def find(self, hashes: Hashes) -> tuple[Positions, Positions]:
        """Return which of the hashes are those of a window, and of which (a number for `places`)."""
        likely = np.flatnonzero(self._filter[hashes >> self._shift])
        wanted = hashes[likely]
        numbers = np.minimum(np.searchsorted(self._hashes, wanted), len(self._hashes) - 1)
        right = self._hashes[numbers] == wanted
        return likely[right], numbers[right]

    def places(self, number: int) -> Positions:
        """Return where in the sample the windows of this hash begin."""
        end = self._firsts[number + 1] if number + 1 < len(self._firsts) else None
        return self._order[self._firsts[number] : end]


class _Sample:
    """One sample, and what was found of it."""

    def __init__(self, hashed: _Hashed, threshold: int) -> None:
        self._hashed, self._symbols, self._threshold = hashed, hashed.symbols, threshold
        self._start = self._length = 0
        self._windows: dict[int, _Windows] = {}
        self._covering = np.zeros(
            max(0, len(self._symbols) - threshold + 1), bool
        )  # windows of `threshold` that were found

    @property
    def is_whole(self) -> bool:
        return self._length == len(self._symbols)

    @property
    def match(self) -> Match:
        covered = np.zeros(len(self._symbols) + 1, np.int64)
        if len(self._covering):
            covered[: len(self._covering)] += self._covering
            covered[self._threshold :] -= self._covering
        within = np.cumsum(covered) > 0
        return Match(self._start, self._length, int(np.count_nonzero(within)), self._threshold)

    def search(self, text: _Hashed) -> None:
        """Look for longer matches, and for more that cover."""
        length = min(self._length + 1, self._threshold)
        starts = self._candidates(text, length)
        self._lengthen(text, starts)
        if len(starts) and len(self._covering) and self._length >= self._threshold:
            self._cover(text, starts)

    def _candidates(self, text: _Hashed, length: int) -> Positions:
        """Return where windows of this length begin whose hash the sample has."""
        last = len(text.symbols) - length
        size = (length + 1) // 2
        stride = length - size + 1
        if last < 0:
            return np.empty(0, np.intp)
        probes = self._windows_of(size).find(text.every(stride, size))[0] * stride
        starts = (probes[:, None] + np.arange(1 - stride, 1)).ravel()
        return self._found(text, starts, length)[0]

    def _found(self, text: _Hashed, starts: Positions, length: int) -> tuple[Positions, Positions]:
        """Return those starts at which a window of the sample stands, by the hash, and which window."""
        starts = starts[(starts >= 0) & (starts + length <= len(text.symbols))]
        which, numbers = self._windows_of(length).find(text.at(starts, length))
        return starts[which], numbers

    def _windows_of(self, length: int) -> _Windows:
        windows = self._windows.pop(length, None) or _Windows(self._hashed, length)
        self._windows[length] = windows  # the latest used stands last
        if len(self._windows) > _WINDOWS_KEPT:
            del self._windows[next(iter(self._windows))]
        return windows

    def _lengthen(self, text: _Hashed, starts: Positions) -> None:
        """Find the longest match that begins at one of these places."""
        tried = self._length
        while len(starts) and not self.is_whole:
            if tried <= self._length:  # a longer match than that begins where one of its beginnings does
                tried = self._length + 1
                starts, numbers = self._found(text, starts, tried)
                continue
            for place in self._windows_of(tried).places(int(numbers[0])):
                length = self._shared(text.symbols, int(starts[0]), int(place))
                if length > self._length:
                    self._start, self._length = int(place), length
            starts, numbers = starts[1:], numbers[1:]

    def _shared(self, text: Symbols, start: int, place: int) -> int:
        """Return how many symbols from `start` of the text and from `place` of the sample are the same."""
        limit = min(len(text) - start, len(self._symbols) - place)
        done, size = 0, _COMPARED_FIRST
        while done < limit:
            end = min(done + size, limit)
            different = text[start + done : start + end] != self._symbols[place + done : place + end]
            if different.any():
                return done + int(different.argmax())
            done, size = end, 2 * size
        return limit

    def _cover(self, text: _Hashed, starts: Positions) -> None:
        """Mark the sample's windows of `threshold` symbols that stand at one of these places."""
        starts, numbers = self._found(text, starts, self._threshold)
        windows = self._windows_of(self._threshold)
        for number in np.unique(numbers):
            places = windows.places(int(number))
            for start in starts[numbers == number]:
                places = places[~self._covering[places]]
                if not len(places):
                    break
                for place in places:
                    self._covering[place] = self._shared(text.symbols, int(start), int(place)) >= self._threshold
