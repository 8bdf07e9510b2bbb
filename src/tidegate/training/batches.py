"""Batches: a store of tokens read as B lanes, window after window, so that each lane is one running text."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tidegate.errors import TidegateError
from tidegate.nn.dropout import mix
from tidegate.nn.output_sample import OutputSample, OutputSampler
from tidegate.text.store import TokenStore

_SHUFFLE, _SAMPLE = 3, 4
"""set these draws apart from others of the same seed"""


class Cursor(NamedTuple):
    """Where the feed stands: the next window, counted within its epoch. It restores the feed exactly."""

    epoch: int
    window: int


class Batch(NamedTuple):
    """One window of all lanes."""

    inputs: Tensor
    """``(T, B)`` int64"""
    targets: Tensor
    """``(T, B)`` int64: the token after each input"""
    weight: Tensor
    """``(T, B)`` float32: 0 where there is nothing to learn, as in a question"""
    fresh: Tensor
    """``(T, B)`` bool: before step t, lane b's state is replaced by the initial state"""
    cursor: Cursor
    """where the feed stands after this window"""
    sample: OutputSample | None = None
    """the part of the vocabulary among which the loss is computed; None: all of it"""

    @property
    def token_count(self) -> int:
        """Tokens that are read."""
        return self.inputs.numel()


class Feed:
    """Reads a store as a ring: lane b of an epoch starts at the epoch's offset + b·n and reads n tokens.

    In the ring the documents follow one another in an order drawn anew for each epoch, and each epoch but the first
    starts at another place of it, so lanes and windows are cut elsewhere. A lane's first window starts from the initial
    state, and so does every document (a token marks its start). Texts shorter than ``lanes`` windows are read in fewer
    lanes. Nothing of the text is held in memory, only 16 bytes a document.
    """

    def __init__(
        self,
        store: TokenStore,
        document_id: int,
        lanes: int,
        window: int,
        seed: int,
        shuffle: bool = True,
        sampler: OutputSampler | None = None,
    ) -> None:
        tokens = len(store)
        if tokens < window + 1:
            raise TidegateError(
                f"The training text has {tokens} tokens, but one window of {window} steps needs {window + 1}: "
                f"give more text or a smaller --window."
            )
        self.store, self.document_id, self.window, self.seed = store, document_id, window, seed
        self.lanes = min(lanes, tokens // window)
        self.lane_tokens = tokens // self.lanes
        self.windows = self.lane_tokens // window
        """windows of one epoch"""
        starts = store.document_starts
        # what comes before the first document token, if anything, counts as a document
        self._starts = starts if len(starts) and starts[0] == 0 else np.concatenate([[0], starts])
        self._shuffle = shuffle and len(self._starts) > 1
        self._order: _Order | None = None
        self._sampler = sampler

    def read(self, cursor: Cursor) -> Batch:
        """Return the window at the cursor; the same cursor always gives the same batch."""
        ring, T = len(self.store), self.window
        offset = 0 if cursor.epoch == 0 else mix(self.seed, cursor.epoch) % ring
        first = offset + cursor.window * T
        columns = [self._ring(cursor.epoch, first + lane * self.lane_tokens, T + 1) for lane in range(self.lanes)]
        stacked = np.stack(columns, axis=1)
        ids, weight = torch.from_numpy(stacked), torch.ones(T, self.lanes)
        if self.store.is_marked:  # each number holds its mark
            marks = stacked & 1
            ids, weight = torch.from_numpy(stacked >> 1), torch.from_numpy(marks[1:].astype(np.float32))
        fresh = ids[:-1] == self.document_id
        fresh[0] |= cursor.window == 0
        last = cursor.window + 1 == self.windows
        after = Cursor(cursor.epoch + 1, 0) if last else Cursor(cursor.epoch, cursor.window + 1)
        inputs, targets, sample = ids[:-1], ids[1:], None
        if self._sampler is not None:
            sample = self._sampler.draw(targets, mix(self.seed, cursor.epoch, cursor.window, _SAMPLE))
        return Batch(inputs, targets, weight, fresh, after, sample)

    def _ring(self, epoch: int, start: int, count: int) -> np.ndarray:
        """Return tokens of an epoch's ring."""
        start %= len(self.store)
        stop = min(start + count, len(self.store))
        head = self._read(epoch, start, stop)
        return head if stop - start == count else np.concatenate([head, self._ring(epoch, 0, count - (stop - start))])

    def _read(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """Return tokens of the documents in the epoch's order."""
        if not self._shuffle:
            return self._stored(start, stop)
        if self._order is None or self._order.epoch != epoch:
            self._order = _Order.draw(epoch, self.seed, self._starts, len(self.store))
        order, parts = self._order, []
        place = int(np.searchsorted(order.ends, start, side="right"))
        while start < stop:
            end, document = int(order.ends[place]), int(order.documents[place])
            until = self._starts[document + 1] if document + 1 < len(self._starts) else len(self.store)
            first = int(until) - (end - start)
            part = self._stored(first, first + min(stop, end) - start)
            parts.append(part)
            start, place = start + len(part), place + 1
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _stored(self, start: int, stop: int) -> np.ndarray:
        """Return ids of the store; of one with marks twice the ids, and one more where a token is learnt."""
        if not self.store.is_marked:
            return self.store.read(start, stop)
        ids, marks = self.store.read_marked(start, stop)
        return 2 * ids + marks


class _Order(NamedTuple):
    """The documents of one epoch."""

    epoch: int
    documents: np.ndarray
    """(documents,) their numbers in the order in which they are read"""
    ends: np.ndarray
    """(documents,) where each ends in that order, in tokens"""

    @classmethod
    def draw(cls, epoch: int, seed: int, starts: np.ndarray, tokens: int) -> _Order:
        """Draw an epoch's order from (seed, epoch) alone, so that a resumed run reads on in the same."""
        documents = np.random.Generator(np.random.PCG64(mix(seed, epoch, _SHUFFLE))).permutation(len(starts))
        lengths = np.diff(starts, append=tokens)
        return cls(epoch, documents, np.cumsum(lengths[documents]))
