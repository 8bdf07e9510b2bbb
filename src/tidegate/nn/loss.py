"""The loss as sums: nats, tokens and bytes are added up apart and divided once, at the end."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def cross_entropy_sum(logits: Tensor, targets: Tensor, weight: Tensor | None = None) -> Tensor:
    """Sum over steps and lanes of ``weight · -ln softmax(logits)[target]``, in nats.

    logits: ``(T, B, V)``; targets: ``(T, B)`` int64; weight: ``(T, B)``, None means ones. Returns a scalar.
    """
    if weight is None:
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
    nats = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return torch.dot(nats, weight.flatten().to(nats))
