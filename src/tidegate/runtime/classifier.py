"""A classifier that runs: texts in, probabilities of labels out, without PyTorch.

    p = (x_T, max_t x_t, mean_t x_t)        x: what the encoder gives for each token of the text
    z = (W p + b) / temperature
    softmax(z), or, where a text may have several labels, the logistic function of each

The same computation as `tidegate.models.classifier`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from tidegate.folder.label_folder import ClassifierFolder, read_classifier
from tidegate.runtime.stack import Array, layer_weights, stack
from tidegate.text.normalize import refuse_surrogates
from tidegate.text.tokenizer import Tokenizer
from tidegate.theory.cells import zero_state
from tidegate.theory.normalization import rms_norm

BATCH, CHUNK = 32, 256
"""texts read side by side, and steps of them at a time"""
SORTED = 16 * BATCH
"""texts of a stream that are put in order by length, so that those side by side are alike"""


class Labelled(NamedTuple):
    """What a classifier says of a text."""

    labels: tuple[str, ...]
    """the likeliest; where a text may have several, all that are likelier than not"""
    probabilities: Array
    """``(K,)`` of all labels"""


@final
class Classifier:
    """A classifier and its tokenizer.

    >>> classifier = Classifier.load("runs/reviews")             # doctest: +SKIP
    >>> classifier.label(["a dull film"])[0].labels              # doctest: +SKIP
    """

    def __init__(self, folder: ClassifierFolder) -> None:
        c, t = folder.model, folder.tensors
        self.config, self.tokenizer, self.labels = c, folder.tokenizer, folder.labels
        self.multi_label, self.temperature = folder.multi_label, folder.temperature
        self._embedding, self._projection = t["embedding.weight"], t.get("embedding_projection.weight")
        self._stack = stack(c.cell, [layer_weights(t, i) for i in range(c.layers)])
        self._final_norm = t.get("final_norm.weight")
        self._head = t["head.weight"], t["head.bias"]

    @classmethod
    def load(cls, path: str | Path) -> Classifier:
        """Read a classifier's folder; a TidegateError says what is wrong with one."""
        return cls(read_classifier(path))

    def label(self, texts: Iterable[str]) -> list[Labelled]:
        """Label texts, in their order."""
        return list(self.stream(texts))

    def stream(self, texts: Iterable[str], at_once: int = SORTED) -> Iterator[Labelled]:
        """Label texts one after another, so many `at_once`, 1 where each is wanted as soon as it comes."""
        source = iter(texts)
        while some := list(islice(source, at_once)):
            for probabilities in self.probabilities(some):
                yield Labelled(self.chosen(probabilities), probabilities)

    def chosen(self, probabilities: Array) -> tuple[str, ...]:
        """Return the labels that probabilities ``(K,)`` speak for."""
        if self.multi_label:
            return tuple(self.labels[k] for k in np.flatnonzero(probabilities > 0.5))
        return (self.labels[int(probabilities.argmax())],)

    def probabilities(self, texts: Sequence[str]) -> Array:
        """Return the probability of each label, ``(N, K)`` float32."""
        z = self.logits(texts) / np.float32(self.temperature)
        if self.multi_label:
            return np.asarray(0.5 * (1 + np.tanh(0.5 * z)), np.float32)
        exp = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(exp / exp.sum(axis=1, keepdims=True), np.float32)

    def logits(self, texts: Sequence[str]) -> Array:
        """Return what stands before the temperature, ``(N, K)`` float32."""
        weight, bias = self._head
        return np.asarray(self.pooled(texts) @ weight.T + bias, np.float32)

    def pooled(self, texts: Sequence[str]) -> Array:
        """Return a vector for each text, ``(N, 3 H)`` float32: the last, the largest, the mean."""
        ids = [text_ids(self.tokenizer, text) for text in texts]
        found = np.empty((len(texts), 3 * self.config.hidden_size), np.float32)
        order = np.argsort([len(one) for one in ids], kind="stable")
        for begin in range(0, len(order), BATCH):
            places = order[begin : begin + BATCH]
            found[places] = self._pooled([ids[i] for i in places])
        return found

    def _pooled(self, ids: Sequence[NDArray[np.uint32]]) -> Array:
        c, B = self.config, len(ids)
        lengths = np.array([len(one) for one in ids], np.int64)
        state = tuple(zero_state(c.cell, B, c.hidden_size, np.float32) for _ in range(c.layers))
        last, total = (np.zeros((B, c.hidden_size), np.float32) for _ in range(2))
        largest = np.full((B, c.hidden_size), -np.inf, np.float32)
        for begin in range(0, int(lengths.max()), CHUNK):
            here = (lengths - begin).clip(0, CHUNK)
            T = int(here.max())
            tokens = np.zeros((T, B), np.int64)
            for lane, one in enumerate(ids):
                tokens[: here[lane], lane] = one[begin : begin + CHUNK]
            x = self._embedding[tokens]
            if self._projection is not None:
                x = x @ self._projection.T
            x, state = self._stack.read_lanes(np.ascontiguousarray(x), state, here)
            if self._final_norm is not None:
                x = rms_norm(x, self._final_norm)
            for lane, count in enumerate(here):  # beyond a lane's end stands nothing of meaning
                if count:
                    read = x[:count, lane]
                    last[lane], total[lane] = read[-1], total[lane] + read.sum(axis=0)
                    largest[lane] = np.maximum(largest[lane], read.max(axis=0))
        return np.concatenate([last, largest, total / lengths[:, None].astype(np.float32)], axis=1)


def text_ids(tokenizer: Tokenizer, text: str) -> NDArray[np.uint32]:
    """Return a text's ids, after the document token; what the vocabulary lacks is unknown."""
    refuse_surrogates(text, "The text")
    return np.concatenate([np.array([tokenizer.document_id], np.uint32), tokenizer.encode(text.strip())])
