"""Where a fine-tuning starts: the weights of another model under the vocabulary of the new text, or changes to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tidegate.config import ModelConfig
from tidegate.folder.adapter import adapted_names
from tidegate.folder.model_folder import ModelFolder
from tidegate.models.adapted import AdaptedModel
from tidegate.models.language_model import LanguageModel
from tidegate.models.transfer import transferred
from tidegate.nn.dropout import mix
from tidegate.nn.output_sample import OutputSampler
from tidegate.text.prepare import Prepared
from tidegate.text.token_match import TokenMatch, match
from tidegate.text.tokenizer import Tokenizer
from tidegate.training.batches import Batch, Cursor, Feed
from tidegate.training.groups import freeze
from tidegate.training.state import TrainedModel
from tidegate.tuning import TuningConfig


@dataclass(frozen=True)
class TunedStart:
    """What a fine-tuning starts from."""

    tuning: TuningConfig
    model: ModelConfig
    tensors: Mapping[str, NDArray[np.float32]] | None
    """the start values under the new vocabulary; None where a checkpoint gives all of them"""
    base_digest: str
    """of the weights of the model it starts from"""
    match: TokenMatch | None
    """how the vocabularies fit; None where a checkpoint is gone on with"""
    old: Prepared | None = None
    """the text of what the model knew before, in the new vocabulary"""

    @classmethod
    def of(cls, tuning: TuningConfig, base: ModelFolder, tokenizer: Tokenizer, old: Prepared | None) -> TunedStart:
        """Start from a model folder, for a text of this tokenizer."""
        found = match(base.tokenizer, tokenizer)
        digest = base.metadata["weights_digest"]
        return cls(tuning, base.model, transferred(base.tensors, found), digest, found, old)

    def new_model(self, vocabulary_size: int) -> TrainedModel:
        """Return the model with its start values."""
        model = LanguageModel(self.model, vocabulary_size)
        if self.tensors is not None:
            model.load_tensors(self.tensors)
        if self.tuning.lora_rank is None:
            freeze(model, self.tuning.freeze)
            return model
        names = adapted_names(self.model, vocabulary_size, self.tuning.lora_parts)
        return AdaptedModel(model, names, self.tuning.lora_rank, self.tuning.alpha, self.base_digest)


class ReplayFeed:
    """Reads two texts side by side: most lanes the new one, some the old, which a model then forgets less."""

    def __init__(self, new: Feed, old: Feed, seed: int, sampler: OutputSampler | None = None) -> None:
        """Take two feeds of the same window. An epoch is one of the new text."""
        self.new, self.old, self.window, self.windows = new, old, new.window, new.windows
        self.lanes = new.lanes + old.lanes
        self._seed, self._sampler = seed, sampler

    def read(self, cursor: Cursor) -> Batch:
        """Return the window at the cursor; the old text's place follows from it."""
        new = self.new.read(cursor)
        old = self.old.read(Cursor(*divmod(cursor.epoch * self.windows + cursor.window, self.old.windows)))
        inputs, targets, weight, fresh = (torch.cat(pair, dim=1) for pair in zip(new[:4], old[:4], strict=True))
        sample = None
        if self._sampler is not None:
            sample = self._sampler.draw(targets, mix(self._seed, cursor.epoch, cursor.window, _SAMPLE))
        return Batch(inputs, targets, weight, fresh, new.cursor, sample)


_SAMPLE = 5
"""sets these draws apart from others of the same seed"""


def lanes_of_old(lanes: int, replay: float) -> int:
    """Return how many of the lanes go on with the old text: at least one, and at least one is left for the new."""
    return max(1, min(lanes - 1, round(lanes * replay)))
