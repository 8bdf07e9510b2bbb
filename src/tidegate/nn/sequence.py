"""The seam: one cell over one sequence. Whatever computes a cell stands behind `run_cell`; nothing else calls a kernel.

Gate orders and stacked weights are those of `tidegate.theory.layout`; the equations are in `tidegate.theory`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tidegate.config import Cell
from tidegate.theory.state import HiddenState, LSTMState

LayerState = HiddenState | LSTMState


class CellWeights(NamedTuple):
    """A cell's parameters under PyTorch's names: G gates stacked, in the order of `tidegate.theory.layout.GATES`."""

    weight_ih: Tensor
    """``(G·H, I)``"""
    weight_hh: Tensor
    """``(G·H, H)``"""
    bias_ih: Tensor
    """``(G·H,)``"""
    bias_hh: Tensor
    """``(G·H,)``"""


def zero_state(cell: Cell, B: int, H: int, like: Tensor) -> LayerState:
    """Return the initial state of one layer, zeros ``(B, H)`` of `like`'s dtype and device."""
    h = like.new_zeros(B, H)
    return LSTMState(h, like.new_zeros(B, H)) if cell == "lstm" else HiddenState(h)


def run_cell(
    cell: Cell, x: Tensor, state: LayerState | None, weights: CellWeights, fresh: Tensor | None = None
) -> tuple[Tensor, LayerState]:
    """Run a cell over a window.

    x: ``(T, B, I)``; state: before the first step, None means zeros; fresh: ``(T, B)`` bool, where True, lane b's
    state before step t is replaced by zeros. Returns the outputs h ``(T, B, H)`` and the state after the last step.
    """
    T, B, _ = x.shape
    if state is None:
        state = zero_state(cell, B, weights.weight_hh.shape[1], x)
    outputs = []
    for start, stop in _segments(fresh, T):
        if fresh is not None and bool(fresh[start].any()):
            state = _reset(state, fresh[start])
        h, state = _run_segment(cell, x[start:stop], state, weights)
        outputs.append(h)
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs), state


def _segments(fresh: Tensor | None, T: int) -> list[tuple[int, int]]:
    """Cut ``0..T`` before every step at which some lane starts afresh: within a segment no state is replaced."""
    if fresh is None:
        return [(0, T)]
    cuts = [t for t in fresh.any(dim=1).nonzero().flatten().tolist() if t > 0]
    return list(zip([0, *cuts], [*cuts, T], strict=True))


def _reset(state: LayerState, fresh: Tensor) -> LayerState:
    """Replace the state of the lanes where fresh ``(B,)`` is True by zeros; no gradient flows back through them."""
    lanes = fresh.unsqueeze(1)
    return type(state)(*(s.masked_fill(lanes, 0.0) for s in state))


def _run_segment(cell: Cell, x: Tensor, state: LayerState, weights: CellWeights) -> tuple[Tensor, LayerState]:
    if cell == "gru_reset_before":
        return _gru_reset_before(x, state, weights)
    hidden = [s.unsqueeze(0).contiguous() for s in state]
    flat = list(weights)
    if cell == "lstm":
        y, h, c = torch.lstm(x, hidden, flat, True, 1, 0.0, torch.is_grad_enabled(), False, False)
        return y, LSTMState(h[0], c[0])
    operator = torch.gru if cell == "gru" else torch.rnn_tanh
    y, h = operator(x, hidden[0], flat, True, 1, 0.0, torch.is_grad_enabled(), False, False)
    return y, HiddenState(h[0])


def _gru_reset_before(x: Tensor, state: LayerState, weights: CellWeights) -> tuple[Tensor, LayerState]:
    """GRU of arXiv 1406.1078v3, where r_t meets h_{t-1} before the product; PyTorch has no operator for it."""
    h = state.h
    H = h.shape[1]
    # the products with x do not wait for the time loop: one large product instead of T small ones
    from_x = torch.nn.functional.linear(x, weights.weight_ih, weights.bias_ih + weights.bias_hh)
    weight_rz, weight_n = weights.weight_hh[: 2 * H].t(), weights.weight_hh[2 * H :].t()
    outputs = []
    for x_t in from_x:
        r, z = torch.sigmoid(x_t[:, : 2 * H] + h @ weight_rz).chunk(2, dim=1)
        n = torch.tanh(x_t[:, 2 * H :] + (r * h) @ weight_n)
        h = n + z * (h - n)
        outputs.append(h)
    return torch.stack(outputs), HiddenState(h)
