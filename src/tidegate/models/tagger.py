"""The tagger: for each token of a sentence what a language model has read up to it, its word, its characters; then a
layer in two directions, and a conditional random field.

    f_w = (x at the word's last token, V[word], c of the word's characters)
    c   = the ends of a bidirectional layer over the characters' vectors (Lample et al. 2016, arXiv 1603.01360)
    e   = W (dropout of a bidirectional layer over f) + b, the emissions of `tidegate.nn.crf`

States of a language model as features of words: Akbik et al. 2018 (Flair). The same computation as
`tidegate.runtime.tagger`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tidegate.config import Cell, ModelConfig
from tidegate.models.encoder import Encoder
from tidegate.nn.bidirectional import Bidirectional
from tidegate.nn.crf import CRF
from tidegate.nn.dropout import DropoutMasks
from tidegate.text.entities import allowed_bioes


@dataclass(frozen=True)
class TaggerShape:
    """Sizes of what stands above the encoder."""

    words: int
    """words that have a vector of their own, the unknown one among them"""
    characters: int
    """characters that have one, the unknown one and the padding among them"""
    cell: Cell = "lstm"
    units: int = 128
    """of the layer over the sentence, in each direction"""
    word_size: int = 100
    character_size: int = 30
    character_units: int = 30
    """of the layer over a word's characters, in each direction"""


class WordBatch(NamedTuple):
    """Sentences side by side."""

    inputs: Tensor
    """``(T, B)`` int64: the language model's tokens"""
    lengths: Tensor
    """``(B,)`` int64: how many of them"""
    ends: Tensor
    """``(W, B)`` int64: where in these each word ends"""
    words: Tensor
    """``(W, B)`` int64: each word's number"""
    counts: Tensor
    """``(B,)`` int64: how many words"""
    spelling: Tensor
    """``(W, B)`` int64: which of the different words of the batch each is"""
    characters: Tensor
    """``(C, U)`` int64: the characters of these U"""
    spelled: Tensor
    """``(U,)`` int64: how many"""


class Tagger(Encoder):
    """Tags the words of sentences.

    The parameters' names and shapes are those of `tidegate.folder.tagger_folder.tagger_shapes`.
    """

    def __init__(self, config: ModelConfig, vocabulary_size: int, shape: TaggerShape, tags: tuple[str, ...]) -> None:
        """Draw start values: vectors of words and characters normal, of std 0.1 and 0.5, so that a word that is seldom
        seen says little at first; the rest as `Encoder.draw_embedding` has it; the field's scores zero."""
        super().__init__(config, vocabulary_size)
        self.shape = shape
        self.word_embedding = nn.Embedding(shape.words, shape.word_size)
        self.character_embedding = nn.Embedding(shape.characters, shape.character_size)
        self.character_layer = Bidirectional(shape.cell, shape.character_size, shape.character_units)
        inputs = config.hidden_size + shape.word_size + 2 * shape.character_units
        self.sentence_layer = Bidirectional(shape.cell, inputs, shape.units)
        self.emission = nn.Linear(2 * shape.units, len(tags))
        self.crf = CRF(allowed_bioes(tags))
        self.draw_embedding()
        nn.init.normal_(self.word_embedding.weight, std=0.1)
        nn.init.normal_(self.character_embedding.weight, std=0.5)

    def emissions(self, batch: WordBatch, masks: DropoutMasks | None = None) -> Tensor:
        """Compute the emissions ``(W, B, K)`` of sentences; masks: dropout while training, None for none."""
        x = self.encode(batch.inputs, None, None, masks, batch.lengths).x
        read = x.gather(0, batch.ends.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
        _, spelled = self.character_layer(self.character_embedding(batch.characters), batch.spelled)
        features = torch.cat([read, self.word_embedding(batch.words), spelled[batch.spelling]], dim=-1)
        if masks is not None:
            features = masks.units(features, masks.shares.output, self.config.layers + 2)
        y, _ = self.sentence_layer(features, batch.counts)
        if masks is not None:
            y = masks.units(y, masks.shares.output, self.config.layers + 3)
        found: Tensor = self.emission(y)
        return found

    def loss(self, batch: WordBatch, tags: Tensor, masks: DropoutMasks | None = None) -> Tensor:
        """Compute the summed loss of sentences in nats; tags: ``(W, B)`` int64."""
        return self.crf.loss(self.emissions(batch, masks), tags, batch.counts)
