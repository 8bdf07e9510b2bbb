"""Standard RNN (Elman), forward and backward through time.

    h_t = tanh(W_xh x_t + W_hh h_{t-1} + b_h)                              (1)

Before step t a lane that starts afresh gets h_{t-1} = 0; this is (0).

Elman, "Finding Structure in Time", Cognitive Science 14(2), 1990. Backward through time: Werbos, "Backpropagation
Through Time: What It Does and How to Do It", Proceedings of the IEEE 78(10), 1990.

A row of ``x_t (B, I)`` is one lane, so W_xh x_t of the page reads ``x_t @ W_xh.T`` here. ``d_`` + name is the gradient
of the loss with respect to that name; a is a pre-activation, what stands inside the tanh.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tidegate.theory.state import Array, HiddenState, start_fresh

State = HiddenState


class Parameters(NamedTuple):
    """Weights ``W_xh (H, I)``, ``W_hh (H, H)`` and bias ``b_h (H,)``, or their gradients."""

    W_xh: Array
    W_hh: Array
    b_h: Array


class Step(NamedTuple):
    """What backward needs of one step: ``x_t (B, I)``, ``h_{t-1}`` and ``h_t (B, H)``."""

    x: Array
    h_before: Array
    h: Array


class Saved(NamedTuple):
    """What forward hands to backward: the T steps, and ``fresh (T, B)`` or None."""

    steps: list[Step]
    fresh: NDArray[np.bool_] | None


def step(x_t: Array, state: HiddenState, p: Parameters) -> HiddenState:
    """Return the state after one step from ``x_t (B, I)`` and the state before, ``(B, H)``."""
    return HiddenState(np.tanh(x_t @ p.W_xh.T + state.h @ p.W_hh.T + p.b_h))  # (1)


def forward(
    x: Array, state_0: HiddenState, p: Parameters, *, fresh: NDArray[np.bool_] | None = None
) -> tuple[Array, HiddenState, Saved]:
    """Read ``x (T, B, I)`` from ``state_0`` on: return ``h (T, B, H)``, the last state, and what backward needs.

    Where ``fresh (T, B)`` is True, the lane's state before that step is replaced by zeros.
    """
    h = np.empty((*x.shape[:2], p.b_h.size), x.dtype)
    state, steps = state_0, []
    for t, x_t in enumerate(x):
        before = start_fresh(state, fresh, t)  # (0)
        state = step(x_t, before, p)
        steps.append(Step(x_t, before.h, state.h))
        h[t] = state.h
    return h, state, Saved(steps, fresh)


def backward(d_h: Array, d_state_T: HiddenState, saved: Saved, p: Parameters) -> tuple[Array, HiddenState, Parameters]:
    """Run the chain rule from the last step to the first.

    Given the gradients of every output ``d_h (T, B, H)`` and of the last state, return ``d_x (T, B, I)``, the gradient
    of ``state_0`` and those of the parameters, summed over steps and lanes.
    """
    d_x = np.empty((*d_h.shape[:2], p.W_xh.shape[1]), d_h.dtype)
    d_p = Parameters(*map(np.zeros_like, p))
    d_state = d_state_T
    for t in reversed(range(len(saved.steps))):
        x, h_before, h = saved.steps[t]
        d_h_t = d_h[t] + d_state.h  # h_t went to the output and to step t+1

        d_a = d_h_t * (1 - h * h)  # undoes (1): tanh' = 1 - tanh²
        d_p.W_xh[:] += d_a.T @ x  # undoes (1): W_xh x_t
        d_p.W_hh[:] += d_a.T @ h_before  # undoes (1): W_hh h_{t-1}
        d_p.b_h[:] += d_a.sum(axis=0)  # undoes (1): b_h
        d_x[t] = d_a @ p.W_xh  # undoes (1): W_xh x_t
        d_h_before = d_a @ p.W_hh  # undoes (1): W_hh h_{t-1}

        d_state = start_fresh(HiddenState(d_h_before), saved.fresh, t)  # undoes (0)
    return d_x, d_state, d_p
