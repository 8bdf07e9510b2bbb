"""The feed: lanes are running texts, windows follow on each other, and a cursor gives back the very same batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate.errors import TidegateError
from tidegate.text.prepare import prepare
from tidegate.training.batches import Cursor, Feed


def feed_of(prepared, lanes=4, window=8, seed=0):
    return Feed(prepared.train, prepared.tokenizer.document_id, lanes, window, seed)


def test_targets_are_the_next_inputs_across_windows(prepared):
    feed = feed_of(prepared)
    first = feed.read(Cursor(0, 0))
    second = feed.read(first.cursor)
    assert torch.equal(first.targets[:-1], first.inputs[1:])
    assert torch.equal(first.targets[-1], second.inputs[0])


def test_the_first_epoch_reads_each_lane_in_order(prepared):
    feed = feed_of(prepared)
    batches, cursor = [], Cursor(0, 0)
    while cursor.epoch == 0:
        batch = feed.read(cursor)
        batches.append(batch)
        cursor = batch.cursor
    assert len(batches) == feed.windows
    ids = torch.cat([b.inputs for b in batches])
    n = feed.lane_tokens
    for lane in range(feed.lanes):
        expected = torch.from_numpy(prepared.train.read(lane * n, lane * n + len(ids)))
        assert torch.equal(ids[:, lane], expected)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(epoch=st.integers(0, 4), share=st.floats(0, 0.999), seed=st.integers(0, 50))
def test_the_cursor_restores_the_feed(prepared, epoch, share, seed):
    feed = feed_of(prepared, seed=seed)
    cursor = Cursor(epoch, int(share * feed.windows))
    for mine, again in zip(feed.read(cursor), feed_of(prepared, seed=seed).read(cursor), strict=True):
        assert torch.equal(mine, again) if isinstance(mine, torch.Tensor) else mine == again


def test_later_epochs_are_cut_elsewhere_and_start_afresh(prepared):
    feed = feed_of(prepared)
    one, two = feed.read(Cursor(0, 0)), feed.read(Cursor(1, 0))
    assert not torch.equal(one.inputs, two.inputs)
    assert one.fresh[0].all()
    assert two.fresh[0].all()
    assert not feed.read(Cursor(1, 1)).fresh[0].any()


def test_a_document_starts_from_the_initial_state(tmp_path: Path):
    file = tmp_path / "poems.jsonl"
    lines = [f'{{"text": "床前明月光，疑是地上霜。{n}"}}\n{{"text": "Shall I compare thee {n}"}}\n' for n in range(8)]
    file.write_text("".join(lines), encoding="utf-8")
    prepared = prepare([str(file)], cache=tmp_path / "cache", validation=0)
    feed = feed_of(prepared, lanes=1, window=40)
    batch = feed.read(Cursor(0, 0))
    starts = batch.inputs == prepared.tokenizer.document_id
    assert starts.sum() > 1
    assert torch.equal(batch.fresh, starts)


def test_the_ring_closes(prepared):
    """A later epoch may start anywhere; where it passes the end of the text it goes on at the beginning."""
    feed = feed_of(prepared, lanes=1)
    ids = torch.cat([feed.read(Cursor(1, w)).inputs for w in range(feed.windows)])[:, 0]
    whole = torch.from_numpy(prepared.train.read(0, len(prepared.train)))
    start = next(s for s in range(len(whole)) if torch.equal(whole.roll(-s)[: len(ids)], ids))
    assert start > 0


def test_a_short_text_is_read_in_fewer_lanes(prepared):
    assert feed_of(prepared, lanes=10_000).lanes == len(prepared.train) // 8


def test_a_text_shorter_than_a_window_is_an_error(prepared):
    with pytest.raises(TidegateError, match=r"has \d+ tokens, but one window of 100000 steps needs 100001"):
        feed_of(prepared, window=100_000)


@pytest.fixture
def poems(tmp_path: Path):
    """Documents of different lengths, each of letters of its own."""
    file = tmp_path / "poems.jsonl"
    lines = [f'{{"text": "{chr(0x4E00 + n) * (n % 7 + 1)}"}}\n' for n in range(40)]
    file.write_text("".join(lines), encoding="utf-8")
    return prepare([str(file)], cache=tmp_path / "cache", validation=0)


def epoch_of(feed, epoch):
    """All that one lane reads in an epoch."""
    return torch.cat([feed.read(Cursor(epoch, w)).inputs[:, 0] for w in range(feed.windows)])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(epoch=st.integers(0, 5), seed=st.integers(0, 9), window=st.integers(1, 30))
def test_an_epoch_reads_every_document_whole_and_in_an_order_of_its_own(poems, epoch, seed, window):
    feed = Feed(poems.train, poems.tokenizer.document_id, 1, window, seed)
    read = feed._ring(epoch, 0, len(poems.train)).tolist()
    assert sorted(read) == sorted(poems.train.read(0, len(poems.train)).tolist())
    # in an unshuffled feed each document is one run of the same token after the document token; so here
    text = poems.tokenizer.decode(read)
    runs = [text[i] for i in range(len(text)) if i == 0 or text[i] != text[i - 1]]
    assert len(runs) == len(set(runs)) == 40
    assert read != feed._ring(epoch + 1, 0, len(poems.train)).tolist()
    again = Feed(poems.train, poems.tokenizer.document_id, 1, window, seed)
    assert again._ring(epoch, 0, len(poems.train)).tolist() == read


def test_windows_are_cut_from_the_shuffled_ring(poems):
    feed = feed_of(poems, lanes=3, window=5)
    for cursor in (Cursor(0, 0), Cursor(0, 2), Cursor(2, 1)):
        batch = feed.read(cursor)
        ring = feed._ring(cursor.epoch, 0, len(poems.train))
        offset = next(o for o in range(len(ring)) if np.array_equal(np.roll(ring, -o)[:5], batch.inputs[:, 0].numpy()))
        for lane in range(3):
            rolled = np.roll(ring, -offset - lane * feed.lane_tokens)
            assert np.array_equal(rolled[:5], batch.inputs[:, lane].numpy())
            assert np.array_equal(rolled[1:6], batch.targets[:, lane].numpy())


def test_without_shuffling_the_order_is_that_of_the_files(poems):
    feed = Feed(poems.train, poems.tokenizer.document_id, 1, 8, 0, shuffle=False)
    assert torch.equal(epoch_of(feed, 0), torch.from_numpy(poems.train.read(0, 8 * feed.windows)))
    shuffled = Feed(poems.train, poems.tokenizer.document_id, 1, 8, 0)
    assert not torch.equal(epoch_of(shuffled, 0), epoch_of(feed, 0))
