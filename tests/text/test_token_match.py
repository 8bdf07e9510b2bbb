"""Vocabularies matched by the text of their tokens, never by their numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.text.token_match import match
from tidegate.text.tokenizer import train

TEXTS = st.text("abcdefgh 潮汐江海月光。\n", min_size=1, max_size=60)


@pytest.mark.parametrize("kind", ["characters", "words", "whitespace", "bpe", "bytes"])
@settings(max_examples=30, deadline=None)
@given(old=TEXTS, new=TEXTS)
def test_matched_tokens_have_the_same_text(kind, old, new):
    size = {"bpe": 262, "words": 1000, "whitespace": 1000}.get(kind)
    a, b = train(kind, [old], size), train(kind, [new], size)
    found = match(a, b)
    assert len(found.old_of_new) == b.vocabulary_size
    assert found.kept + found.added == b.vocabulary_size
    assert found.dropped == a.vocabulary_size - found.kept
    for token, earlier in enumerate(found.old_of_new.tolist()):
        if earlier >= 0:
            assert a.token_bytes(earlier) == b.token_bytes(token)
    assert found.old_of_new[b.document_id] == a.document_id
    if b.unknown_id is not None:
        assert found.old_of_new[b.unknown_id] == a.unknown_id
    assert match(a, a).is_identity


@pytest.mark.parametrize("kind", ["characters", "words", "whitespace", "bpe", "bytes"])
@settings(max_examples=30, deadline=None)
@given(old=TEXTS, new=TEXTS)
def test_a_joined_vocabulary_has_all_tokens_of_both(kind, old, new):
    size = {"bpe": 262, "words": 1000, "whitespace": 1000}.get(kind)
    a, b = train(kind, [old], size), train(kind, [new], size)
    joined = a.joined(b)
    assert match(a, joined).dropped == 0
    assert not joined.missing(old)
    assert not joined.missing(new)
    if kind in ("characters", "words", "whitespace"):
        assert match(b, joined).dropped == 0
    else:
        assert joined is a
    assert joined.decode(joined.encode(new)) == joined.normalize(new)


def test_the_same_size_in_another_order_is_told_apart():
    """The trap: two vocabularies of one size, of which one makes the other's text a cipher."""
    a, b = train("characters", ["abcd"]), train("characters", ["bcde"])
    found = match(a, b)
    assert a.vocabulary_size == b.vocabulary_size
    assert not found.is_identity
    assert found.old_of_new.tolist() == [1, 2, 3, -1, 4, 5]
    assert (found.kept, found.added, found.dropped) == (5, 1, 1)
    assert found.sentence() == (
        "Vocabulary: 5 tokens kept, matched by their text; 1 added, which start from the unknown token; 1 dropped."
    )


def test_words_in_another_order_of_frequency():
    a, b = train("words", ["x tide tide gate"], 100), train("words", ["x gate gate tide"], 100)
    found = match(a, b)
    np.testing.assert_array_equal(np.sort(found.old_of_new), np.arange(a.vocabulary_size))
    assert not found.is_identity
    assert found.dropped == found.added == 0


@settings(max_examples=30, deadline=None)
@given(old=TEXTS, new=TEXTS)
def test_what_old_tokens_spell(old, new):
    a, b = train("bpe", [old], 262), train("bpe", [new], 270)
    for token, parts in match(a, b).parts.items():
        assert len(parts) > 1
        assert b"".join(map(a.token_bytes, parts)) == b.token_bytes(token)


def test_an_unknown_character_has_no_parts():
    found = match(train("characters", ["abc"]), train("characters", ["abcd"]))
    assert found.added == 1
    assert not found.parts
    assert "start from the unknown token" in found.sentence()
