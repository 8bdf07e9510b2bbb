"""Batches: a store of tokens read as B lanes, window after window, so that each lane is one running text."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tidegate.errors import TidegateError
from tidegate.nn.dropout import mix
from tidegate.text.store import TokenStore


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
    """``(T, B)`` float32: 0 where there is nothing to predict"""
    fresh: Tensor
    """``(T, B)`` bool: before step t, lane b's state is replaced by the initial state"""
    cursor: Cursor
    """where the feed stands after this window"""


class Feed:
    """Reads a store as a ring: lane b of an epoch starts at the epoch's offset + b·n and reads n tokens.

    Each epoch starts at another place of the ring, drawn from the seed, so lanes and windows are cut elsewhere. A
    lane's first window starts from the initial state, and so does every document (a token marks its start).
    Texts shorter than ``lanes`` windows are read in fewer lanes.
    """

    def __init__(self, store: TokenStore, document_id: int, lanes: int, window: int, seed: int) -> None:
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

    def read(self, cursor: Cursor) -> Batch:
        """Return the window at the cursor; the same cursor always gives the same batch."""
        ring, T = len(self.store), self.window
        offset = 0 if cursor.epoch == 0 else mix(self.seed, cursor.epoch) % ring
        first = offset + cursor.window * T
        columns = [self._ring(first + lane * self.lane_tokens, T + 1) for lane in range(self.lanes)]
        ids = torch.from_numpy(np.stack(columns, axis=1))
        fresh = ids[:-1] == self.document_id
        fresh[0] |= cursor.window == 0
        last = cursor.window + 1 == self.windows
        after = Cursor(cursor.epoch + 1, 0) if last else Cursor(cursor.epoch, cursor.window + 1)
        return Batch(ids[:-1], ids[1:], torch.ones(T, self.lanes), fresh, after)

    def _ring(self, start: int, count: int) -> np.ndarray:
        start %= len(self.store)
        stop = min(start + count, len(self.store))
        head = self.store.read(start, stop)
        return head if stop - start == count else np.concatenate([head, self._ring(0, count - (stop - start))])
