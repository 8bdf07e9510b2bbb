"""The choice of a token: its settings, its probabilities, its random numbers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tidegate.errors import TidegateError
from tidegate.runtime.sampling import Sampling, choose, uniform

# eighths: differences below float64's eps, which no probability shows, do not occur, and equals do
LOGITS = arrays(np.float32, st.integers(1, 12), elements=st.integers(-240, 240).map(lambda eighths: eighths / 8))
U = st.floats(0, 1, exclude_max=True)
FEW = settings(max_examples=80, deadline=None)


def probabilities(logits, sampling, recent=(), never=()):
    """Each token's probability, from choices at many evenly spaced uniform numbers."""
    n = 4000
    drawn = [choose(logits, sampling, recent, (i + 0.5) / n, never) for i in range(n)]
    return np.bincount(drawn, minlength=len(logits)) / n


def softmax(scores):
    p = np.exp(np.asarray(scores, np.float64) - np.max(scores))
    return p / p.sum()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_probabilities_are_the_softmax_of_the_logits_over_the_temperature(temperature):
    logits = np.array([1.0, -0.5, 0.3, 2.0], np.float32)
    found = probabilities(logits, Sampling(temperature=temperature))
    assert np.abs(found - softmax(logits / temperature)).max() < 1e-3


@FEW
@given(LOGITS, U)
def test_temperature_nought_takes_the_likeliest_the_first_among_equals(logits, u):
    assert choose(logits, Sampling(temperature=0), (), u) == int(np.argmax(logits))
    assert choose(logits, Sampling(temperature=5, top_k=1), (), u) == int(np.argmax(logits))
    assert choose(logits, Sampling(temperature=5, top_p=1e-9), (), u) == int(np.argmax(logits))
    assert logits[choose(logits, Sampling(temperature=5, min_p=1), (), u)] == logits.max()


@FEW
@given(LOGITS, U, st.integers(1, 15))
def test_top_k_draws_among_the_k_likeliest(logits, u, k):
    allowed = np.argsort(-logits, kind="stable")[:k]
    assert choose(logits, Sampling(temperature=3, top_k=k), (), u) in allowed


def test_top_k_among_equals_keeps_the_lower_ids():
    found = probabilities(np.zeros(6, np.float32), Sampling(top_k=3))
    assert np.abs(found - [1 / 3, 1 / 3, 1 / 3, 0, 0, 0]).max() < 1e-3


@FEW
@given(LOGITS, U, st.floats(0.01, 0.999))
def test_top_p_draws_among_the_fewest_that_reach_p(logits, u, top_p):
    p = softmax(logits)
    order = np.argsort(-logits, kind="stable")
    needed = int(np.searchsorted(np.cumsum(p[order]), top_p - 1e-9)) + 2  # one more for rounding at the border
    assert choose(logits, Sampling(temperature=1, top_p=top_p), (), u) in order[:needed]


def test_top_p_in_numbers():
    logits = np.log(np.array([0.1, 0.5, 0.15, 0.25], np.float32))
    for top_p, wanted in [(0.4, [0, 1, 0, 0]), (0.7, [0, 2 / 3, 0, 1 / 3]), (0.8, [0, 5 / 9, 1.5 / 9, 2.5 / 9])]:
        assert np.abs(probabilities(logits, Sampling(temperature=1, top_p=top_p)) - wanted).max() < 1e-3


@FEW
@given(LOGITS, U, st.floats(0.01, 1))
def test_min_p_draws_among_those_near_the_likeliest(logits, u, min_p):
    p = softmax(logits)
    assert p[choose(logits, Sampling(temperature=1, min_p=min_p), (), u)] >= min_p * p.max() * (1 - 1e-9)


def test_min_p_in_numbers():
    logits = np.log(np.array([0.1, 0.5, 0.15, 0.25], np.float32))
    found = probabilities(logits, Sampling(temperature=1, min_p=0.4))
    assert np.abs(found - [0, 2 / 3, 0, 1 / 3]).max() < 1e-3


@FEW
@given(LOGITS, U)
def test_filters_that_are_off_change_nothing(logits, u):
    plain = choose(logits, Sampling(), (), u)
    off = Sampling(top_k=0, top_p=1, min_p=0, repetition_penalty=1)
    assert choose(logits, off, tuple(range(len(logits))), u) == plain


@FEW
@given(LOGITS, U, st.floats(0.05, 5), st.integers(0, 5), st.floats(0.01, 1), st.floats(0, 1))
def test_a_token_that_is_never_to_be_drawn_is_not(logits, u, temperature, k, top_p, min_p):
    logits = np.append(logits, np.float32(40))
    sampling = Sampling(temperature=temperature, top_k=k, top_p=top_p, min_p=min_p)
    assert choose(logits, sampling, (), u, never=[len(logits) - 1]) < len(logits) - 1


@FEW
@given(LOGITS, st.floats(0.01, 100), st.sampled_from([0.0, 0.5, 1 - 2**-53]))
def test_every_uniform_number_gives_a_token(logits, temperature, u):
    assert 0 <= choose(logits, Sampling(temperature=temperature), (), u) < len(logits)


def test_extreme_values_do_no_harm():
    logits = np.array([3e38, -3e38, 1e38], np.float32)
    for temperature in (1e-300, 1e-6, 1.0, 100.0):
        assert choose(logits, Sampling(temperature=temperature), (), 0.999) == 0


def test_a_token_without_probability_is_not_drawn_at_nought():
    assert choose(np.array([-1000, 5], np.float32), Sampling(temperature=0.01), (), 0.0) == 1


def test_repetition_penalty_in_numbers():
    logits = np.array([2.0, -1.0, 0.5], np.float32)
    penalized = [1.0, -2.0, 0.5]
    found = probabilities(logits, Sampling(temperature=1, repetition_penalty=2), recent=(0, 1, 0))
    assert np.abs(found - softmax(penalized)).max() < 1e-3
    window = Sampling(temperature=1, repetition_penalty=2, repetition_window=1)
    assert np.abs(probabilities(logits, window, recent=(1, 0)) - softmax([1.0, -1.0, 0.5])).max() < 1e-3
    none = Sampling(temperature=1, repetition_penalty=2, repetition_window=0)
    assert np.abs(probabilities(logits, none, recent=(1, 0)) - softmax(logits)).max() < 1e-3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_are_refused(bad, temperature):
    with pytest.raises(TidegateError, match="not all finite"):
        choose(np.array([0, bad, 1], np.float32), Sampling(temperature=temperature), (), 0.5)


def test_logits_are_not_changed():
    logits = np.array([1, 2, 3], np.float32)
    choose(logits, Sampling(repetition_penalty=3), (2,), 0.5, never=[1])
    assert logits.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1), ("temperature", float("nan")), ("temperature", 101), ("top_k", -1), ("top_p", 0),
        ("top_p", 1.1), ("min_p", -0.1), ("min_p", 1.1), ("repetition_penalty", 0), ("repetition_window", -1),
        ("seed", -1), ("seed", 2**63),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_refused(field, value):
    with pytest.raises(TidegateError, match=rf"{field} is .*must be from"):
        Sampling(**{field: value})


def philox4x64(counter, key):
    """Ten rounds of Philox, written out from the paper's section 3."""
    c, k, m = list(counter), list(key), 2**64 - 1
    for _ in range(10):
        high_0, low_0 = divmod(0xD2E7470EE14C6C93 * c[0], 2**64)
        high_1, low_1 = divmod(0xCA5A826395121157 * c[2], 2**64)
        c = [high_1 ^ c[1] ^ k[0], low_1, high_0 ^ c[3] ^ k[1], low_0]
        k = [(k[0] + 0x9E3779B97F4A7C15) & m, (k[1] + 0xBB67AE8584CAA73B) & m]
    return c


def test_uniform_numbers_are_a_function_of_seed_sample_and_position():
    """The values are part of the promise that a seed writes the same text, on every machine and version."""
    assert uniform(0, 0, 0) == 0.011546754286331562
    for seed, sample, position in [(0, 0, 0), (7, 3, 1_000_000), (2**63 - 1, 5, 2**40)]:
        wanted = philox4x64((position + 1, 0, 0, 0), (seed, sample))[0]  # NumPy counts up before it draws
        assert uniform(seed, sample, position) == (wanted >> 11) * 2.0**-53
        by_numpy = np.random.Philox(
            key=np.array([seed, sample], np.uint64), counter=np.array([position, 0, 0, 0], np.uint64)
        )
        assert wanted == int(by_numpy.random_raw())
    points = {uniform(seed, sample, position) for seed in range(5) for sample in range(5) for position in range(40)}
    assert len(points) == 1000
    assert 0 <= uniform(2**63 - 1, 2**63 - 1, 2**63) < 1


def test_uniform_numbers_are_even():
    counts = np.histogram([uniform(1, 2, i) for i in range(2000)], bins=10, range=(0, 1))[0]
    assert ((counts - 200) ** 2 / 200).sum() < 27.9  # chi squared, 9 degrees of freedom, p = 0.001


def test_a_fresh_seed_is_drawn_where_none_is_set():
    first, second = Sampling(seed=None).seeded(), Sampling(seed=None).seeded()
    assert first.seed is not None
    assert first.seed != second.seed
    assert Sampling(seed=4).seeded() == Sampling(seed=4)
    assert dataclasses.replace(first, seed=None) == Sampling(seed=None)
