"""One cell over one sequence by PyTorch's own operators: what computes where the native core does not.

Two ways give the same numbers. `run_segments` calls PyTorch's fused operators on stretches in which no lane changes; it
is the faster. `run_steps` is a plain loop of elementary operators: it can be differentiated any number of times, in
forward mode too, and under the transforms of `torch.func`, which the fused operators can not.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F

from tidegate.theory.layout import GATES
from tidegate.theory.state import HiddenState, LSTMState

LayerState = HiddenState | LSTMState
GATE_COUNT: dict[str, int] = {cell: len(gates) for cell, gates in GATES.items()} | {"rnn_relu": 1}
"""gates of each cell; `rnn_relu` is `rnn` with max(a, 0) in place of tanh(a), as in `torch.nn.RNN`"""


class CellWeights(NamedTuple):
    """A cell's parameters under PyTorch's names: G gates stacked, in the order of `tidegate.theory.layout.GATES`."""

    weight_ih: Tensor
    """``(G·H, I)``"""
    weight_hh: Tensor
    """``(G·H, H)``"""
    bias_ih: Tensor | None
    """``(G·H,)``; None means zeros"""
    bias_hh: Tensor | None
    """``(G·H,)``; None means zeros"""


def transformed() -> bool:
    """Whether a transform of `torch.func` or forward-mode differentiation is under way."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def zero_state(cell: str, B: int, H: int, like: Tensor) -> LayerState:
    """Return the initial state of one layer, zeros ``(B, H)`` of `like`'s dtype and device."""
    h = like.new_zeros(B, H)
    return LSTMState(h, like.new_zeros(B, H)) if cell == "lstm" else HiddenState(h)


# ---- Stretch by stretch, by PyTorch's fused operators ----------------------------------------------------------------


def run_segments(
    cell: str, x: Tensor, state: LayerState, weights: CellWeights, fresh: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, LayerState]:
    """Run a cell over x ``(T, B, I)``; see `tidegate.nn.sequence.run_cell` for the arguments."""
    outputs = []
    for start, stop in _segments(fresh, lengths, x.shape[0]):
        running = None if lengths is None else lengths > start
        if fresh is not None and bool(fresh[start].any()):
            state = _reset(state, fresh[start] if running is None else fresh[start] & running)
        if running is None or bool(running.all()):
            h, state = _run_segment(cell, x[start:stop], state, weights)
        else:
            h, state = _run_some_lanes(cell, x[start:stop], state, weights, running)
        outputs.append(h)
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs), state


def _segments(fresh: Tensor | None, lengths: Tensor | None, T: int) -> list[tuple[int, int]]:
    """Cut ``0..T`` before every step at which some lane starts afresh or has ended: in between, no lane changes."""
    cuts = set()
    if fresh is not None:
        cuts.update(fresh.any(dim=1).nonzero().flatten().tolist())
    if lengths is not None:
        cuts.update(lengths.tolist())
    bounds = [0, *sorted(t for t in cuts if 0 < t < T), T]
    return list(itertools.pairwise(bounds))


def _reset(state: LayerState, fresh: Tensor) -> LayerState:
    """Replace the state of the lanes where fresh ``(B,)`` is True by zeros; no gradient flows back through them."""
    lanes = fresh.unsqueeze(1)
    return type(state)(*(s.masked_fill(lanes, 0.0) for s in state))


def _run_some_lanes(
    cell: str, x: Tensor, state: LayerState, weights: CellWeights, running: Tensor
) -> tuple[Tensor, LayerState]:
    """Run the lanes where running ``(B,)`` is True. The others are not computed at all rather than masked: what stands
    in their padding, NaN perhaps, reaches nothing."""
    lanes = running.nonzero().flatten()
    h = x.new_zeros(*x.shape[:2], state.h.shape[1])
    if len(lanes) == 0:
        return h, state
    y, after = _run_segment(cell, x[:, lanes], type(state)(*(s[lanes] for s in state)), weights)
    # under autocast the cell's dtype is not the input's
    kept = (s.to(a.dtype).index_copy(0, lanes, a) for s, a in zip(state, after, strict=True))
    return h.to(y.dtype).index_copy(1, lanes, y), type(state)(*kept)


def _run_segment(cell: str, x: Tensor, state: LayerState, weights: CellWeights) -> tuple[Tensor, LayerState]:
    if cell == "gru_reset_before":
        return run_steps(cell, x, state, weights, None, None)
    hidden = [s.unsqueeze(0).contiguous() for s in state]
    flat, biased = _flat(weights)
    if cell == "lstm":
        y, h, c = _torch_lstm(x, hidden, flat, biased)
        return y, LSTMState(h[0], c[0])
    operator = {"gru": torch.gru, "rnn": torch.rnn_tanh, "rnn_relu": torch.rnn_relu}[cell]
    y, h = operator(x, hidden[0], flat, biased, 1, 0.0, torch.is_grad_enabled(), False, False)
    return y, HiddenState(h[0])


def _torch_lstm(x: Tensor, hidden: list[Tensor], flat: list[Tensor], biased: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Call `torch.lstm`, without oneDNN where that fails: PyTorch hands it bfloat16 on processors for which it has no
    such LSTM (without AVX-512 under autocast; with it, in training)."""
    arguments = (x, hidden, flat, biased, 1, 0.0, torch.is_grad_enabled(), False, False)
    try:
        return torch.lstm(*arguments)
    except RuntimeError as error:
        if "primitive descriptor" not in str(error):
            raise
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]  # torch types its property so
    try:
        return torch.lstm(*arguments)
    finally:
        torch.backends.mkldnn.enabled = True  # type: ignore[assignment]


def _flat(weights: CellWeights) -> tuple[list[Tensor], bool]:
    """Return the weights as PyTorch's operators take them, with both biases or without any, and which."""
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    if bias_ih is None and bias_hh is None:
        return [weight_ih, weight_hh], False
    zeros = weight_ih.new_zeros(weight_ih.shape[0])
    return [weight_ih, weight_hh, zeros if bias_ih is None else bias_ih, zeros if bias_hh is None else bias_hh], True


# ---- Step by step, by elementary operators ---------------------------------------------------------------------------


def run_steps(
    cell: str, x: Tensor, state: LayerState, weights: CellWeights, fresh: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, LayerState]:
    """Run a cell over x ``(T, B, I)``; see `tidegate.nn.sequence.run_cell` for the arguments."""
    running = None
    if lengths is not None:
        steps = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
        running = (steps < lengths).unsqueeze(2)
        x = x.masked_fill(~running, 0.0)  # NaN in the padding would come back as 0 · NaN in the gradient
        fresh = None if fresh is None else fresh & running.squeeze(2)
    # the products with x do not wait for the time loop: one large product instead of T small ones
    from_x = F.linear(x, weights.weight_ih, weights.bias_ih)
    step = _stepper(cell, weights)
    outputs = []
    for t, x_t in enumerate(from_x.unbind()):
        if fresh is not None:
            state = _reset(state, fresh[t])
        after = step(x_t, state)
        if running is None:
            state = after
            outputs.append(state.h)
        else:
            outputs.append(after.h.masked_fill(~running[t], 0.0))
            state = type(after)(*(torch.where(running[t], a, s) for a, s in zip(after, state, strict=True)))
    return torch.stack(outputs), state


def _stepper(cell: str, weights: CellWeights) -> Callable[[Tensor, LayerState], LayerState]:
    """Return the function that takes a state over one step, given the products with x_t, bias_ih added ``(B, G·H)``.

    Weights are cut into gates here, once: the gradient of a cut fills the whole matrix, which no step should pay.
    """
    weight, bias, H = weights.weight_hh, weights.bias_hh, weights.weight_hh.shape[1]

    def rnn(x_t: Tensor, state: LayerState) -> LayerState:
        a = x_t + F.linear(state.h, weight, bias)
        return HiddenState(torch.relu(a) if cell == "rnn_relu" else torch.tanh(a))

    def lstm(x_t: Tensor, state: LayerState) -> LayerState:
        assert isinstance(state, LSTMState)
        i, f, g, o = (x_t + F.linear(state.h, weight, bias)).chunk(4, dim=1)
        c = torch.sigmoid(f) * state.c + torch.sigmoid(i) * torch.tanh(g)
        return LSTMState(torch.sigmoid(o) * torch.tanh(c), c)

    def gru(x_t: Tensor, state: LayerState) -> LayerState:
        from_x, from_h = x_t.split((2 * H, H), dim=1), F.linear(state.h, weight, bias).split((2 * H, H), dim=1)
        r, z = torch.sigmoid(from_x[0] + from_h[0]).chunk(2, dim=1)
        n = torch.tanh(from_x[1] + r * from_h[1])
        return HiddenState(n + z * (state.h - n))

    weight_rz, weight_n = weight.split((2 * H, H)) if cell == "gru_reset_before" else (weight, weight)
    bias_rz, bias_n = bias.split((2 * H, H)) if cell == "gru_reset_before" and bias is not None else (None, None)

    def gru_reset_before(x_t: Tensor, state: LayerState) -> LayerState:
        """GRU of arXiv 1406.1078v3, where r_t meets h_{t-1} before the product; PyTorch has no operator for it."""
        x_rz, x_n = x_t.split((2 * H, H), dim=1)
        r, z = torch.sigmoid(x_rz + F.linear(state.h, weight_rz, bias_rz)).chunk(2, dim=1)
        n = torch.tanh(x_n + F.linear(r * state.h, weight_n, bias_n))
        return HiddenState(n + z * (state.h - n))

    return {"rnn": rnn, "rnn_relu": rnn, "lstm": lstm, "gru": gru, "gru_reset_before": gru_reset_before}[cell]
