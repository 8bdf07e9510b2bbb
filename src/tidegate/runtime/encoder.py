"""An encoder that runs: texts in, a vector for each token or for each text out, without PyTorch.

The same computation as `tidegate.models.encoder`: embedding, projection where E ≠ H, the blocks, the final norm. Texts
stand in lanes one after another, each from a fresh state: whatever their lengths, no lane waits for another.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from tidegate.config import Direction, ModelConfig
from tidegate.folder.tensors import Tensors
from tidegate.runtime.linear import optional_linear
from tidegate.runtime.stack import Array, layer_weights, stack
from tidegate.text.normalize import refuse_surrogates
from tidegate.text.tokenizer import Tokenizer
from tidegate.theory.cells import zero_state
from tidegate.theory.normalization import rms_norm

BATCH, CHUNK = 64, 64
"""lanes read side by side, and steps of them at a time"""

Ids = NDArray[np.uint32]


class Piece(NamedTuple):
    """Vectors of a text's tokens, or of some of them."""

    text: int
    """its place"""
    begin: int
    """the first of these tokens"""
    x: Array
    """``(n, H)``, n ≥ 1"""


@final
class Encoder:
    """Reads many texts side by side."""

    def __init__(self, config: ModelConfig, tensors: Tensors) -> None:
        """Take the weights by the model folder's names; what stands above the encoder is not looked at."""
        self.config = config
        self._embedding = tensors["embedding.weight"]
        self._projection = optional_linear(tensors, "embedding_projection.weight")
        self._stack = stack(config.cell, [layer_weights(tensors, i) for i in range(config.layers)])
        self._final_norm = tensors.get("final_norm.weight")

    def outputs(self, ids: Sequence[Ids]) -> list[Array]:
        """Return a vector for each token of each text, ``(T, H)`` float32; no text may be empty."""
        found: list[Array] = [np.empty((len(one), self.config.hidden_size), np.float32) for one in ids]
        for i, begin, x in self._pieces(ids):
            found[i][begin : begin + len(x)] = x
        return found

    def pooled(self, ids: Sequence[Ids]) -> Array:
        """Return the last vector of each text, the largest and the mean of each unit, ``(N, 3, H)`` float32."""
        found = np.zeros((len(ids), 3, self.config.hidden_size), np.float32)
        found[:, 1] = -np.inf
        for i, _, x in self._pieces(ids):
            found[i, 0] = x[-1]
            np.maximum(found[i, 1], x.max(axis=0), out=found[i, 1])
            found[i, 2] += x.sum(axis=0)
        found[:, 2] /= np.array([len(one) for one in ids], np.float32)[:, None]
        return found

    def _pieces(self, ids: Sequence[Ids]) -> Iterator[Piece]:
        """Yield the vectors of all tokens, those of a text in its order; the arrays are used again afterwards."""
        c = self.config
        lanes = shared_out([len(one) for one in ids], BATCH)
        # each token is projected once, before all
        distinct, places = np.unique(np.concatenate(list(ids) or [np.zeros(0, np.uint32)]), return_inverse=True)
        vectors = self._embedding[distinct]
        if self._projection is not None:
            vectors = self._projection(vectors)
        numbers = np.split(places, np.cumsum([len(one) for one in ids])[:-1])
        streams = [np.concatenate([numbers[i] for i in lane]) for lane in lanes]
        starts = [np.cumsum([0, *(len(ids[i]) for i in lane)]) for lane in lanes]
        left = np.array([len(stream) for stream in streams], np.int64)
        state = tuple(zero_state(c.cell, len(lanes), c.hidden_size, np.float32) for _ in range(c.layers))
        reading = np.arange(len(lanes))
        for begin in range(0, int(left.max(initial=0)), CHUNK):
            if (goes_on := left[reading] > begin).sum() < len(reading):
                reading = reading[goes_on]
                state = tuple(type(layer)(*(part[goes_on] for part in layer)) for layer in state)
            here = (left[reading] - begin).clip(0, CHUNK)
            tokens = np.zeros((int(here.max()), len(reading)), np.int64)
            fresh = np.zeros(tokens.shape, np.bool_)
            for k, lane in enumerate(reading):
                tokens[: here[k], k] = streams[lane][begin : begin + CHUNK]
                inside = starts[lane][(starts[lane] >= begin) & (starts[lane] < begin + here[k])]
                fresh[inside - begin, k] = True
            x, state = self._stack.read_lanes(vectors[tokens], state, here, fresh)
            if self._final_norm is not None:
                x = rms_norm(x, self._final_norm)
            for k, lane in enumerate(reading):
                yield from _pieces_of(lanes[lane], starts[lane], begin, x[: here[k], k])


def _pieces_of(lane: list[int], starts: NDArray[np.int64], begin: int, x: Array) -> Iterator[Piece]:
    """Yield the pieces of a lane's texts of which `x` has the vectors from the lane's token `begin` on."""
    end = begin + len(x)
    place = int(np.searchsorted(starts, begin, side="right")) - 1
    while place < len(lane) and starts[place] < end:
        first, last = max(begin, int(starts[place])), min(end, int(starts[place + 1]))
        yield Piece(lane[place], first - int(starts[place]), x[first - begin : last - begin])
        place += 1


def shared_out(lengths: Sequence[int], lanes: int) -> list[list[int]]:
    """Return which texts stand in which lane, so that all lanes are about as long: the longest first, each into the
    lane that is the shortest by then (Graham 1969: at most a third longer than need be)."""
    found: list[list[int]] = [[] for _ in range(min(lanes, len(lengths)))]
    heap = [(0, lane) for lane in range(len(found))]
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        filled, lane = heap[0]
        found[lane].append(i)
        heapq.heapreplace(heap, (filled + lengths[i], lane))
    return found


def text_ids(tokenizer: Tokenizer, text: str, direction: Direction = "forward") -> Ids:
    """Return a text's ids as a model of this direction reads them, after the document token; what the vocabulary lacks
    is unknown."""
    refuse_surrogates(text, "The text")
    ids = np.concatenate([np.array([tokenizer.document_id], np.uint32), tokenizer.encode_known(text.strip())])
    return ids if direction == "forward" else turned(ids)


def turned(ids: Ids) -> Ids:
    """Return the ids of a text as they are read from the other end, after the document token as well."""
    return np.concatenate([ids[:1], ids[:0:-1]])
