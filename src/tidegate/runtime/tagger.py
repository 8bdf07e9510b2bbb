"""A tagger that runs: sentences of tokens in, tags out, without PyTorch.

The same computation as `tidegate.models.tagger`; the likeliest tags are those of `tidegate.theory.crf`, equation (4).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from tidegate.errors import TidegateError
from tidegate.folder.tagger_folder import TaggerFolder, read_tagger
from tidegate.folder.tensors import Tensors
from tidegate.runtime.encoder import BATCH, Encoder
from tidegate.runtime.linear import Linear
from tidegate.runtime.stack import Array, LayerWeights, stack
from tidegate.text.entities import allowed_bioes, are_entities, to_bio
from tidegate.text.word_features import EncodedSentence, SentenceEncoder
from tidegate.theory.cells import zero_state
from tidegate.theory.crf import Chain, best

SORTED = 16 * BATCH
"""sentences of a stream that are put in order by length"""


@final
class Tagger:
    """A tagger with its tokenizer and vocabulary.

    >>> tagger = Tagger.load("runs/entities")                        # doctest: +SKIP
    >>> tagger.tag([["The", "tide", "comes"]])                       # doctest: +SKIP
    """

    def __init__(self, folder: TaggerFolder) -> None:
        self.tags = folder.tags
        self._sentences = SentenceEncoder(folder.tokenizer, folder.vocabulary)
        t = folder.tensors
        self._encoder = Encoder(folder.model, t)
        self._word_vectors, self._character_vectors = t["word_embedding.weight"], t["character_embedding.weight"]
        self._character_layer = _Bidirectional(folder.cell, t, "character_layer", folder.character_units)
        self._sentence_layer = _Bidirectional(folder.cell, t, "sentence_layer", folder.units)
        self._emission = Linear(t["emission.weight"], t["emission.bias"])
        start, pairs, end = (np.array(one) for one in allowed_bioes(self.tags))
        scores = (t["crf.transitions"], pairs), (t["crf.start"], start), (t["crf.end"], end)
        self._chain = Chain(*(np.where(allowed, score, -np.inf) for score, allowed in scores))
        self._are_entities = are_entities(self.tags)

    @classmethod
    def load(cls, path: str | Path) -> Tagger:
        """Read a tagger's folder; a TidegateError says what is wrong with one."""
        return cls(read_tagger(path))

    def tag(self, sentences: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
        """Return the likeliest tags of sentences, those of entities in BIO."""
        return list(self.stream(sentences))

    def stream(self, sentences: Iterable[Sequence[str]], at_once: int = SORTED) -> Iterator[tuple[str, ...]]:
        """Tag sentences one after another, so many `at_once`."""
        source = iter(sentences)
        while some := list(islice(source, at_once)):
            if isinstance(sentences, str) or any(isinstance(sentence, str) for sentence in some):
                raise TidegateError(
                    "A sentence is a string, but it must be a list of tokens: give a list of such lists, as in "
                    '[["The", "tide", "comes"]].'
                )
            for emissions in self.emissions(some):
                tags = [self.tags[k] for k in best(emissions, self._chain)] if len(emissions) else []
                yield to_bio(tags) if self._are_entities else tuple(tags)

    def emissions(self, sentences: Sequence[Sequence[str]]) -> list[Array]:
        """Return the emissions ``(W, K)`` float32 of each sentence; a sentence may be empty."""
        found: list[Array] = [np.zeros((0, len(self.tags)), np.float32)] * len(sentences)
        places = [i for i, tokens in enumerate(sentences) if tokens]
        places.sort(key=lambda i: len(sentences[i]))
        for first in range(0, len(places), BATCH):
            some = places[first : first + BATCH]
            for i, emissions in zip(some, self._emissions([sentences[i] for i in some]), strict=True):
                found[i] = emissions
        return found

    def _emissions(self, sentences: Sequence[Sequence[str]]) -> list[Array]:
        encoded = [self._sentences.encode(tokens) for tokens in sentences]
        read = self._encoder.outputs([one.ids for one in encoded])
        spelled = self._spelled(encoded)
        counts = np.array([len(one.words) for one in encoded], np.int64)
        H, S = read[0].shape[1], next(iter(spelled.values())).shape[0]
        features = np.zeros((int(counts.max()), len(encoded), H + self._word_vectors.shape[1] + S), np.float32)
        for lane, one in enumerate(encoded):
            of_characters = np.array([spelled[spelling] for spelling in one.spellings])
            parts = [read[lane][one.ends], self._word_vectors[one.words], of_characters]
            features[: counts[lane], lane] = np.concatenate(parts, axis=1)
        y, _ = self._sentence_layer.read(features, counts)
        return [self._emission(y[:count, lane]) for lane, count in enumerate(counts)]

    def _spelled(self, encoded: Sequence[EncodedSentence]) -> dict[tuple[int, ...], Array]:
        """Return the vector of each different word's characters."""
        different = list(dict.fromkeys(spelling for one in encoded for spelling in one.spellings))
        lengths = np.array([len(spelling) for spelling in different], np.int64)
        characters = np.zeros((int(lengths.max()), len(different)), np.int64)
        for lane, spelling in enumerate(different):
            characters[: len(spelling), lane] = spelling
        _, ends = self._character_layer.read(self._character_vectors[characters], lengths)
        return dict(zip(different, ends, strict=True))


class _Bidirectional:
    """The layer of `tidegate.nn.bidirectional`."""

    def __init__(self, cell: str, tensors: Tensors, name: str, units: int) -> None:
        self._cell, self._units, self._ways = cell, units, []
        for way in ("forwards", "backwards"):
            names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
            weights = (np.ascontiguousarray(tensors[f"{name}.{way}.{part}"]) for part in names)
            self._ways.append(stack(cell, [LayerWeights(*weights, norm=None)]))  # type: ignore[misc]  # four of them

    def read(self, x: Array, lengths: NDArray[np.int64]) -> tuple[Array, Array]:
        """Map x ``(T, B, I)`` to outputs ``(T, B, 2 H)``, of no meaning beyond a lane's end, and to the last output of
        either direction, ``(B, 2 H)``."""
        steps = np.arange(len(x))[:, None]
        turned = np.where(steps < lengths, lengths - 1 - steps, steps)
        lanes = np.arange(x.shape[1])
        before = (zero_state(self._cell, x.shape[1], self._units, np.float32),)
        ahead, (end,) = self._ways[0].read_lanes(np.ascontiguousarray(x), before, lengths)
        back, (begin,) = self._ways[1].read_lanes(np.ascontiguousarray(x[turned, lanes]), before, lengths)
        return np.concatenate([ahead, back[turned, lanes]], axis=2), np.concatenate([end.h, begin.h], axis=1)
