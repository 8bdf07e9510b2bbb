"""The conditional random field on PyTorch, many sequences at once; the equations are in `tidegate.theory.crf`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FORBIDDEN = -1e4
"""the score of what may not be: finite, so that a wrong target has a loss and a gradient, and far below all others"""


class CRF(nn.Module):
    """Scores of transitions between K tags, zero at first; what is forbidden keeps its score."""

    allowed_transitions: Tensor
    allowed_start: Tensor
    allowed_end: Tensor

    def __init__(self, allowed: tuple[list[bool], list[list[bool]], list[bool]]) -> None:
        """Take which tags may begin a sequence ``(K,)``, follow one another ``(K, K)``, and end one ``(K,)``."""
        super().__init__()
        start, pairs, end = (torch.tensor(one, dtype=torch.bool) for one in allowed)
        K = len(start)
        self.transitions, self.start, self.end = (nn.Parameter(torch.zeros(shape)) for shape in ((K, K), (K,), (K,)))
        for name, mask in (("transitions", pairs), ("start", start), ("end", end)):
            self.register_buffer(f"allowed_{name}", mask, persistent=False)

    def scores(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return transitions ``(K, K)``, start ``(K,)`` and end ``(K,)`` as they count."""
        return (
            self.transitions.masked_fill(~self.allowed_transitions, FORBIDDEN),
            self.start.masked_fill(~self.allowed_start, FORBIDDEN),
            self.end.masked_fill(~self.allowed_end, FORBIDDEN),
        )

    def loss(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """Compute the summed loss of `losses`."""
        return self.losses(emissions, tags, lengths).sum()

    def losses(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """Compute the loss ``(B,)``, -log p of each sequence's tags, in nats: equation (3).

        emissions: ``(T, B, K)``; tags: ``(T, B)`` int64, of any value beyond a sequence's end; lengths: ``(B,)`` int64,
        1 … T.
        """
        transitions, start, end = self.scores()
        T, B, _ = emissions.shape
        within = torch.arange(T, device=lengths.device).unsqueeze(1) < lengths
        tags = tags.masked_fill(~within, 0)
        emitted = emissions.gather(2, tags.unsqueeze(-1)).squeeze(-1)
        last = tags[lengths - 1, torch.arange(B)]
        inner = transitions[tags[:-1], tags[1:]]
        score = start[tags[0]] + (emitted * within).sum(0) + (inner * within[1:]).sum(0) + end[last]  # (1)
        a = start + emissions[0]  # (2)
        for t in range(1, T):
            new = emissions[t] + torch.logsumexp(a.unsqueeze(2) + transitions, dim=1)
            a = torch.where(within[t].unsqueeze(1), new, a)
        return torch.logsumexp(a + end, dim=1) - score
