"""Output layer and softmax cross-entropy, forward and backward.

    y_t = W_hy h_t + b_y                                       logits                       (1)
    p_t = exp(y_t - max y_t) / Σ exp(y_t - max y_t)            softmax                      (2)
    loss = Σ_t Σ_b weight_tb · (-log p_t[target_t])            nats, a sum, never a mean    (3)

Subtracting the maximum changes nothing in (2) and keeps exp from overflowing. Sums are divided once, at the end, by
whoever reports them: a mean of means is wrong as soon as windows differ.

Bishop, "Pattern Recognition and Machine Learning", 2006, section 4.3.4: softmax and cross-entropy together have the
gradient p_t - onehot(target_t).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tidegate.theory.state import Array


class Parameters(NamedTuple):
    """Weight ``W_hy (V, H)`` and bias ``b_y (V,)``, or their gradients."""

    W_hy: Array
    b_y: Array


class Saved(NamedTuple):
    """What forward hands to backward: ``h (T, B, H)``, the softmax ``(T, B, V)``, targets and weights ``(T, B)``."""

    h: Array
    probabilities: Array
    targets: NDArray[np.integer[Any]]
    weights: Array


def logits(h: Array, p: Parameters) -> Array:
    """Return ``y (…, V)`` from ``h (…, H)``."""
    return h @ p.W_hy.T + p.b_y  # (1)


def log_softmax(y: Array) -> Array:
    """Return log p ``(…, V)`` in nats from logits ``y (…, V)``."""
    shifted = y - y.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))  # (2)


def forward(
    h: Array, targets: NDArray[np.integer[Any]], weights: Array, p: Parameters
) -> tuple[np.floating[Any], Saved]:
    """Return the loss in nats, summed over steps and lanes, and what backward needs.

    ``h (T, B, H)``; ``targets (T, B)`` are ids from 0 to V - 1, also where the weight is 0; ``weights (T, B)`` say how
    much each target counts: 0 leaves a padded one out.
    """
    log_p = log_softmax(logits(h, p))  # (1), (2)
    nats = -np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    loss = (weights.astype(nats.dtype, copy=False) * nats).sum()  # (3)
    return loss, Saved(h, np.exp(log_p), targets, weights)


def backward(saved: Saved, p: Parameters) -> tuple[Array, Parameters]:
    """Return ``d_h (T, B, H)`` and the gradients of W_hy and b_y, for a loss whose own gradient is 1."""
    h, probabilities, targets, weights = saved
    V, H = p.W_hy.shape
    d_y = probabilities.copy()
    at_target = np.take_along_axis(d_y, targets[..., None], axis=-1) - 1
    np.put_along_axis(d_y, targets[..., None], at_target, axis=-1)  # undoes (3) and (2): p_t - onehot(target_t)
    d_y *= weights[..., None]  # undoes (3): weight_tb

    d_W_hy = d_y.reshape(-1, V).T @ h.reshape(-1, H)  # undoes (1): Σ δy_t h_tᵀ
    d_b_y = d_y.reshape(-1, V).sum(axis=0)  # undoes (1)
    return d_y @ p.W_hy, Parameters(d_W_hy, d_b_y)  # undoes (1): δh_t = W_hyᵀ δy_t
