"""One recurrent layer as a module: its parameters, their start values, and the call into the seam."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tidegate.config import Cell
from tidegate.nn.low_rank import Changes, run_changed_cell
from tidegate.nn.sequence import CellWeights, LayerState, run_cell
from tidegate.theory.layout import GATES


class Recurrent(nn.Module):
    """A layer of one cell kind over time-major sequences; parameters named and stacked as in `torch.nn.LSTM`.

    Start values: each gate's W_hh orthogonal (Saxe et al. 2014, arXiv 1312.6120), so that the state keeps its norm;
    W_ih uniform in ±1/√H; biases zero, but the LSTM's forget gate 1 (Jozefowicz et al. 2015), so that it starts by
    remembering.
    """

    def __init__(self, cell: Cell, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell, self.hidden_size = cell, hidden_size
        self.changes: Changes | None = None  # low-rank, learnt in place of the weights
        rows = len(GATES[cell]) * hidden_size
        self.weight_ih_l0 = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh_l0 = nn.Parameter(torch.empty(rows, hidden_size))
        self.bias_ih_l0 = nn.Parameter(torch.empty(rows))
        self.bias_hh_l0 = nn.Parameter(torch.empty(rows))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new start values from PyTorch's global generator."""
        H, gates = self.hidden_size, GATES[self.cell]
        nn.init.uniform_(self.weight_ih_l0, -1 / math.sqrt(H), 1 / math.sqrt(H))
        for gate in self.weight_hh_l0.detach().chunk(len(gates)):
            nn.init.orthogonal_(gate)
        nn.init.zeros_(self.bias_ih_l0)
        nn.init.zeros_(self.bias_hh_l0)
        if self.cell == "lstm":
            f = gates.index("f")
            with torch.no_grad():
                self.bias_ih_l0[f * H : (f + 1) * H] = 1.0

    def forward(
        self,
        x: Tensor,
        state: LayerState | None = None,
        fresh: Tensor | None = None,
        weight_hh: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, LayerState]:
        """Map x ``(T, B, I)`` to h ``(T, B, H)`` and the last state; see `run_cell`.

        weight_hh: what takes the place of W_hh this time, as under weight dropout; None means itself.
        """
        recurrent = self.weight_hh_l0 if weight_hh is None else weight_hh
        weights = CellWeights(self.weight_ih_l0, recurrent, self.bias_ih_l0, self.bias_hh_l0)
        if self.changes is None:
            return run_cell(self.cell, x, state, weights, fresh, lengths)
        if lengths is not None:
            raise ValueError("lengths go with the cell's own weights alone, but it has low-rank changes.")
        changes = self.changes if weight_hh is None else self.changes._replace(hh=None)
        return run_changed_cell(self.cell, x, state, weights, changes, fresh)

    def recurrent_weight(self) -> Tensor:
        """Return W_hh as it computes: with its change, if it has one."""
        changed = None if self.changes is None else self.changes.hh
        return self.weight_hh_l0 if changed is None else changed.of(self.weight_hh_l0)
