"""A run before its first step: the feed of its text, and the start values that its seed draws."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from tidegate.config import ModelConfig, TrainingConfig
from tidegate.models.language_model import LanguageModel
from tidegate.nn.output_sample import OutputSampler
from tidegate.text.prepare import Prepared
from tidegate.text.store import TokenStore
from tidegate.training.batches import Feed
from tidegate.training.state import TrainState, new_state

_STRETCH, _STRETCHES = 2**18, 64
"""tokens are counted in so many stretches of so many tokens at most: a second's work"""


def begin(prepared: Prepared, model: ModelConfig, training: TrainingConfig) -> tuple[Feed, TrainState]:
    """Return the feed and the state from which a run with these settings starts; the same settings give the same.

    TidegateError where the text is too short for one window.
    """
    document_id, vocabulary = prepared.tokenizer.document_id, prepared.tokenizer.vocabulary_size
    sampler = None
    if training.output_sample is not None and training.output_sample < vocabulary:
        sampler = OutputSampler(token_counts(prepared.train, vocabulary), training.output_sample)
    where = (training.lanes, training.window, training.seed)
    feed = Feed(prepared.train, document_id, *where, training.shuffle, sampler)
    torch.manual_seed(training.seed)
    return feed, new_state(LanguageModel(model, vocabulary), training, feed.lanes)


def token_counts(store: TokenStore, vocabulary: int) -> NDArray[np.int64]:
    """Return how often each token stands in a text, (V,); in stretches spread evenly over it, where it is long."""
    starts = range(0, len(store), max(_STRETCH, -(-len(store) // _STRETCHES)))
    stretches = (store.read(start, min(start + _STRETCH, len(store))) for start in starts)
    return sum((np.bincount(ids, minlength=vocabulary) for ids in stretches), np.zeros(vocabulary, np.int64))
