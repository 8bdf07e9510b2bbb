"""Batches of labelled texts: those side by side are of like length, so that little of a batch is empty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tidegate.nn.dropout import mix
from tidegate.training.batches import Cursor

_SHUFFLE = 6
"""sets these draws apart from others of the same seed"""
POOL = 32
"""batches whose texts are put in order by length, after they were drawn"""


class LabelBatch(NamedTuple):
    """Some texts with their labels."""

    inputs: Tensor
    """``(T, B)`` int64, from each text's first token to its last; beyond it 0. ``(1, B)`` where `pooled` is there"""
    lengths: Tensor
    """``(B,)`` int64: tokens of each text"""
    targets: Tensor
    """``(B,)`` int64, or, where a text may have several labels, ``(B, K)`` float32"""
    cursor: Cursor
    """where the feed stands after this batch"""
    pooled: Tensor | None = None
    """``(B, 3 H)``, what a frozen encoder makes of the texts, computed once"""

    @property
    def token_count(self) -> int:
        """Tokens of the texts."""
        return int(self.lengths.sum())


class Samples(Protocol):
    """What a feed reads in batches."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each sample, ``(N,)``."""

    def batch(self, places: NDArray[np.int64], cursor: Cursor) -> Any:
        """Return the samples at these places side by side."""


class EncodedTexts(NamedTuple):
    """Texts as a model reads them."""

    ids: Sequence[NDArray[np.uint32]]
    targets: NDArray[np.int64] | NDArray[np.float32]
    """``(N,)``, or ``(N, K)`` where a text may have several labels"""
    pooled: Tensor | None = None
    """``(N, 3 H)``, what a frozen encoder makes of the texts, which are then not read again"""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text."""
        return np.array([len(one) for one in self.ids], np.int64)

    def batch(self, places: NDArray[np.int64], cursor: Cursor) -> LabelBatch:
        """Return the texts at these places side by side."""
        pooled = self.pooled
        lengths = np.array([len(self.ids[i]) for i in places], np.int64)
        inputs = np.zeros((1 if pooled is not None else int(lengths.max()), len(places)), np.int64)
        if pooled is None:
            for lane, i in enumerate(places):
                inputs[: lengths[lane], lane] = self.ids[i]
        here = None if pooled is None else pooled[torch.from_numpy(places)]
        targets = torch.from_numpy(np.asarray(self.targets[places]))
        return LabelBatch(torch.from_numpy(inputs), torch.from_numpy(lengths), targets, cursor, here)


def targets_of(
    labels: Sequence[tuple[str, ...]], names: Sequence[str], multi_label: bool
) -> NDArray[np.int64] | NDArray[np.float32]:
    """Return the labels as numbers: ``(N,)`` int64, or ``(N, K)`` float32 where a text may have several."""
    number = {name: k for k, name in enumerate(names)}
    if not multi_label:
        return np.array([number[one] for (one,) in labels], np.int64)
    found = np.zeros((len(labels), len(names)), np.float32)
    for row, some in enumerate(labels):
        found[row, [number[one] for one in some]] = 1
    return found


class SampleFeed:
    """Reads samples epoch after epoch, each in an order drawn from (seed, epoch) alone, so that a resumed run reads on
    in the same."""

    def __init__(self, samples: Samples, lanes: int, seed: int) -> None:
        """Take the samples, and how many of them stand side by side."""
        self._lengths = samples.lengths
        self.samples, self.lanes, self.seed = samples, min(lanes, len(self._lengths)), seed
        self.windows = -(-len(self._lengths) // self.lanes)
        """batches of one epoch"""
        self.window = max(1, round(float(self._lengths.mean())))
        """tokens of a sample in the mean"""
        self._batches: tuple[int, list[NDArray[np.int64]]] | None = None

    def read(self, cursor: Cursor) -> Any:
        """Return the batch at the cursor."""
        if self._batches is None or self._batches[0] != cursor.epoch:
            self._batches = cursor.epoch, self._drawn(cursor.epoch)
        last = cursor.window + 1 == self.windows
        after = Cursor(cursor.epoch + 1, 0) if last else Cursor(cursor.epoch, cursor.window + 1)
        return self.samples.batch(self._batches[1][cursor.window], after)

    def _drawn(self, epoch: int) -> list[NDArray[np.int64]]:
        rng = np.random.Generator(np.random.PCG64(mix(self.seed, epoch, _SHUFFLE)))
        order = rng.permutation(len(self._lengths)).astype(np.int64)
        pools = np.split(order, range(self.lanes * POOL, len(order), self.lanes * POOL))
        batches = []
        for pool in pools:
            by_length = pool[np.argsort(self._lengths[pool], kind="stable")]
            batches += np.split(by_length, range(self.lanes, len(pool), self.lanes))
        return [batches[i] for i in rng.permutation(len(batches))]
