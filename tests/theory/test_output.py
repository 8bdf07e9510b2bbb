"""Output layer, cross-entropy and RMS normalization: what must hold besides their derivatives."""

from __future__ import annotations

import numpy as np
import pytest

from tidegate.theory import normalization, output
from tidegate.theory.activations import sigmoid
from tidegate.theory.finite_differences import random_values

T, B, H, V = 5, 3, 7, 9


@pytest.fixture
def layer() -> output.Parameters:
    rng = np.random.default_rng(0)
    return output.Parameters(random_values(rng, V, H), random_values(rng, V))


def test_the_loss_is_a_weighted_sum_of_surprises(layer: output.Parameters) -> None:
    rng = np.random.default_rng(1)
    h, targets, weights = random_values(rng, T, B, H), rng.integers(0, V, (T, B)), rng.uniform(0, 2, (T, B))
    loss, saved = output.forward(h, targets, weights, layer)
    by_hand = 0.0
    for t in range(T):
        for b in range(B):
            y = layer.W_hy @ h[t, b] + layer.b_y
            by_hand -= weights[t, b] * np.log(np.exp(y[targets[t, b]]) / np.exp(y).sum())
    np.testing.assert_allclose(loss, by_hand, rtol=1e-13)
    np.testing.assert_allclose(saved.probabilities.sum(axis=-1), 1, rtol=1e-13)


def test_a_weight_of_zero_leaves_a_target_out(layer: output.Parameters) -> None:
    rng = np.random.default_rng(2)
    h, targets, weights = random_values(rng, T, B, H), rng.integers(0, V, (T, B)), np.ones((T, B))
    weights[3:, 1] = 0
    padded, saved = output.forward(h, targets, weights, layer)
    kept = [output.forward(h[:, b : b + 1], targets[:, b : b + 1], weights[:, b : b + 1], layer)[0] for b in (0, 2)]
    kept.append(output.forward(h[:3, 1:2], targets[:3, 1:2], weights[:3, 1:2], layer)[0])
    np.testing.assert_allclose(padded, sum(kept), rtol=1e-13)
    d_h, _ = output.backward(saved, layer)
    assert (d_h[3:, 1] == 0).all()
    assert (d_h[:3, 1] != 0).all()


def test_large_logits_do_not_overflow_and_a_shift_changes_nothing() -> None:
    y = np.array([[1e4, 0.0, -1e4], [-3e4, -3e4, -3e4]], np.float32)
    log_p = output.log_softmax(y)
    np.testing.assert_allclose(log_p, [[0, -1e4, -2e4], [-np.log(3)] * 3], rtol=1e-6)
    assert log_p.dtype == np.float32
    np.testing.assert_array_equal(output.log_softmax(y + 512), log_p)


def test_backward_leaves_what_forward_saved(layer: output.Parameters) -> None:
    h, targets = random_values(np.random.default_rng(3), T, B, H), np.zeros((T, B), np.int64)
    _, saved = output.forward(h, targets, np.ones((T, B)), layer)
    once, twice = output.backward(saved, layer), output.backward(saved, layer)
    np.testing.assert_array_equal(once[0], twice[0])
    np.testing.assert_array_equal(once[1].W_hy, twice[1].W_hy)


def test_float32_stays_float32(layer: output.Parameters) -> None:
    rng = np.random.default_rng(4)
    h, single = (
        random_values(rng, T, B, H).astype(np.float32),
        output.Parameters(*(w.astype(np.float32) for w in layer)),
    )
    loss, saved = output.forward(
        h, rng.integers(0, V, (T, B)), np.ones((T, B)), single
    )  # float64 weights change nothing
    d_h, d_p = output.backward(saved, single)
    assert {value.dtype for value in (loss, d_h, *d_p, output.logits(h[0], single))} == {np.dtype(np.float32)}
    weight = np.ones(H, np.float32)
    y, normalized = normalization.forward(h, weight)
    assert {value.dtype for value in (y, *normalization.backward(h, normalized))} == {np.dtype(np.float32)}
    assert sigmoid(h).dtype == np.float32


def test_rms_norm_of_one_vector_and_of_zeros() -> None:
    y = normalization.rms_norm(np.array([3.0, -4.0]), np.array([1.0, 2.0]))
    np.testing.assert_allclose(y, [3 / 12.5**0.5, -8 / 12.5**0.5], rtol=1e-6)
    np.testing.assert_array_equal(normalization.rms_norm(np.zeros((2, 3)), np.ones(3)), np.zeros((2, 3)))


def test_rms_norm_forgets_the_scale() -> None:
    x, weight = random_values(np.random.default_rng(5), 4, H), random_values(np.random.default_rng(6), H)
    np.testing.assert_allclose(normalization.rms_norm(1e3 * x, weight), normalization.rms_norm(x, weight), rtol=1e-5)


def test_sigmoid_never_overflows() -> None:
    a = np.array([-1e6, -2.0, 0.0, 2.0, 1e6])
    np.testing.assert_allclose(sigmoid(a), [0, 1 / (1 + np.e**2), 0.5, 1 / (1 + np.e**-2), 1], atol=1e-15)
