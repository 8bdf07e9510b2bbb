"""LSTM with a forget gate and no peepholes, forward and backward through time.

    i_t = σ(W_xi x_t + W_hi h_{t-1} + b_i)         input gate              (1)
    f_t = σ(W_xf x_t + W_hf h_{t-1} + b_f)         forget gate             (2)
    g_t = tanh(W_xg x_t + W_hg h_{t-1} + b_g)      candidate               (3)
    o_t = σ(W_xo x_t + W_ho h_{t-1} + b_o)         output gate             (4)
    c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t                cell state              (5)
    h_t = o_t ⊙ tanh(c_t)                          hidden state            (6)

Before step t a lane that starts afresh gets h_{t-1} = c_{t-1} = 0; this is (0).

Hochreiter & Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997; the forget gate: Gers, Schmidhuber &
Cummins, "Learning to Forget: Continual Prediction with LSTM", Neural Computation 12(10), 2000.

A row of ``x_t (B, I)`` is one lane, so W_xi x_t of the page reads ``x_t @ W_xi.T`` here. ``d_`` + name is the gradient
of the loss with respect to that name; a_i … a_o are the pre-activations, what stands inside σ and tanh.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tidegate.theory.activations import sigmoid
from tidegate.theory.state import Array, LSTMState, start_fresh

State = LSTMState


class Parameters(NamedTuple):
    """Weights ``W_x* (H, I)``, ``W_h* (H, H)`` and biases ``b_* (H,)`` of the gates i f g o, or their gradients."""

    W_xi: Array
    W_xf: Array
    W_xg: Array
    W_xo: Array
    W_hi: Array
    W_hf: Array
    W_hg: Array
    W_ho: Array
    b_i: Array
    b_f: Array
    b_g: Array
    b_o: Array


class Step(NamedTuple):
    """What backward needs of one step: ``x_t (B, I)``; the state before it, the gates, tanh(c_t), each ``(B, H)``."""

    x: Array
    h_before: Array
    c_before: Array
    i: Array
    f: Array
    g: Array
    o: Array
    tanh_c: Array


class Saved(NamedTuple):
    """What forward hands to backward: the T steps, and ``fresh (T, B)`` or None."""

    steps: list[Step]
    fresh: NDArray[np.bool_] | None


def _step(x: Array, state: LSTMState, p: Parameters) -> tuple[LSTMState, Step]:
    h, c = state
    i = sigmoid(x @ p.W_xi.T + h @ p.W_hi.T + p.b_i)  # (1)
    f = sigmoid(x @ p.W_xf.T + h @ p.W_hf.T + p.b_f)  # (2)
    g = np.tanh(x @ p.W_xg.T + h @ p.W_hg.T + p.b_g)  # (3)
    o = sigmoid(x @ p.W_xo.T + h @ p.W_ho.T + p.b_o)  # (4)
    c_t = f * c + i * g  # (5)
    tanh_c = np.tanh(c_t)
    h_t = o * tanh_c  # (6)
    return LSTMState(h_t, c_t), Step(x, h, c, i, f, g, o, tanh_c)


def step(x_t: Array, state: LSTMState, p: Parameters) -> LSTMState:
    """Return the state after one step from ``x_t (B, I)`` and the state before, h and c ``(B, H)``."""
    return _step(x_t, state, p)[0]


def forward(
    x: Array, state_0: LSTMState, p: Parameters, *, fresh: NDArray[np.bool_] | None = None
) -> tuple[Array, LSTMState, Saved]:
    """Read ``x (T, B, I)`` from ``state_0`` on: return ``h (T, B, H)``, the last state, and what backward needs.

    Where ``fresh (T, B)`` is True, the lane's state before that step is replaced by zeros.
    """
    h = np.empty((*x.shape[:2], p.b_i.size), x.dtype)
    state, steps = state_0, []
    for t, x_t in enumerate(x):
        state, saved_t = _step(x_t, start_fresh(state, fresh, t), p)  # (0), then (1) to (6)
        steps.append(saved_t)
        h[t] = state.h
    return h, state, Saved(steps, fresh)


def backward(d_h: Array, d_state_T: LSTMState, saved: Saved, p: Parameters) -> tuple[Array, LSTMState, Parameters]:
    """Run the chain rule from the last step to the first.

    Given the gradients of every output ``d_h (T, B, H)`` and of the last state (h and c), return ``d_x (T, B, I)``, the
    gradient of ``state_0`` and those of the parameters, summed over steps and lanes.
    """
    d_x = np.empty((*d_h.shape[:2], p.W_xi.shape[1]), d_h.dtype)
    d_p = Parameters(*map(np.zeros_like, p))
    d_state = d_state_T
    for t in reversed(range(len(saved.steps))):
        x, h_before, c_before, i, f, g, o, tanh_c = saved.steps[t]
        d_h_t = d_h[t] + d_state.h  # h_t went to the output and to step t+1

        d_o = d_h_t * tanh_c  # undoes (6)
        d_c = d_state.c + d_h_t * o * (1 - tanh_c * tanh_c)  # undoes (6); d_state.c is what step t+1 sent to c_t
        d_i = d_c * g  # undoes (5)
        d_g = d_c * i  # undoes (5)
        d_f = d_c * c_before  # undoes (5)
        d_c_before = d_c * f  # undoes (5)

        d_a_i = d_i * i * (1 - i)  # undoes (1): σ' = σ (1 - σ)
        d_a_f = d_f * f * (1 - f)  # undoes (2)
        d_a_g = d_g * (1 - g * g)  # undoes (3): tanh' = 1 - tanh²
        d_a_o = d_o * o * (1 - o)  # undoes (4)

        _accumulate(d_p, x, h_before, d_a_i, d_a_f, d_a_g, d_a_o)
        d_x[t] = d_a_i @ p.W_xi + d_a_f @ p.W_xf + d_a_g @ p.W_xg + d_a_o @ p.W_xo  # undoes (1) to (4): W_x* x_t
        d_h_before = (
            d_a_i @ p.W_hi + d_a_f @ p.W_hf + d_a_g @ p.W_hg + d_a_o @ p.W_ho
        )  # undoes (1) to (4): W_h* h_{t-1}

        d_state = start_fresh(LSTMState(d_h_before, d_c_before), saved.fresh, t)  # undoes (0)
    return d_x, d_state, d_p


def _accumulate(
    d_p: Parameters, x: Array, h_before: Array, d_a_i: Array, d_a_f: Array, d_a_g: Array, d_a_o: Array
) -> None:
    """Add one step's share to the gradients of weights and biases: ∂W_x* += δa_* x_tᵀ, ∂W_h* += δa_* h_{t-1}ᵀ."""
    d_p.W_xi[:] += d_a_i.T @ x  # undoes (1)
    d_p.W_hi[:] += d_a_i.T @ h_before
    d_p.b_i[:] += d_a_i.sum(axis=0)
    d_p.W_xf[:] += d_a_f.T @ x  # undoes (2)
    d_p.W_hf[:] += d_a_f.T @ h_before
    d_p.b_f[:] += d_a_f.sum(axis=0)
    d_p.W_xg[:] += d_a_g.T @ x  # undoes (3)
    d_p.W_hg[:] += d_a_g.T @ h_before
    d_p.b_g[:] += d_a_g.sum(axis=0)
    d_p.W_xo[:] += d_a_o.T @ x  # undoes (4)
    d_p.W_ho[:] += d_a_o.T @ h_before
    d_p.b_o[:] += d_a_o.sum(axis=0)
