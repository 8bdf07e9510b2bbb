"""Batches of labelled texts: each text once an epoch, like lengths side by side, the same after a resume."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tidegate.training.batches import Cursor
from tidegate.training.classify_task import class_weights
from tidegate.training.label_feed import EncodedTexts, SampleFeed, targets_of


def texts(lengths):
    """Text i is the number i, so many times."""
    ids = [np.full(n, i, np.uint32) for i, n in enumerate(lengths)]
    return EncodedTexts(ids, np.arange(len(ids)) % 3)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=300), st.integers(1, 50), st.integers(0, 3))
def test_an_epoch_reads_each_text_once_and_whole(lengths, lanes, epoch):
    feed, cursor, seen = SampleFeed(texts(lengths), lanes, 5), Cursor(epoch, 0), []
    while cursor.epoch == epoch:
        batch = feed.read(cursor)
        assert batch.inputs.shape == (batch.lengths.max(), len(batch.targets))
        for lane, n in enumerate(batch.lengths.tolist()):
            (number,) = batch.inputs[:n, lane].unique().tolist()
            assert n == lengths[number]
            assert batch.targets[lane] == number % 3
            assert not batch.inputs[n:, lane].any()
            seen.append(number)
        cursor = batch.cursor
    assert sorted(seen) == list(range(len(lengths)))
    assert cursor == (epoch + 1, 0)


def test_the_same_cursor_gives_the_same_batch_and_epochs_differ():
    data = texts(np.random.default_rng(0).integers(1, 99, 200))
    one, two = SampleFeed(data, 16, 3), SampleFeed(data, 16, 3)
    one.read(Cursor(0, 0))  # read in another order
    assert torch.equal(one.read(Cursor(2, 5)).targets, two.read(Cursor(2, 5)).targets)
    assert not torch.equal(one.read(Cursor(0, 5)).lengths, one.read(Cursor(1, 5)).lengths)


def test_little_of_a_batch_is_empty():
    lengths = np.random.default_rng(0).integers(1, 200, 2000)
    feed = SampleFeed(texts(lengths), 32, 0)
    batches = [feed.read(Cursor(0, k)) for k in range(feed.windows)]
    filled = sum(int(b.lengths.sum()) for b in batches) / sum(b.inputs.numel() for b in batches)
    assert filled > 0.9


def test_labels_as_numbers():
    assert targets_of([("b",), ("a",)], ("a", "b"), False).tolist() == [1, 0]
    assert targets_of([("b", "a"), ()], ("a", "b"), True).tolist() == [[1, 1], [0, 0]]


def test_balanced_classes_count_alike():
    data = EncodedTexts([np.zeros(1, np.uint32)] * 8, np.array([0] * 6 + [1] * 2))
    assert class_weights(data, 2, "none") is None
    weights = class_weights(data, 2, "balanced").numpy()
    assert weights[0] * 6 == pytest.approx(weights[1] * 2)
    assert (weights * [6, 2]).sum() == pytest.approx(8)
    several = EncodedTexts(data.ids, np.array([[1, 0]] * 2 + [[0, 1]] * 6, np.float32))
    assert class_weights(several, 2, "balanced").tolist() == pytest.approx([3, 1 / 3])
