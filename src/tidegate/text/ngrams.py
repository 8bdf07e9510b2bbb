"""What a classifier counts besides what it reads: n-grams of a text, hashed into buckets, weighted by TF-IDF.

    s = W φ(text) + c

Characters 1 to 3 where texts are mostly Chinese or Japanese, words 1 to 2 elsewhere, in small letters. Hashing
(Weinberger et al. 2009, arXiv 0902.2206) needs no vocabulary: a folder is of one size whatever was learnt from, and two
n-grams that share a bucket share a weight. The hash is SplitMix64's finalizer (Steele et al. 2014): on every machine
the same.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from tidegate.text.normalize import normalize

Unit = Literal["characters", "words"]
LONGEST = {"characters": 3, "words": 2}
"""units of an n-gram at most"""
BITS = 18
BUCKETS = 1 << BITS
HAN = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
SAMPLE, SHOWN = 1000, 200
"""texts that are looked at to tell what is counted, and characters of each"""

Counts = tuple[NDArray[np.int32], NDArray[np.int32]]


def unit_of(texts: Sequence[str]) -> Unit:
    """Return what n-grams of these texts are made of."""
    sample = "".join(text[:SHOWN] for text in texts[:SAMPLE])
    return "characters" if 2 * len(HAN.findall(sample)) > len(re.sub(r"\W", "", sample)) else "words"


def counted(text: str, unit: Unit) -> Counts:
    """Return the buckets of a text's n-grams, ``(n,)`` sorted, and how often each is met, ``(n,)``."""
    units = _numbers(normalize(text).lower(), unit)
    found = []
    grams = np.zeros(len(units), np.uint64)
    for n in range(min(LONGEST[unit], len(units))):
        grams = _mixed(grams[: len(units) - n], units[n:])
        found.append(grams >> np.uint64(64 - BITS))
    buckets, counts = np.unique(np.concatenate(found) if found else np.zeros(0, np.uint64), return_counts=True)
    return buckets.astype(np.int32), counts.astype(np.int32)


def _numbers(text: str, unit: Unit) -> NDArray[np.uint64]:
    """Return a number for each character, a run of spaces being one, or for each word."""
    if unit == "words":
        return np.array([zlib.crc32(word.encode()) for word in re.findall(r"\w+", text)], np.uint64)
    return np.frombuffer(re.sub(r"\s+", " ", text.strip()).encode("utf-32-le"), "<u4").astype(np.uint64)


def _mixed(grams: NDArray[np.uint64], units: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the hashes of n-grams that go on by one unit each; the products are modulo 2^64."""
    z = grams + units + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def rarity(counts: Sequence[Counts]) -> NDArray[np.float32]:
    """Return the factor of each bucket, ``(BUCKETS,)``: ln((1 + N) / (1 + its texts)) + 1 among N texts, 0 where there
    is none of it."""
    texts = np.bincount(np.concatenate([buckets for buckets, _ in counts]), minlength=BUCKETS)
    return np.where(texts > 0, np.log((1 + len(counts)) / (1 + texts)) + 1, 0).astype(np.float32)


def weighted(counts: Counts, rarity: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the buckets of a text that have a factor, ``(n,)``, and φ there: (1 + ln count) · factor, divided by the
    length of all of it."""
    buckets, times = counts
    known = rarity[buckets] > 0
    buckets = buckets[known]
    values = (1 + np.log(times[known])).astype(np.float32) * rarity[buckets]
    return buckets, values / np.float32(max(float(np.linalg.norm(values)), 1e-12))


@dataclass(frozen=True)
class NgramScores:
    """What n-grams say of each label."""

    unit: Unit
    rarity: NDArray[np.float32]
    """``(BUCKETS,)``"""
    weight: NDArray[np.float32]
    """``(K, BUCKETS)``"""
    bias: NDArray[np.float32]
    """``(K,)``"""

    def of(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return s of each text, ``(N, K)`` float32."""
        found = np.empty((len(texts), len(self.bias)), np.float32)
        for row, text in zip(found, texts, strict=True):
            buckets, values = weighted(counted(text, self.unit), self.rarity)
            row[:] = self.weight[:, buckets] @ values + self.bias
        return found

    def times(self, factor: float) -> NgramScores:
        """Return those that say so much more."""
        return NgramScores(self.unit, self.rarity, self.weight * np.float32(factor), self.bias * np.float32(factor))

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Return what a folder keeps, by the names of `ngram_shapes`."""
        return dict(zip(ngram_shapes(len(self.bias)), (self.rarity, self.weight, self.bias), strict=True))

    @classmethod
    def from_tensors(cls, unit: str, tensors: Mapping[str, NDArray[np.float32]]) -> NgramScores:
        """Take them out of a folder's tensors."""
        return cls(cast("Unit", unit), *(tensors[name] for name in ngram_shapes(0)))


def ngram_shapes(labels: int) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor of the scores."""
    return {"ngrams.rarity": (BUCKETS,), "ngrams.weight": (labels, BUCKETS), "ngrams.bias": (labels,)}
