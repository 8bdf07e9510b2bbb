"""GRU with the reset gate applied after the product (`gru`), forward and backward through time.

    r_t = σ(W_xr x_t + W_hr h_{t-1} + b_r)                       reset gate                  (1)
    z_t = σ(W_xz x_t + W_hz h_{t-1} + b_z)                       update gate                 (2)
    q_t = W_hn h_{t-1} + b_hn                                    what the reset gate scales  (3)
    n_t = tanh(W_xn x_t + b_xn + r_t ⊙ q_t)                      candidate                   (4)
    h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}                        hidden state                (5)

Before step t a lane that starts afresh gets h_{t-1} = 0; this is (0).

Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation", 2014,
arXiv 1406.1078v1; with the biases of cuDNN, PyTorch and Keras. b_hn stands inside the reset gate's product, so it is no
second b_xn: a GRU without it is another function. Version 3 of the paper scales h_{t-1} itself: `gru_reset_before`.

A row of ``x_t (B, I)`` is one lane, so W_xr x_t of the page reads ``x_t @ W_xr.T`` here. ``d_`` + name is the gradient
of the loss with respect to that name; a_r, a_z, a_n are the pre-activations, what stands inside σ and tanh.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tidegate.theory.activations import sigmoid
from tidegate.theory.state import Array, HiddenState, start_fresh

State = HiddenState


class Parameters(NamedTuple):
    """Weights ``W_x* (H, I)``, ``W_h* (H, H)`` of r z n, biases ``b_r b_z b_xn b_hn (H,)``, or their gradients."""

    W_xr: Array
    W_xz: Array
    W_xn: Array
    W_hr: Array
    W_hz: Array
    W_hn: Array
    b_r: Array
    b_z: Array
    b_xn: Array
    b_hn: Array


class Step(NamedTuple):
    """What backward needs of one step: ``x_t (B, I)``; h_{t-1}, the gates r z n and q, each ``(B, H)``."""

    x: Array
    h_before: Array
    r: Array
    z: Array
    n: Array
    q: Array


class Saved(NamedTuple):
    """What forward hands to backward: the T steps, and ``fresh (T, B)`` or None."""

    steps: list[Step]
    fresh: NDArray[np.bool_] | None


def _step(x: Array, state: HiddenState, p: Parameters) -> tuple[HiddenState, Step]:
    h = state.h
    r = sigmoid(x @ p.W_xr.T + h @ p.W_hr.T + p.b_r)  # (1)
    z = sigmoid(x @ p.W_xz.T + h @ p.W_hz.T + p.b_z)  # (2)
    q = h @ p.W_hn.T + p.b_hn  # (3)
    n = np.tanh(x @ p.W_xn.T + p.b_xn + r * q)  # (4)
    h_t = (1 - z) * n + z * h  # (5)
    return HiddenState(h_t), Step(x, h, r, z, n, q)


def step(x_t: Array, state: HiddenState, p: Parameters) -> HiddenState:
    """Return the state after one step from ``x_t (B, I)`` and the state before, ``(B, H)``."""
    return _step(x_t, state, p)[0]


def forward(
    x: Array, state_0: HiddenState, p: Parameters, *, fresh: NDArray[np.bool_] | None = None
) -> tuple[Array, HiddenState, Saved]:
    """Read ``x (T, B, I)`` from ``state_0`` on: return ``h (T, B, H)``, the last state, and what backward needs.

    Where ``fresh (T, B)`` is True, the lane's state before that step is replaced by zeros.
    """
    h = np.empty((*x.shape[:2], p.b_r.size), x.dtype)
    state, steps = state_0, []
    for t, x_t in enumerate(x):
        state, saved_t = _step(x_t, start_fresh(state, fresh, t), p)  # (0), then (1) to (5)
        steps.append(saved_t)
        h[t] = state.h
    return h, state, Saved(steps, fresh)


def backward(d_h: Array, d_state_T: HiddenState, saved: Saved, p: Parameters) -> tuple[Array, HiddenState, Parameters]:
    """Run the chain rule from the last step to the first.

    Given the gradients of every output ``d_h (T, B, H)`` and of the last state, return ``d_x (T, B, I)``, the gradient
    of ``state_0`` and those of the parameters, summed over steps and lanes.
    """
    d_x = np.empty((*d_h.shape[:2], p.W_xr.shape[1]), d_h.dtype)
    d_p = Parameters(*map(np.zeros_like, p))
    d_state = d_state_T
    for t in reversed(range(len(saved.steps))):
        x, h_before, r, z, n, q = saved.steps[t]
        d_h_t = d_h[t] + d_state.h  # h_t went to the output and to step t+1

        d_z = d_h_t * (h_before - n)  # undoes (5)
        d_n = d_h_t * (1 - z)  # undoes (5)
        d_h_before = d_h_t * z  # undoes (5): z_t ⊙ h_{t-1}
        d_a_n = d_n * (1 - n * n)  # undoes (4): tanh' = 1 - tanh²
        d_r = d_a_n * q  # undoes (4)
        d_q = d_a_n * r  # undoes (4)
        d_a_z = d_z * z * (1 - z)  # undoes (2): σ' = σ (1 - σ)
        d_a_r = d_r * r * (1 - r)  # undoes (1)

        _accumulate(d_p, x, h_before, d_a_r, d_a_z, d_a_n, d_q)
        d_x[t] = d_a_r @ p.W_xr + d_a_z @ p.W_xz + d_a_n @ p.W_xn  # undoes (1), (2), (4): W_x* x_t
        d_h_before = d_h_before + d_a_r @ p.W_hr + d_a_z @ p.W_hz + d_q @ p.W_hn  # undoes (1), (2), (3): W_h* h_{t-1}

        d_state = start_fresh(HiddenState(d_h_before), saved.fresh, t)  # undoes (0)
    return d_x, d_state, d_p


def _accumulate(
    d_p: Parameters, x: Array, h_before: Array, d_a_r: Array, d_a_z: Array, d_a_n: Array, d_q: Array
) -> None:
    """Add one step's share to the gradients of weights and biases: ∂W_x* += δa_* x_tᵀ, ∂W_h* += δa_* h_{t-1}ᵀ."""
    d_p.W_xr[:] += d_a_r.T @ x  # undoes (1)
    d_p.W_hr[:] += d_a_r.T @ h_before
    d_p.b_r[:] += d_a_r.sum(axis=0)
    d_p.W_xz[:] += d_a_z.T @ x  # undoes (2)
    d_p.W_hz[:] += d_a_z.T @ h_before
    d_p.b_z[:] += d_a_z.sum(axis=0)
    d_p.W_hn[:] += d_q.T @ h_before  # undoes (3)
    d_p.b_hn[:] += d_q.sum(axis=0)
    d_p.W_xn[:] += d_a_n.T @ x  # undoes (4)
    d_p.b_xn[:] += d_a_n.sum(axis=0)
