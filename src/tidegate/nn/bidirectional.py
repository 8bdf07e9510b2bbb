"""Two directions of one recurrent layer on the native kernels: the second reads each sequence from its end."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tidegate.config import Cell
from tidegate.nn.recurrent import Recurrent


def reversed_within(x: Tensor, lengths: Tensor) -> Tensor:
    """Return x ``(T, B, …)`` with each lane's first ``lengths[b]`` steps in reverse; what stands beyond stays."""
    T = len(x)
    steps = torch.arange(T).unsqueeze(1)
    places = torch.where(steps < lengths, lengths - 1 - steps, steps)
    return x.gather(0, places.view(*places.shape, *(1,) * (x.dim() - 2)).expand_as(x))


class Bidirectional(nn.Module):
    """A layer that reads forwards, and one that reads backwards: outputs side by side, ``2 H`` of them."""

    def __init__(self, cell: Cell, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.forwards, self.backwards = (Recurrent(cell, input_size, hidden_size) for _ in range(2))

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map x ``(T, B, I)``, of which lane b has ``lengths[b]`` steps, to outputs ``(T, B, 2 H)``, zero beyond, and
        to the last output of either direction, ``(B, 2 H)``."""
        ahead, end = self.forwards(x, lengths=lengths)
        back, begin = self.backwards(reversed_within(x, lengths), lengths=lengths)
        y = torch.cat([ahead, reversed_within(back, lengths)], dim=-1)
        return y, torch.cat([end.h, begin.h], dim=-1)
