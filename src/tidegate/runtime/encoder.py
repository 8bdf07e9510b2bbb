"""An encoder that runs: texts in, a vector for each token or for each text out, without PyTorch.

The same computation as `tidegate.models.encoder`: embedding, projection where E ≠ H, the blocks, the final norm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from tidegate.config import ModelConfig
from tidegate.folder.tensors import Tensors
from tidegate.runtime.stack import Array, layer_weights, stack
from tidegate.text.normalize import refuse_surrogates
from tidegate.text.tokenizer import Tokenizer
from tidegate.theory.cells import zero_state
from tidegate.theory.normalization import rms_norm

BATCH, CHUNK = 32, 256
"""texts read side by side, and steps of them at a time"""

Ids = NDArray[np.uint32]


@final
class Encoder:
    """Reads many texts side by side; those of like length together."""

    def __init__(self, config: ModelConfig, tensors: Tensors) -> None:
        """Take the weights by the model folder's names; what stands above the encoder is not looked at."""
        self.config = config
        self._embedding, self._projection = tensors["embedding.weight"], tensors.get("embedding_projection.weight")
        self._stack = stack(config.cell, [layer_weights(tensors, i) for i in range(config.layers)])
        self._final_norm = tensors.get("final_norm.weight")

    def outputs(self, ids: Sequence[Ids]) -> list[Array]:
        """Return a vector for each token of each text, ``(T, H)`` float32; no text may be empty."""
        found: list[Array] = [np.empty((len(one), self.config.hidden_size), np.float32) for one in ids]
        for places, begin, here, x in self._chunks(ids):
            for lane, i in enumerate(places):
                found[i][begin : begin + here[lane]] = x[: here[lane], lane]
        return found

    def pooled(self, ids: Sequence[Ids]) -> Array:
        """Return the last vector of each text, the largest and the mean of each unit, ``(N, 3, H)`` float32."""
        H = self.config.hidden_size
        found = np.zeros((len(ids), 3, H), np.float32)
        found[:, 1] = -np.inf
        for places, begin, here, x in self._chunks(ids):
            del begin
            for lane, i in enumerate(places):
                if here[lane]:
                    read = x[: here[lane], lane]
                    found[i, 0] = read[-1]
                    found[i, 1] = np.maximum(found[i, 1], read.max(axis=0))
                    found[i, 2] += read.sum(axis=0)
        found[:, 2] /= np.array([len(one) for one in ids], np.float32)[:, None]
        return found

    def _chunks(self, ids: Sequence[Ids]) -> Iterator[tuple[NDArray[np.intp], int, NDArray[np.int64], Array]]:
        """Yield which texts stand side by side, from which of their tokens on, how many of each are read here, and
        their vectors ``(T, B, H)``, of no meaning beyond these."""
        c = self.config
        order = np.argsort([len(one) for one in ids], kind="stable")
        for first in range(0, len(order), BATCH):
            places = order[first : first + BATCH]
            lengths = np.array([len(ids[i]) for i in places], np.int64)
            state = tuple(zero_state(c.cell, len(places), c.hidden_size, np.float32) for _ in range(c.layers))
            for begin in range(0, int(lengths.max()), CHUNK):
                here = (lengths - begin).clip(0, CHUNK)
                tokens = np.zeros((int(here.max()), len(places)), np.int64)
                for lane, i in enumerate(places):
                    tokens[: here[lane], lane] = ids[i][begin : begin + CHUNK]
                x = self._embedding[tokens]
                if self._projection is not None:
                    x = x @ self._projection.T
                x, state = self._stack.read_lanes(np.ascontiguousarray(x), state, here)
                yield places, begin, here, x if self._final_norm is None else rms_norm(x, self._final_norm)


def text_ids(tokenizer: Tokenizer, text: str) -> Ids:
    """Return a text's ids, after the document token; what the vocabulary lacks is unknown."""
    refuse_surrogates(text, "The text")
    return np.concatenate([np.array([tokenizer.document_id], np.uint32), tokenizer.encode(text.strip())])
