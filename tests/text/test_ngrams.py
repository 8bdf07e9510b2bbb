"""n-grams: which are counted, the hash and the weights against their definitions."""

from __future__ import annotations

import math
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.text.ngrams import BITS, BUCKETS, NgramScores, counted, telling, unit_of, weighted

MASK = (1 << 64) - 1


def hashed(units):
    """The bucket of one n-gram, in Python's integers."""
    z = 0
    for unit in units:
        z = (z + unit + 0x9E3779B97F4A7C15) & MASK
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
        z ^= z >> 31
    return z >> (64 - BITS)


def expected(units, longest):
    grams = [units[i : i + n] for n in range(1, longest + 1) for i in range(len(units) - n + 1)]
    found = {}
    for gram in grams:
        found[hashed(gram)] = found.get(hashed(gram), 0) + 1
    return found


@given(st.text(st.sampled_from("好坏房间aB \n"), max_size=12))
def test_characters(text):
    clean = " ".join(text.lower().split())
    assert dict(zip(*map(list, counted(text, "characters")), strict=True)) == expected([*map(ord, clean)], 3)


@given(st.lists(st.sampled_from(["a", "Dull", "film", "n't", "1990s"]), max_size=8))
def test_words(words):
    text = ", ".join(words)
    units = [zlib.crc32(word.encode()) for word in text.lower().replace(",", " ").replace("'", " ").split()]
    assert dict(zip(*map(list, counted(text, "words")), strict=True)) == expected(units, 2)


def test_the_hash_is_the_same_everywhere():
    """A folder that was written on one machine is read on all others: these numbers may never change."""
    assert counted("好", "characters")[0].tolist() == [hashed([0x597D])] == [30802]
    assert counted("film", "words")[0].tolist() == [71076]


def test_buckets_are_met_evenly():
    buckets, counts = counted("".join(map(chr, range(0x4E00, 0x4E00 + 20000))), "characters")
    kinds = 3 * 20000 - 3  # each n-gram is met once
    assert counts.sum() == kinds
    assert len(buckets) == pytest.approx(BUCKETS * -math.expm1(-kinds / BUCKETS), rel=0.01)


def test_factors_against_their_definition():
    texts = ["good good film", "bad film", "good", "fine"]
    targets = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 1], [0, 0, 0]])  # the last has no label
    counts = [counted(text, "words") for text in texts]
    factors = telling(counts, targets)
    words = [{zlib.crc32(word.encode()) for word in text.split()} for text in texts]
    good, film, fine = (zlib.crc32(word) for word in (b"good", b"film", b"fine"))
    kinds = [4, 3, 1, 1]  # n-grams of each text: good, film, good good, good film; bad, film, bad film; good; fine
    for word in (good, film):
        square = 0.0
        for label in targets.T:
            has = [word in text for text in words]
            n, m = (sum(h for h, own in zip(has, label, strict=True) if own == side) for side in (1, 0))
            own, others = (sum(k for k, mine in zip(kinds, label, strict=True) if mine == side) for side in (1, 0))
            square += (math.log((1 + n) / (BUCKETS + own)) - math.log((1 + m) / (BUCKETS + others))) ** 2 / 3
        assert factors[hashed([word])] == pytest.approx(square**0.25)
    assert factors[hashed([fine])] == 0, "one text has it: what it tells is chance"
    assert np.count_nonzero(factors) == 2
    all_or_none = np.tile([1, 0], (4, 1))
    np.testing.assert_array_equal(telling(counts, np.hstack([targets, all_or_none])), factors)
    assert not telling(counts, all_or_none).any()


def test_weights_against_their_definition():
    factors = np.zeros(BUCKETS, np.float32)
    good, film = (hashed([zlib.crc32(word)]) for word in (b"good", b"film"))
    factors[good], factors[film] = 3.0, 2.0
    buckets, values = weighted(counted("good good film", "words"), factors)
    lengths = 3 * (1 + math.log(2)), 2.0
    by_bucket = dict(zip(buckets.tolist(), values.tolist(), strict=True))
    assert by_bucket == pytest.approx({good: lengths[0] / math.hypot(*lengths), film: 2.0 / math.hypot(*lengths)})
    unknown, _ = weighted(counted("never met", "words"), factors)
    assert not len(unknown)


def test_scores():
    rng = np.random.default_rng(0)
    factors = np.zeros(BUCKETS, np.float32)
    factors[counted("a fine film", "words")[0]] = 1.5
    model = NgramScores("words", factors, rng.normal(size=(2, BUCKETS)).astype(np.float32), np.float32([0.5, -1]))
    buckets, values = weighted(counted("fine film", "words"), factors)
    found = model.of(["fine film", "!?", "other"])
    np.testing.assert_allclose(found[0], model.weight[:, buckets] @ values + model.bias, rtol=1e-6)
    np.testing.assert_array_equal(found[1:], [model.bias] * 2)  # nothing that is known
    np.testing.assert_allclose(model.times(3).of(["fine film"]), 3 * found[:1], rtol=1e-5)
    again = NgramScores.from_tensors("words", model.tensors())
    np.testing.assert_array_equal(again.of(["fine film"]), found[:1])


def test_what_is_counted_suits_the_language():
    assert unit_of(["房间很大，服务很好", "good"]) == "characters"
    assert unit_of(["the room is big 房"]) == "words"


def test_a_text_of_ten_megabytes():
    _, counts = counted("房间很大，服务很好。" * 330_000, "characters")
    assert counts.sum() == 3 * 3_300_000 - 3
