"""A run before its first step: the feed of its text, and the start values that its seed draws."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from tidegate.config import ModelConfig, TrainingConfig
from tidegate.errors import TidegateError
from tidegate.models.language_model import LanguageModel
from tidegate.nn.output_sample import OutputSampler
from tidegate.text.prepare import Prepared
from tidegate.text.store import TokenStore
from tidegate.training.batches import Feed
from tidegate.training.state import TrainState, new_state
from tidegate.training.tuned_start import ReplayFeed, TunedStart, lanes_of_old

_STRETCH, _STRETCHES = 2**18, 64
"""tokens are counted in so many stretches of so many tokens at most: a second's work"""


AnyFeed = Feed | ReplayFeed


def begin(
    prepared: Prepared, model: ModelConfig, training: TrainingConfig, start: TunedStart | None = None
) -> tuple[AnyFeed, TrainState]:
    """Return the feed and the state from which a run with these settings starts; the same settings give the same.

    start: of a fine-tuning, where its weights come from.

    TidegateError where the text is too short for one window.
    """
    document_id, vocabulary = prepared.tokenizer.document_id, prepared.tokenizer.vocabulary_size
    sampler = None
    if training.output_sample is not None and training.output_sample < vocabulary:
        sampler = OutputSampler(token_counts(prepared.train, vocabulary), training.output_sample)
    feed = _feed(prepared, document_id, training, sampler, start)
    torch.manual_seed(training.seed)
    begun = LanguageModel(model, vocabulary) if start is None else start.new_model(vocabulary)
    return feed, new_state(begun, training, feed.lanes, None if start is None else start.tuning)


def _feed(
    prepared: Prepared,
    document_id: int,
    training: TrainingConfig,
    sampler: OutputSampler | None,
    start: TunedStart | None,
) -> AnyFeed:
    lanes, how = training.lanes, (training.window, training.seed, training.shuffle)
    if start is None or start.old is None or not start.tuning.replay:
        return Feed(prepared.train, document_id, lanes, *how, sampler)
    if lanes < 2:
        raise TidegateError(
            f"lanes is {lanes}, but with --replay the new text and the old want one each: give 2 or more."
        )
    share = start.tuning.replay
    new = Feed(prepared.train, document_id, lanes - lanes_of_old(lanes, share), *how)
    # of a short text fewer lanes are read: the old text's share is of those
    of_old = max(1, round(new.lanes * share / (1 - share)))
    return ReplayFeed(new, Feed(start.old.train, document_id, of_old, *how), training.seed, sampler)


def token_counts(store: TokenStore, vocabulary: int) -> NDArray[np.int64]:
    """Return how often each token stands in a text, (V,); in stretches spread evenly over it, where it is long."""
    starts = range(0, len(store), max(_STRETCH, -(-len(store) // _STRETCHES)))
    stretches = (store.read(start, min(start + _STRETCH, len(store))) for start in starts)
    return sum((np.bincount(ids, minlength=vocabulary) for ids in stretches), np.zeros(vocabulary, np.int64))
