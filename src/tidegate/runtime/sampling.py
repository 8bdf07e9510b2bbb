"""One token out of V logits: the settings, the choice, and the random numbers behind it.

A random number is a function of (seed, sample, position) alone, by the counter-based generator Philox (Salmon et al.,
"Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011): samples do not depend on each other, nor on their order.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from tidegate.config import within
from tidegate.errors import TidegateError, nearest

ROUNDS, WORD = 10, 2**64 - 1
MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
"""Constants of Philox4x64; the key goes on by these."""


@dataclass(frozen=True)
class Sampling:
    """How each next token is drawn."""

    temperature: float = 0.8
    """Below 1 the text is more predictable, above 1 more varied; 0 always takes the likeliest token."""
    top_k: int = 0
    """Draw among the k likeliest tokens alone; 0: among all."""
    top_p: float = 1.0
    """Draw among the likeliest tokens that together have this probability (nucleus sampling); 1: among all."""
    min_p: float = 0.0
    """Draw among tokens that have at least this fraction of the likeliest one's probability; 0: among all."""
    repetition_penalty: float = 1.0
    """Above 1, recent tokens become less likely: positive logits are divided by it, negative ones multiplied."""
    repetition_window: int = 64
    """How many of the last tokens the repetition penalty looks at."""
    seed: int | None = 0
    """The same seed writes the same text; null: another at each run, which is printed."""

    def __post_init__(self) -> None:
        within(self, "temperature", 0, 100)
        within(self, "top_k", 0, 2**31)
        within(self, "top_p", 1e-9, 1)
        within(self, "min_p", 0, 1)
        within(self, "repetition_penalty", 0.01, 100)
        within(self, "repetition_window", 0, 65536)
        within(self, "seed", 0, 2**63 - 1)

    def seeded(self) -> Sampling:
        """Return the same settings with a seed, a fresh one where none is set."""
        return self if self.seed is not None else dataclasses.replace(self, seed=int.from_bytes(os.urandom(4)))


class SamplingSettings(TypedDict, total=False):
    """The fields of `Sampling`, as keyword arguments."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    repetition_window: int
    seed: int | None


def with_settings(sampling: Sampling | None, settings: SamplingSettings) -> Sampling:
    """Return a sampling, the default where it is None, with some of its settings replaced; a TypeError names one that
    there is not."""
    known = [field.name for field in dataclasses.fields(Sampling)]
    for name in settings:
        if name not in known:
            raise TypeError(f"{name!r} is no setting of sampling{nearest(name, known)}; known: {', '.join(known)}.")
    given: dict[str, Any] = {**settings}
    return dataclasses.replace(sampling or Sampling(), **given)


def uniform(seed: int, sample: int, position: int) -> float:
    """Return the random number of one token, in [0, 1) with 53 random bits."""
    return (philox((int(position) + 1, 0, 0, 0), (int(seed), int(sample))) >> 11) * 2.0**-53


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> int:
    """Return the first of the four numbers of 64 bits that Philox4x64-10 makes of a counter and a key.

    numpy.random has it, but takes longer to import than a model to write its first words; its counter is one less.
    """
    (a, b, c, d), (k, m) = counter, key
    for _ in range(ROUNDS):
        product, other = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        a, b, c, d = (other >> 64) ^ b ^ k, other & WORD, (product >> 64) ^ d ^ m, product & WORD
        k, m = (k + WEYL[0]) & WORD, (m + WEYL[1]) & WORD
    return a


def choose(
    logits: NDArray[np.floating], sampling: Sampling, recent: Sequence[int], uniform: float, never: Sequence[int] = ()
) -> int:
    """Return the id of the next token.

    logits ``(V,)``; `recent`: ids that the repetition penalty applies to, the latest last; `uniform` in [0, 1);
    `never`: ids that are not to be drawn. Computed in float64; among equal tokens the lower id stands first.
    Raises TidegateError where a logit is not finite.
    """
    scores = _scores(logits, sampling, recent, never)
    if sampling.temperature == 0:
        return int(np.argmax(scores))
    with np.errstate(over="ignore"):  # -inf is right for what a small temperature leaves no chance
        candidates, p = _candidates(scores / sampling.temperature, sampling)
    cumulative = np.add.accumulate(p)
    at = int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))
    if at == len(p):  # uniform * total was rounded up to the total
        at = int(np.flatnonzero(p)[-1])
    return int(candidates[at])


def _scores(
    logits: NDArray[np.floating], sampling: Sampling, recent: Sequence[int], never: Sequence[int]
) -> NDArray[np.float64]:
    """Return logits less their maximum, after the repetition penalty of CTRL (Keskar et al. 2019, arXiv 1909.05858)."""
    if not np.isfinite(logits).all():
        raise TidegateError(
            "The model's logits are not all finite numbers, so no token can be drawn: its weights are too large; "
            "train it again, with a lower learning rate."
        )
    scores = logits.astype(np.float64)
    if sampling.repetition_penalty != 1 and sampling.repetition_window > 0:
        ids = np.unique(np.array(recent[-sampling.repetition_window :], np.int64))
        penalty = sampling.repetition_penalty
        scores[ids] = np.where(scores[ids] > 0, scores[ids] / penalty, scores[ids] * penalty)
    scores[list(never)] = -np.inf
    return scores - scores.max()


def _candidates(scores: NDArray[np.float64], sampling: Sampling) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the ids that may be drawn, and their probabilities up to a common factor.

    top-k: Fan et al. 2018, arXiv 1805.04833; then top-p of what is left: Holtzman et al. 2020, arXiv 1904.09751;
    min-p: Nguyen et al. 2024, arXiv 2407.01082.
    """
    candidates = np.arange(len(scores))
    if 0 < sampling.top_k < len(scores):
        threshold = np.partition(scores, -sampling.top_k)[-sampling.top_k]
        candidates = np.flatnonzero(scores >= threshold)
    if sampling.top_k or sampling.top_p < 1:  # likeliest first; the stable order keeps the lower id first among equals
        candidates = candidates[np.argsort(-scores[candidates], kind="stable")]
    if sampling.top_k:
        candidates = candidates[: sampling.top_k]
    p = np.exp(scores[candidates])
    if sampling.top_p < 1:
        p_before = np.add.accumulate(p) - p
        kept = p_before < sampling.top_p * p.sum()
        candidates, p = candidates[kept], p[kept]
    if sampling.min_p > 0:
        kept = p >= sampling.min_p * p.max()
        candidates, p = candidates[kept], p[kept]
    return candidates, p
