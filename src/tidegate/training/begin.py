"""A run before its first step: the feed of its text, and the start values that its seed draws."""

from __future__ import annotations

import torch

from tidegate.config import ModelConfig, TrainingConfig
from tidegate.models.language_model import LanguageModel
from tidegate.text.prepare import Prepared
from tidegate.training.batches import Feed
from tidegate.training.state import TrainState, new_state


def begin(prepared: Prepared, model: ModelConfig, training: TrainingConfig) -> tuple[Feed, TrainState]:
    """Return the feed and the state from which a run with these settings starts; the same settings give the same.

    TidegateError where the text is too short for one window.
    """
    document_id, shuffle = prepared.tokenizer.document_id, training.shuffle
    feed = Feed(prepared.train, document_id, training.lanes, training.window, training.seed, shuffle)
    torch.manual_seed(training.seed)
    return feed, new_state(LanguageModel(model, prepared.tokenizer.vocabulary_size), training, feed.lanes)
