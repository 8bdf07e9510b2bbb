"""Variational dropout (Gal & Ghahramani 2016, arXiv 1512.05287): one mask for all steps of a window."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DropoutMasks:
    """Draws a window's masks from (seed, step, site) for all lanes of the run, so they do not depend on what ran before
    nor on how lanes are shared out among processes: a resumed run draws the masks of the run that never stopped."""

    share: float
    """Share of units that are dropped, in [0, 1)."""
    seed: int
    step: int

    def apply(self, x: Tensor, site: int) -> Tensor:
        """Drop units of x ``(T, B, H)`` by the mask of a site (0: the embedding, i + 1: block i); the rest grows."""
        if self.share == 0:
            return x
        generator = torch.Generator().manual_seed(mix(self.seed, self.step, site))
        kept = torch.rand(x.shape[1:], generator=generator) >= self.share
        return x * (kept.to(x) / (1 - self.share))


def mix(*numbers: int) -> int:
    """Mix small integers into one 63-bit seed (splitmix64's finaliser after each), so that near seeds share nothing."""
    mask, mixed = (1 << 64) - 1, 0
    for number in numbers:
        mixed = (mixed + number + 0x9E3779B97F4A7C15) & mask
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & mask
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
        mixed ^= mixed >> 31
    return mixed >> 1
