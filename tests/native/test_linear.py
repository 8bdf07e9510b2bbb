"""The linear layer of the running half, against float64."""

from __future__ import annotations

import numpy as np
import pytest

SIZES = (1, 3, 7, 63)


def linear(core, x, W, b, threads=1):
    y = np.full((len(x), len(W)), np.nan, np.float32)
    core.linear(x, W, b, y, threads)
    return y


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("n", SIZES)
def test_parity(core, n, threads, with_bias):
    rng = np.random.default_rng(n)
    for inputs in SIZES:
        for outputs in SIZES:
            x, W = (rng.standard_normal(shape).astype(np.float32) for shape in ((n, inputs), (outputs, inputs)))
            b = rng.standard_normal(outputs).astype(np.float32) if with_bias else None
            expected = x.astype(float) @ W.T.astype(float) + (0 if b is None else b)
            limit = (inputs + 1) * np.finfo(np.float32).eps * (np.abs(x).astype(float) @ np.abs(W).T + 4)
            assert (np.abs(linear(core, x, W, b, threads) - expected) <= limit).all()


def test_each_vector_gives_the_same_bits_alone_and_among_others(core):
    rng = np.random.default_rng(0)
    x, W = rng.standard_normal((5, 67)).astype(np.float32), rng.standard_normal((131, 67)).astype(np.float32)
    together = linear(core, x, W, None)
    for threads in (1, 2, 3):
        assert (linear(core, x, W, None, threads) == together).all()
        for i in range(5):
            assert (linear(core, x[i : i + 1], W, None, threads)[0] == together[i]).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": np.zeros((2, 4), np.float64)}, "x has the dtype float64"),
        ({"W": np.zeros((3, 5), np.float32)}, "W has the shape"),
        ({"b": np.zeros(4, np.float32)}, "b has the shape"),
        ({"y": np.zeros((2, 2), np.float32)}, "y has the shape"),
        ({"x": [[1.0]]}, "x is a list"),
    ],
)
def test_wrong_arrays_are_named(core, change, words):
    given = {"x": (2, 4), "W": (3, 4), "b": (3,), "y": (2, 3)}
    arrays = {name: np.zeros(shape, np.float32) for name, shape in given.items()} | change
    with pytest.raises((ValueError, TypeError), match=words):
        core.linear(**arrays, threads=1)
