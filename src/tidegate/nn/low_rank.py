"""A cell whose weights stay while low-rank changes to them are learnt: W' = W + scale · B A.

    d_B = scale · d_W' Aᵀ = scale · gᵀ (x Aᵀ)        d_A = scale · Bᵀ d_W' = scale · (g B)ᵀ x

where g are the gates' gradients and x what they read. The native core takes the right sides, and so never computes
d_W', which is a third of a step's work. (LoRA: Hu et al. 2021, arXiv 2106.09685.)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from tidegate import native
from tidegate.nn.composite import CellWeights, LayerState
from tidegate.nn.sequence import native_fits, run_cell
from tidegate.nn.sequence_operator import core, dense, empty
from tidegate.theory.state import HiddenState, LSTMState


class LowRank(NamedTuple):
    """A change to a weight ``(rows, columns)``."""

    A: Tensor
    """``(rank, columns)``"""
    B: Tensor
    """``(rows, rank)``"""
    scale: float

    def of(self, weight: Tensor) -> Tensor:
        """Return the changed weight."""
        return torch.addmm(weight, self.B, self.A, alpha=self.scale)


class Changes(NamedTuple):
    """The changes to a cell; None leaves a weight as it is."""

    ih: LowRank | None = None
    hh: LowRank | None = None


def run_changed_cell(
    cell: str, x: Tensor, state: LayerState | None, weights: CellWeights, changes: Changes, fresh: Tensor | None
) -> tuple[Tensor, LayerState]:
    """Do what `run_cell` does under the changed weights; A and B get gradients, the weights none where they need none.

    A weight that is learnt itself, or a tensor that the core does not compute with, takes the way through W'.
    """
    h_0 = None if state is None else state.h
    c_0 = state.c if isinstance(state, LSTMState) else None
    learns_low_alone = torch.is_grad_enabled() and not any(w is not None and w.requires_grad for w in weights)
    if not learns_low_alone or torch.compiler.is_compiling() or not native_fits(x, h_0, c_0, *weights):
        ih, hh = (w if c is None else c.of(w) for w, c in zip(weights[:2], changes, strict=True))
        return run_cell(cell, x, state, weights._replace(weight_ih=ih, weight_hh=hh), fresh)
    with torch.no_grad():
        changed = [w if c is None else c.of(w) for w, c in zip(weights[:2], changes, strict=True)]
    low = [matrix for c in changes for matrix in ((None, None) if c is None else (c.A, c.B))]
    scales = tuple(1.0 if c is None else c.scale for c in changes for _ in "AB")
    h, h_T, c_T = _Changed.apply(cell, scales, fresh, *weights[2:], *changed, x, h_0, c_0, *low)
    return h, LSTMState(h_T, c_T) if cell == "lstm" else HiddenState(h_T)


class _Changed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, cell: str, scales: tuple[float, ...], fresh: Tensor | None, bias_ih: Tensor, bias_hh: Tensor,
        weight_ih: Tensor, weight_hh: Tensor, x: Tensor, h_0: Tensor | None, c_0: Tensor | None, *low: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        h, h_T, c_T, saved = torch.ops.tidegate.sequence.default(
            native.CELLS[cell], x, h_0, c_0, weight_ih, weight_hh, bias_ih, bias_hh, fresh, None, True
        )
        ctx.cell, ctx.scales = cell, scales
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(fresh, weight_ih, weight_hh, x, h_0, c_0, *low, h, saved)
        if cell != "lstm":
            ctx.mark_non_differentiable(c_T)
        return h, h_T, c_T

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_h: Tensor | None, d_h_T: Tensor | None, d_c_T: Tensor | None) -> tuple[Any, ...]:
        fresh, weight_ih, weight_hh, x, h_0, c_0, *low, h, saved = ctx.saved_tensors
        wanted = zip((x, h_0, c_0), ctx.needs_input_grad[7:10], strict=True)
        d_x, d_h_0, d_c_0 = (empty(t, *t.shape) if need else None for t, need in wanted)
        d_low = [None if matrix is None else empty(matrix, *matrix.shape) for matrix in low]
        given = [None if low[i] is None else tuple(map(dense, (*low[i : i + 2], *d_low[i : i + 2]))) for i in (0, 2)]
        core().sequence_backward(
            native.CELLS[ctx.cell], dense(x), dense(h_0), dense(c_0), dense(weight_ih), dense(weight_hh), dense(fresh),
            None, dense(h), dense(saved), dense(d_h), dense(d_h_T), dense(d_c_T), dense(d_x), dense(d_h_0),
            dense(d_c_0), None, None, None, None, native.team(torch.get_num_threads()), *given,
        )  # fmt: skip
        d_low = [None if d is None else d.mul_(scale) for d, scale in zip(d_low, ctx.scales, strict=True)]
        return (*(None,) * 7, d_x, d_h_0, d_c_0, *d_low)
