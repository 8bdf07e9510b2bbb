"""The longest stretch that a text shares with a corpus, against brute force, and the same however the corpus comes."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tidegate.errors import TidegateError
from tidegate.text import longest_match, overlap
from tidegate.text.corpus import Piece
from tidegate.text.longest_match import MatchSearch
from tidegate.text.overlap import longest_run_in_store, overlaps, overlaps_with_files, threshold_of
from tidegate.text.prepare import prepare

FEW = st.text(alphabet="ab", max_size=30)
"""two letters: long matches, periodic and overlapping ones, in every example"""
MIXED = st.text(alphabet="ab 春眠\n𝄞é", max_size=25)
DOCUMENTS = st.lists(st.lists(FEW, max_size=4), max_size=4) | st.lists(st.lists(MIXED, max_size=4), max_size=4)


def pieces_of(documents: list[list[str]]) -> Iterator[Piece]:
    for document in documents:
        starts = True
        for text in filter(None, document):
            yield Piece(text, starts)
            starts = False


def brute_force(text: str, documents: list[str], threshold: int) -> tuple[int, int]:
    """The longest length, and how many characters lie in matches of `threshold` or more."""
    longest, covered = 0, set()
    for start in range(len(text)):
        length = 0
        while start + length < len(text) and any(text[start : start + length + 1] in d for d in documents):
            length += 1
        longest = max(longest, length)
        if length >= threshold:
            covered |= set(range(start, start + length))
    return longest, len(covered)


@settings(max_examples=400, deadline=None)
@given(st.lists(FEW | MIXED, min_size=1, max_size=3), DOCUMENTS, st.integers(1, 9), st.integers(1, 40))
@example(["abab"], [["ab", "ab"]], 2, 1)  # across a piece's border
@example(["abab"], [["ab"], ["ab"]], 2, 1)  # but not across a document's
@example(["aaaaaaaa"], [["aaa", "", "aaa"]], 3, 2)
def test_as_brute_force(texts, documents, threshold, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlap, "BLOCK", block)
        found = overlaps(texts, pieces_of(documents), threshold=threshold)
    whole = ["".join(document) for document in documents]
    for text, result in zip(texts, found, strict=True):
        assert (result.length, result.covered) == brute_force(text, whole, threshold)
        assert result.length == 0 or any(result.stretch in document for document in whole)
        assert len(result.stretch) == result.length


@settings(max_examples=60, deadline=None)
@given(FEW, DOCUMENTS, st.integers(1, 9))
def test_exact_though_hashes_collide(text, documents, threshold):
    """With a base of 1 all windows of the same letters have one hash: only comparing tells them apart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(longest_match, "_BASE", 1)
        [found] = overlaps([text], pieces_of(documents), threshold=threshold)
    assert (found.length, found.covered) == brute_force(text, ["".join(d) for d in documents], threshold)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.integers(1, 60))
def test_a_planted_stretch_is_found_wherever_it_lies(seed, length, block):
    """Long matches, so that the search strides over most of the corpus."""
    rng = np.random.default_rng(seed)
    corpus = "".join(rng.choice(list("abcdefghijklmnop"), 3000))
    start = int(rng.integers(0, len(corpus) - length))
    text = "XY" + corpus[start : start + length] + "Z" * 20
    pieces = [Piece(corpus[i : i + block], i == 0) for i in range(0, len(corpus), block)]
    [found] = overlaps([text], pieces, threshold=16)
    assert (found.length, found.start, found.stretch) == (length, 2, corpus[start : start + length])
    assert found.covered == (length if length >= 16 else 0)


def test_figures_of_a_text():
    [found] = overlaps(["xx春眠不觉晓yy"], [Piece("处处闻啼鸟，春眠不觉晓。", True)], threshold=3)
    assert (found.stretch, found.length, found.covered) == ("春眠不觉晓", 5, 5)
    assert found.share == found.covered_share == pytest.approx(5 / 9)


@pytest.mark.parametrize("text", ["", "Q"])
def test_nothing_in_common(text):
    [found] = overlaps([text], [Piece("abc", True)])
    assert (found.length, found.stretch, found.covered, found.share) == (0, "", 0, 0.0)


def test_a_threshold_below_one_is_refused():
    with pytest.raises(TidegateError, match="threshold is 0"):
        overlaps(["a"], [], threshold=0)


def test_no_texts_and_no_pieces():
    assert overlaps([], [Piece("abc", True)]) == []
    assert overlaps(["abc"], [])[0].length == 0


def test_texts_are_normalised_as_the_corpus_is(tmp_path):
    (tmp_path / "a.txt").write_bytes("un cafe\u0301\r\nnoir".encode())
    [found] = overlaps_with_files(["café\r\nnoir"], [tmp_path / "a.txt"])
    assert (found.length, found.stretch) == (9, "café\nnoir")


def test_files_are_read_as_training_reads_them(tmp_path):
    documents = ["the tide comes in", "the tide goes out"]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in documents), encoding="utf-8")
    told = []
    [found] = overlaps_with_files(
        ["comes in" + "the tide goes"], [tmp_path], report=lambda done, total: told.append((done, total))
    )
    assert found.stretch == "the tide goes"  # no stretch goes from one document into the next
    size = (tmp_path / "a.jsonl").stat().st_size
    assert told[-1] == (size, size)
    with pytest.raises(TidegateError, match="no file or folder"):
        overlaps_with_files(["a"], [tmp_path / "nowhere"])


def test_reading_ends_where_nothing_more_can_be_found(monkeypatch):
    monkeypatch.setattr(overlap, "BLOCK", 4)
    pieces = pieces_of([["what was copied"], ["never read"] * 3])
    overlaps(["copied"], pieces)
    assert next(pieces).text == "never read"


@pytest.mark.parametrize(
    ("text", "threshold"),
    [("It is the east", 50), ("春眠不觉晓，处处闻啼鸟", 16), ("это текст", 50), ("오늘은", 16), ("", 50), ("春a", 50)],
)
def test_stretches_count_from_a_length_that_suits_the_script(text, threshold):
    assert threshold_of(text) == threshold


def test_memory_does_not_grow_with_the_corpus():
    rng = np.random.default_rng(0)
    part = "".join(rng.choice(list("abcdefgh "), 2**18))

    def peak(pieces: int) -> int:
        tracemalloc.start()
        overlaps(["QQ" * 100], (Piece(part, i == 0) for i in range(pieces)))
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    assert peak(12) < 1.1 * peak(3)


@pytest.mark.parametrize("kind", ["characters", "bytes", "words", "bpe"])
def test_runs_of_tokens_in_a_store(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(overlap, "BLOCK", 50)
    rng = np.random.default_rng(1)
    words = "the tide comes in 潮 起 潮 落 and goes out ，".split()
    text = " ".join(rng.choice(words, 600))
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    prepared = prepare([tmp_path / "a.txt"], cache=tmp_path / "cache", kind=kind, vocabulary=None, validation=0)
    sample = "out and " + text[1003:1120] + "潮潮潮 out"
    run = longest_run_in_store(sample, prepared.train, prepared.tokenizer)
    [found] = overlaps([sample], [Piece(text, True)])
    assert run in text
    assert run in sample
    assert found.length - (0 if kind in ("characters", "bytes") else 12) <= len(run) <= found.length


def test_an_unknown_token_is_no_overlap(tmp_path):
    (tmp_path / "a.txt").write_text("one two three two one " * 30, encoding="utf-8")
    prepared = prepare([tmp_path / "a.txt"], cache=tmp_path / "c", kind="words", vocabulary=4, validation=0)
    assert prepared.train.unknown_count > 0
    unknown = next(word for word in (" one", " two", " three") if prepared.tokenizer.missing(word))
    assert longest_run_in_store(unknown + unknown, prepared.train, prepared.tokenizer) == ""


def test_several_samples_are_searched_apart():
    a, b = (np.frombuffer(text, np.uint8).astype(np.uint32) for text in (b"abcX", b"YYbcd"))
    search = MatchSearch([a, b], [2, 2])
    search.feed(np.frombuffer(b"zabcdz", np.uint8).astype(np.uint32))
    assert [(match.start, match.length) for match in search.matches] == [(0, 3), (2, 3)]
    assert not search.finished
    search.feed(np.frombuffer(b"abcXYYbcd", np.uint8).astype(np.uint32))
    assert search.finished
