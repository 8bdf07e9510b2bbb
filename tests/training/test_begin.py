"""A run before its first step: how often each token stands in its text."""

from __future__ import annotations

import numpy as np

from tidegate.config import ModelConfig, TrainingConfig
from tidegate.training import begin as begin_module
from tidegate.training.begin import begin, token_counts


def test_the_tokens_of_a_short_text_are_counted_all(prepared):
    vocabulary = prepared.tokenizer.vocabulary_size
    ids = prepared.train.read(0, len(prepared.train))
    assert token_counts(prepared.train, vocabulary).tolist() == np.bincount(ids, minlength=vocabulary).tolist()


def test_those_of_a_long_one_in_stretches_from_all_of_it(prepared, monkeypatch):
    monkeypatch.setattr(begin_module, "_STRETCH", 10)
    monkeypatch.setattr(begin_module, "_STRETCHES", 7)
    vocabulary, tokens = prepared.tokenizer.vocabulary_size, len(prepared.train)
    counts = token_counts(prepared.train, vocabulary)
    assert counts.sum() == 70
    step = -(-tokens // 7)
    places = [place for start in range(0, tokens, step) for place in range(start, start + 10)]
    ids = prepared.train.read(0, tokens)[places]
    assert counts.tolist() == np.bincount(ids, minlength=vocabulary).tolist()


def test_a_sample_comes_with_the_window_and_is_that_of_the_cursor(prepared):
    feed, state = begin(prepared, ModelConfig(hidden_size=8), TrainingConfig(lanes=2, window=8, output_sample=6))
    first = feed.read(state.progress.cursor)
    second, again = feed.read(first.cursor), feed.read(state.progress.cursor)
    assert first.sample.tokens.tolist() == again.sample.tokens.tolist() != second.sample.tokens.tolist()
    assert (first.sample.tokens[first.sample.targets] == first.targets).all()


def test_a_sample_larger_than_the_vocabulary_is_none(prepared):
    feed, state = begin(prepared, ModelConfig(hidden_size=8), TrainingConfig(lanes=2, window=8, output_sample=1000))
    assert feed.read(state.progress.cursor).sample is None
