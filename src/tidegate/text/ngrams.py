"""What a classifier counts besides what it reads: n-grams of a text, hashed into buckets, weighted by what they tell.

    s = W φ(text) + c

Characters 1 to 3 where texts are mostly Chinese or Japanese, words 1 to 2 elsewhere, in small letters. Hashing
(Weinberger et al. 2009, arXiv 0902.2206) needs no vocabulary: a folder is of one size whatever was learnt from, and two
n-grams that share a bucket share a weight. The hash is SplitMix64's finalizer (Steele et al. 2014): on every machine
the same.

A bucket's factor in φ is the root of how far its log-count ratio is from zero. Wang & Manning (2012, "Baselines and
Bigrams", ACL) multiply by the ratio itself, and most others by a rarity that knows no label; on parts of the training
texts of reviews in Chinese and English, of a hundred texts to ten thousand, the root of the ratio has the lowest loss.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

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


def telling(counts: Sequence[Counts], targets: NDArray[Any]) -> NDArray[np.float32]:
    """Return the factor of each bucket, ``(BUCKETS,)``: the root of the root mean square, over the labels, of

        ln((1 + n) / Σ (1 + n)) - ln((1 + m) / Σ (1 + m))

    where n of the label's texts and m of the others have the bucket; 0 where fewer than two texts have it. Labels that
    all texts have, or none, are left out: their ratio says how frequent a bucket is, not what it tells.

    targets: ``(N, K)``, 1 for each label that a text has.
    """
    targets = targets[:, targets.any(axis=0) & ~targets.all(axis=0)]
    sizes = [len(buckets) for buckets, _ in counts]
    found = np.concatenate([buckets for buckets, _ in counts])
    texts = np.bincount(found, minlength=BUCKETS)
    squares = np.zeros(BUCKETS)
    for label in targets.T:
        own = np.bincount(found[np.repeat(label == 1, sizes)], minlength=BUCKETS)
        ratio = _log_shares(own) - _log_shares(texts - own)
        squares += ratio**2
    return np.where(texts > 1, (squares / max(targets.shape[1], 1)) ** 0.25, 0).astype(np.float32)


def _log_shares(counts: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(np.log1p(counts) - np.log(len(counts) + counts.sum()))


def weighted(counts: Counts, factor: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the buckets of a text that have a factor, ``(n,)``, and φ there: (1 + ln count) · factor, divided by the
    length of all of it."""
    buckets, times = counts
    known = factor[buckets] > 0
    buckets = buckets[known]
    values = (1 + np.log(times[known])).astype(np.float32) * factor[buckets]
    return buckets, values / np.float32(max(float(np.linalg.norm(values)), 1e-12))


@dataclass(frozen=True)
class NgramScores:
    """What n-grams say of each label."""

    unit: Unit
    factor: NDArray[np.float32]
    """``(BUCKETS,)``"""
    weight: NDArray[np.float32]
    """``(K, BUCKETS)``"""
    bias: NDArray[np.float32]
    """``(K,)``"""

    def of(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return s of each text, ``(N, K)`` float32."""
        found = np.empty((len(texts), len(self.bias)), np.float32)
        for row, text in zip(found, texts, strict=True):
            buckets, values = weighted(counted(text, self.unit), self.factor)
            row[:] = self.weight[:, buckets] @ values + self.bias
        return found

    def times(self, much: float) -> NgramScores:
        """Return those that say so much more."""
        return NgramScores(self.unit, self.factor, self.weight * np.float32(much), self.bias * np.float32(much))

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Return what a folder keeps, by the names of `ngram_shapes`."""
        return dict(zip(ngram_shapes(len(self.bias)), (self.factor, self.weight, self.bias), strict=True))

    @classmethod
    def from_tensors(cls, unit: str, tensors: Mapping[str, NDArray[np.float32]]) -> NgramScores:
        """Take them out of a folder's tensors."""
        return cls(cast("Unit", unit), *(tensors[name] for name in ngram_shapes(0)))


def ngram_shapes(labels: int) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor of the scores."""
    return {"ngrams.factor": (BUCKETS,), "ngrams.weight": (labels, BUCKETS), "ngrams.bias": (labels,)}
