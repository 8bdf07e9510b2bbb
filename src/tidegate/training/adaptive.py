"""Evaluation by a model that goes on learning as it reads, in two classical ways.

    dynamic   after each window is predicted, a step of SGD against its loss, and a little back to the weights of the
              training: θ ← θ - rate · ∇ + decay · (θ₀ - θ)                  (Krause et al. 2018, arXiv 1709.07432)
    cache     p(w) = (1 - λ) p_model(w) + λ p_cache(w), where p_cache(w) ∝ Σ exp(θ h_t·h_i) over the last N steps i
              after which w came                                              (Grave et al. 2017, arXiv 1612.04426)

A token is always predicted before anything is learnt of it. Both know nothing of other lanes: with one lane all of the
text before counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from tidegate.models.encoder import State, detach
from tidegate.models.language_model import LanguageModel
from tidegate.nn.loss import linear_cross_entropy
from tidegate.text.store import TokenStore
from tidegate.text.tokenizer import Tokenizer
from tidegate.training.measure import LossSum, Protocol, part_bounds, predicted_tokens, read_lanes, text_size

Progress = Callable[[int, int], None]
CHUNK = 64
"""steps whose vectors are compared with the cache at a time"""


class Cache(NamedTuple):
    """The neural cache's settings."""

    size: int
    """N, steps"""
    weight: float
    """λ, in (0, 1)"""
    sharpness: float
    """θ"""

    @property
    def name(self) -> str:
        """Part of the metric's name."""
        return f"cache{self.size}_weight{self.weight:g}_sharpness{self.sharpness:g}"


@dataclass(frozen=True)
class Dynamic:
    """Dynamic evaluation's settings."""

    rate: float
    decay: float = 0.0
    window: int = 20
    """steps between two steps of SGD"""
    clip: float = 1.0
    """largest norm of a gradient"""

    @property
    def name(self) -> str:
        """Part of the metric's name."""
        return f"dynamic{self.rate:g}_decay{self.decay:g}_window{self.window}"


def measure_dynamic(
    model: LanguageModel,
    store: TokenStore,
    tokenizer: Tokenizer,
    lanes: int,
    settings: Dynamic,
    progress: Progress = lambda done, total: None,
    limit: int | None = None,
) -> LossSum:
    """Measure a model that learns from each window after it is predicted; its weights are put back at the end."""
    total = predicted_tokens(store, limit)
    bounds = part_bounds(store, Protocol(lanes=lanes), total)
    begins, ends = bounds[:-1], bounds[1:]
    start = [parameter.detach().clone() for parameter in model.parameters()]
    state: State | None = None
    nats, tokens = 0.0, 0
    try:
        for step in range(0, int((ends - begins).max()), settings.window):
            T = min(settings.window, int((ends - begins).max()) - step)
            inputs, targets, weight = read_lanes(store, begins + step, ends, T)
            loss, features = model.loss(inputs, targets, weight, state, inputs == tokenizer.document_id)
            state = detach(features.state)
            nats += float(loss.detach().double())
            tokens += int(weight.sum())
            model.zero_grad()
            (loss / weight.sum().clamp(min=1)).backward()
            clip_grad_norm_(model.parameters(), settings.clip)
            with torch.no_grad():
                for parameter, first in zip(model.parameters(), start, strict=True):
                    if parameter.grad is not None:
                        parameter.sub_(settings.rate * parameter.grad)
                    if settings.decay:
                        parameter.lerp_(first, settings.decay)
            progress(min(total, (step + T) * len(begins)), total)
    finally:
        with torch.no_grad():
            for parameter, first in zip(model.parameters(), start, strict=True):
                parameter.copy_(first)
        model.zero_grad()
    return LossSum(nats, tokens, *text_size(store, tokenizer, total))


@torch.no_grad()
def measure_cache(
    model: LanguageModel,
    store: TokenStore,
    tokenizer: Tokenizer,
    lanes: int,
    caches: Sequence[Cache],
    progress: Progress = lambda done, total: None,
    limit: int | None = None,
) -> list[LossSum]:
    """Measure a model with a cache, for several settings of one size at once."""
    total = predicted_tokens(store, limit)
    bounds = part_bounds(store, Protocol(lanes=lanes), total)
    begins, ends = bounds[:-1], bounds[1:]
    histories = [_History(model.output.weight.shape[1], max(cache.size for cache in caches)) for _ in begins]
    state: State | None = None
    nats, tokens, longest = np.zeros(len(caches)), 0, int((ends - begins).max())
    for step in range(0, longest, CHUNK):
        T = min(CHUNK, longest - step)
        inputs, targets, weight = read_lanes(store, begins + step, ends, T)
        features = model.features(inputs, state, inputs == tokenizer.document_id)
        state = features.state
        loss = linear_cross_entropy(features.x, model.output.weight, model.output.bias, targets, reduction="none")
        for lane, history in enumerate(histories):
            counted = int(np.clip(ends[lane] - begins[lane] - step, 0, T))
            if not counted:
                continue
            vectors, aims = features.x[:counted, lane], targets[:counted, lane]
            known, learnt = torch.exp(-loss[:counted, lane].double()), weight[:counted, lane].bool()
            for number, cache in enumerate(caches):
                mixed = (1 - cache.weight) * known + cache.weight * history.chances(vectors, aims, cache)
                nats[number] -= float(mixed[learnt].log().sum())
            history.append(vectors, aims)
        tokens += int(weight.sum())
        progress(min(total, (step + T) * len(begins)), total)
    size = text_size(store, tokenizer, total)
    return [LossSum(float(sum_), tokens, *size) for sum_ in nats]


class _History:
    """The last steps of a lane: what the output layer read, and the token that came."""

    def __init__(self, width: int, size: int) -> None:
        self._size = size
        self._vectors, self._tokens = torch.zeros(0, width), torch.zeros(0, dtype=torch.int64)

    def chances(self, vectors: Tensor, targets: Tensor, cache: Cache) -> Tensor:
        """Return the cache's probability of each target ``(T,)``: of the N steps before it, those of this chunk too."""
        T, before = len(vectors), len(self._vectors)
        keys, tokens = torch.cat([self._vectors, vectors]), torch.cat([self._tokens, targets])
        places, now = torch.arange(before + T), before + torch.arange(T).unsqueeze(1)
        seen = (places < now) & (places >= now - cache.size)
        scores = (cache.sharpness * (vectors @ keys.T)).masked_fill(~seen, -math.inf)
        weights = torch.softmax(scores.double(), dim=1).nan_to_num()  # at the very first step there is nothing
        return (weights * (tokens == targets.unsqueeze(1))).sum(dim=1)

    def append(self, vectors: Tensor, targets: Tensor) -> None:
        """Take a chunk."""
        self._vectors = torch.cat([self._vectors, vectors])[-self._size :]
        self._tokens = torch.cat([self._tokens, targets])[-self._size :]


WEIGHTS, SHARPNESSES = (0.03, 0.06, 0.12, 0.2, 0.3), (0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6)
RATES, DECAYS = (0.03, 0.1, 0.3, 1.0), (0.0, 0.001, 0.004)
TUNED_ON = 30_000
"""tokens of the validation text, from its beginning, on which settings are chosen"""


def tuned_cache(
    model: LanguageModel, store: TokenStore, tokenizer: Tokenizer, lanes: int, size: int,
    weights: Sequence[float] = WEIGHTS, sharpnesses: Sequence[float] = SHARPNESSES,
    progress: Progress = lambda done, total: None,
) -> Cache:  # fmt: skip
    """Return the cache of this size that is best on a validation text."""
    caches = [Cache(size, weight, sharpness) for weight in weights for sharpness in sharpnesses]
    if len(caches) == 1:
        return caches[0]
    found = measure_cache(model, store, tokenizer, lanes, caches, progress, TUNED_ON)
    return caches[int(np.argmin([loss.nats for loss in found]))]


def tuned_dynamic(
    model: LanguageModel, store: TokenStore, tokenizer: Tokenizer, lanes: int,
    rates: Sequence[float] = RATES, decays: Sequence[float] = DECAYS,
    progress: Progress = lambda done, total: None,
) -> Dynamic:  # fmt: skip
    """Return the dynamic evaluation that is best on a validation text: first the rate, then, at that, the decay."""

    def best(tried: list[Dynamic]) -> Dynamic:
        if len(tried) == 1:
            return tried[0]
        losses = [
            measure_dynamic(model, store, tokenizer, lanes, settings, progress, TUNED_ON).nats for settings in tried
        ]
        return tried[int(np.nanargmin(losses))]

    first = best([Dynamic(rate, decays[len(decays) // 2]) for rate in rates])
    return best([Dynamic(first.rate, decay) for decay in decays])
