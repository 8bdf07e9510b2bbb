"""The dropouts of AWD-LSTM (Merity et al. 2017, arXiv 1708.02182), each with one mask for all steps of a window.

Locked dropout of units is Gal & Ghahramani's (2016, arXiv 1512.05287), as is that of whole words; weight dropout is
DropConnect (Wan et al. 2013) on W_hh.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tidegate.config import TrainingConfig

_EMBEDDING, _WEIGHT = 1, 2
"""kinds of masks that are not drawn a lane"""


@dataclass(frozen=True)
class Shares:
    """What share is dropped, in [0, 1), of what."""

    hidden: float = 0.0
    """units of each cell's output"""
    input: float = 0.0
    """units of what the first cell reads"""
    output: float = 0.0
    """units of what the output layer reads"""
    embedding: float = 0.0
    """words of the vocabulary, as inputs"""
    weight: float = 0.0
    """weights of W_hh"""

    @classmethod
    def of(cls, config: TrainingConfig, block: str) -> Shares:
        """Return what the settings say: what is not set for input and output is the ordinary dropout, which in the
        residual form does not fall before the output layer, where every block's path would lose the same units."""
        last = config.dropout if block == "plain" else 0.0
        return cls(
            hidden=config.dropout,
            input=config.dropout if config.input_dropout is None else config.input_dropout,
            output=last if config.output_dropout is None else config.output_dropout,
            embedding=config.embedding_dropout,
            weight=config.weight_dropout,
        )


@dataclass(frozen=True)
class DropoutMasks:
    """Draws a window's masks from (seed, step, site) for all lanes of the run, so they do not depend on what ran before
    nor on how lanes are shared out among processes: a resumed run draws the masks of the run that never stopped."""

    shares: Shares
    seed: int
    step: int
    lanes: Tensor | None = None
    """which of `all_lanes` lanes are read, ``(B,)`` int64, each with the mask that it always has; None: all"""
    all_lanes: int = 0

    def of_lanes(self, lanes: Tensor, all_lanes: int) -> DropoutMasks:
        """Return the masks where some lanes alone are read."""
        return replace(self, lanes=lanes, all_lanes=all_lanes)

    def units(self, x: Tensor, share: float, site: int) -> Tensor:
        """Drop units of x ``(T, B, H)`` by the mask of a site (0: the input, i + 1: block i, L + 1: the output); the
        rest grows."""
        if share == 0:
            return x
        seed = mix(self.seed, self.step, site)
        if self.lanes is None:
            kept = self._kept(x.shape[1:], share, seed)
        else:
            kept = self._kept((self.all_lanes, *x.shape[2:]), share, seed)[self.lanes]
        return x * (kept.to(x) / (1 - share))

    def words(self, x: Tensor, inputs: Tensor, vocabulary: int) -> Tensor:
        """Drop the vectors x ``(T, B, E)`` of some words of the vocabulary, wherever inputs ``(T, B)`` have them."""
        share = self.shares.embedding
        if share == 0:
            return x
        kept = self._kept((vocabulary,), share, mix(self.seed, self.step, 0, _EMBEDDING))
        return x * (kept.to(x) / (1 - share))[inputs].unsqueeze(-1)

    def weights(self, weight: Tensor, layer: int) -> Tensor:
        """Drop single weights of a layer's W_hh for the whole window."""
        share = self.shares.weight
        if share == 0:
            return weight
        kept = self._kept(weight.shape, share, mix(self.seed, self.step, layer, _WEIGHT))
        return weight * (kept.to(weight) / (1 - share))

    @staticmethod
    def _kept(shape: tuple[int, ...], share: float, seed: int) -> Tensor:
        return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) >= share


def mix(*numbers: int) -> int:
    """Mix small integers into one 63-bit seed (splitmix64's finaliser after each), so that near seeds share nothing."""
    mask, mixed = (1 << 64) - 1, 0
    for number in numbers:
        mixed = (mixed + number + 0x9E3779B97F4A7C15) & mask
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & mask
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
        mixed ^= mixed >> 31
    return mixed >> 1
