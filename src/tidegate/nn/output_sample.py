"""Training against a part of a large vocabulary: the loss of a window among its own targets and a sample of the rest.

The sum over the vocabulary in the softmax is estimated by importance sampling (Bengio & Senécal 2003; Jean et al. 2015,
arXiv 1412.2007). Each token is in the sample or not, independently, with a chance in proportion to how often the text
has it, so that the frequent ones, which have most of the sum, are there always. One that is drawn with chance p counts
1/p times (Horvitz & Thompson 1952), -ln p on its logit, and the targets count once. The estimated sum is right in the
mean; its logarithm, and so the loss, is a little low, by half the relative variance of the sum.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class OutputSample(NamedTuple):
    """The part of the vocabulary against which one window is trained."""

    tokens: Tensor
    """(n,) int64, ascending: the window's targets and the tokens drawn"""
    correction: Tensor
    """(n,) float32, added to their logits: -ln of the chance with which each was drawn, 0 for targets"""
    targets: Tensor
    """``(T, B)`` int64: where in `tokens` each target stands"""


class OutputSampler:
    """Draws the samples of a text."""

    def __init__(self, counts: NDArray[np.integer], size: int) -> None:
        """counts: (V,) how often each token stands in the text; size: the tokens drawn in the mean, at most V."""
        self._chances = torch.from_numpy(chances(counts, size).astype(np.float32))
        self._corrections = -self._chances.log()

    def draw(self, targets: Tensor, seed: int) -> OutputSample:
        """Draw for a window's targets ``(T, B)`` int64; the same seed gives the same."""
        there = torch.rand(self._chances.shape, generator=torch.Generator().manual_seed(seed)) < self._chances
        correction = self._corrections.clone()
        there[targets] = True
        correction[targets] = 0.0
        places = there.cumsum(0) - 1
        tokens = there.nonzero().squeeze(1)
        return OutputSample(tokens, correction[tokens], places[targets])


def chances(counts: NDArray[np.integer], size: int) -> NDArray[np.float64]:
    """Return the chance of each token, (V,): min(1, c · (count + 1)), with the c for which they add up to `size`.

    The one more lets a token be drawn that the counted part of the text lacks.
    """
    weights = counts + 1.0
    falling = np.sort(weights)[::-1]
    # with the k most frequent drawn for certain, the rest share what is left: the first k that leaves no chance above 1
    left = np.cumsum(falling[::-1])[::-1]
    factors = (size - np.arange(len(falling))) / left
    certain = int(np.argmax(factors * falling <= 1.0))
    return np.minimum(1.0, factors[certain] * weights) if size < len(weights) else np.ones(len(weights))
