"""A classifier that runs: texts in, probabilities of labels out, without PyTorch.

    p = (x_T, max_t x_t, mean_t x_t)        x: what the encoder gives for each token of the text; of a second encoder,
                                            which reads from the other end, the same after it
    z = (W p + b) / temperature + s         s: what its n-grams say, where they are counted
    softmax(z), or, where a text may have several labels, the logistic function of each

The same computation as `tidegate.models.classifier`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, final

import numpy as np

from tidegate.arguments import one_or_more
from tidegate.folder.label_folder import NONE, SECOND, ClassifierFolder, read_classifier
from tidegate.runtime.encoder import BATCH, Encoder, text_ids, turned
from tidegate.runtime.linear import Linear
from tidegate.runtime.stack import Array
from tidegate.text.ngrams import NgramScores

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
        self.reading = folder.reading
        self._encoders = [Encoder(c, t)]
        if folder.both:
            second = {name.removeprefix(SECOND): w for name, w in t.items() if name.startswith(SECOND)}
            self._encoders.append(Encoder(c, second))
        self._head = Linear(t["head.weight"], t["head.bias"])
        self._ngrams = None if folder.ngrams == NONE else NgramScores.from_tensors(folder.ngrams, t)

    @classmethod
    def load(cls, path: str | Path) -> Classifier:
        """Read a classifier's folder; a TidegateError says what is wrong with one."""
        return cls(read_classifier(path))

    def label(self, texts: str | Iterable[str]) -> list[Labelled]:
        """Label texts, or one, in their order."""
        return list(self.stream(texts))

    def stream(self, texts: str | Iterable[str], at_once: int = SORTED) -> Iterator[Labelled]:
        """Label texts one after another, so many `at_once`, 1 where each is wanted as soon as it comes."""
        source = iter(one_or_more(texts))
        while some := list(islice(source, at_once)):
            for probabilities in self.probabilities(some):
                yield Labelled(self.chosen(probabilities), probabilities)

    def chosen(self, probabilities: Array) -> tuple[str, ...]:
        """Return the labels that probabilities ``(K,)`` speak for."""
        if self.multi_label:
            return tuple(self.labels[k] for k in np.flatnonzero(probabilities > 0.5))
        return (self.labels[int(probabilities.argmax())],)

    def probabilities(self, texts: str | Sequence[str]) -> Array:
        """Return the probability of each label, ``(N, K)`` float32."""
        texts = list(one_or_more(texts))
        z = self.logits(texts) / np.float32(self.temperature)
        if self._ngrams is not None:
            z += self._ngrams.of(texts)
        if self.multi_label:
            return np.asarray(0.5 * (1 + np.tanh(0.5 * z)), np.float32)
        exp = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(exp / exp.sum(axis=1, keepdims=True), np.float32)

    def logits(self, texts: str | Sequence[str]) -> Array:
        """Return what stands before the temperature, ``(N, K)`` float32."""
        return self._head(self.pooled(texts))

    def pooled(self, texts: str | Sequence[str]) -> Array:
        """Return a vector for each text, ``(N, 3 H)`` float32: the last, the largest, the mean; of two encoders
        ``(N, 6 H)``."""
        texts = list(one_or_more(texts))
        ids = [text_ids(self.tokenizer, text, self.config.direction) for text in texts]
        found = [self._encoders[0].pooled(ids)]
        if len(self._encoders) > 1:
            found.append(self._encoders[1].pooled([turned(one) for one in ids]))
        return np.concatenate(found, axis=1).reshape(len(texts), len(found) * 3 * self.config.hidden_size)
