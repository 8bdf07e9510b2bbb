"""Runs of Chinese characters are cut only where it does not change their byte pairs."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tidegate.text.tokenizers import han_cuts
from tidegate.text.tokenizers.bpe import SHORT, BPETokenizer
from tidegate.text.tokenizers.han_cuts import HanCuts

HAN = "一丁了不东今佛信天夫好妹姊龥"
TEXTS = st.text(st.sampled_from(HAN + " a，\n鿿"), max_size=60)


def learnt(seed: int, vocabulary: int) -> BPETokenizer:
    draw = random.Random(seed)
    return BPETokenizer.train(["".join(draw.choices(HAN, k=3)) * 2 + "，" for _ in range(400)], vocabulary)


SMALL, LARGE = learnt(0, 290), learnt(1, 700)
# merges that no library would learn: tails of characters with heads of others, and both with whole ones
TAIL_AND_HEAD = BPETokenizer([(0x80, 0xE4), (0xBD, 0x9B), (256, 257), (0xE4, 0xBB), (0xA5, 0xE5), (260, 0xA4)])


@pytest.mark.parametrize("tokenizer", [SMALL, LARGE, TAIL_AND_HEAD], ids=["small", "large", "tails and heads"])
@given(text=TEXTS)
@example(text="一佛今天夫龥夫一一")
@settings(max_examples=500, deadline=None)
def test_the_ids_are_those_of_the_whole(tokenizer: BPETokenizer, text: str) -> None:
    assert tokenizer.encode(text).tolist() == tokenizer._engine.encode_batch_fast([text])[0].ids


def test_a_pair_that_a_token_joins_is_not_cut_and_others_are() -> None:
    cuts = HanCuts(["今天".encode(), "好".encode()[1:] + "不".encode()[:1], "信".encode()])
    assert cuts.cuts("今天今好不不今 今").tolist() == [2, 3, 5, 6]
    assert cuts.cuts("今").tolist() == cuts.cuts("").tolist() == cuts.cuts("a今b").tolist() == []


@given(data=st.data(), text=st.text(st.sampled_from(HAN), min_size=2, max_size=20))
@settings(max_examples=300, deadline=None)
def test_no_cut_lies_where_a_token_fits_across(data: st.DataObject, text: str) -> None:
    """The tokens are slices of the text's own bytes, so that they fit somewhere."""
    size = len(text.encode())
    spans = data.draw(st.lists(st.tuples(st.integers(0, size - 1), st.integers(1, 9)), max_size=4))
    tokens = [text.encode()[start : start + length] for start, length in spans]
    for cut in HanCuts(tokens).cuts(text).tolist():
        left, right = text[:cut].encode(), text[cut:].encode()
        for token in tokens:
            for size in range(1, len(token)):
                assert not (left.endswith(token[:size]) and right.startswith(token[size:]))


def test_more_pairs_than_any_text_teaches_end_the_cutting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(han_cuts, "_MOST_PAIRS", 1)
    assert HanCuts([]).cuts("今天").tolist() == [1]
    assert HanCuts(["今天".encode(), "天今".encode()]).cuts("好信").tolist() == []


def test_cutting_everywhere_would_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: without the flags the words of the vocabulary fall apart."""
    tokenizer = learnt(2, 700)
    text = "".join(random.Random(3).choices(HAN, k=SHORT + 1))
    whole = tokenizer._engine.encode_batch_fast([text])[0].ids
    monkeypatch.setattr(tokenizer._han_cuts, "_joined", np.zeros(2**22, np.bool_))
    assert tokenizer.encode(text).tolist() != whole
