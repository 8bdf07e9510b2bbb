"""Sentences without empty lines between them are told, and cut where they end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.text.sentence_ends import cut_at_ends, joined
from tidegate.text.tagged import Sentence


def is_outside(tag):
    return tag == "O"


def of(text, tags=None):
    tokens = tuple(text.split())
    return Sentence(tokens, tuple(tags.split()) if tags else ("O",) * len(tokens))


def cut(sentence):
    return [" ".join(part.tokens) for part in cut_at_ends(sentence, is_outside)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Anna runs . Bob sleeps .", ["Anna runs .", "Bob sleeps ."]),
        ("Who ? Me ! No … well", ["Who ?", "Me !", "No …", "well"]),
        ("他 来 了 。 你 呢 ？ 走 ！ 好 …… 吧", ["他 来 了 。", "你 呢 ？", "走 ！", "好 ……", "吧"]),
        ("“ 走 ！ ” 他 说 。 好", ["“ 走 ！ ”", "他 说 。", "好"]),
        ('He said : " Go . " She went .', ['He said : " Go . "', "She went ."]),
        ('It ends . " Go , " she said .', ["It ends .", '" Go , " she said .']),
        ("Really ? ! ) Yes . . . No", ["Really ? ! )", "Yes . . .", "No"]),
        ("3 . 5 m", ["3 . 5 m"]),
        (". a", [".", "a"]),
        ("no end", ["no end"]),
    ],
)
def test_where_a_sentence_ends(text, expected):
    assert cut(of(text)) == expected


def test_a_mark_within_an_entity_ends_nothing():
    assert cut(of("Yahoo ! grows . fast", "B-ORG I-ORG O O O")) == ["Yahoo ! grows .", "fast"]


@given(st.lists(st.sampled_from([*". ! ? 。 ” \" ' ) 3 a".split()]), min_size=1))
def test_nothing_is_lost_and_no_part_is_empty(tokens):
    sentence = Sentence(tuple(tokens), tuple(str(i) for i in range(len(tokens))))
    parts = list(cut_at_ends(sentence, lambda tag: True))
    assert all(part.tokens for part in parts)
    assert tuple(token for part in parts for token in part.tokens) == sentence.tokens
    assert tuple(tag for part in parts for tag in part.tags) == sentence.tags


def test_a_file_of_one_long_sentence_is_warned_of():
    text = of("Anna runs . Bob sleeps .")
    said = joined("a.conll", [text], is_outside)
    assert "a.conll: its only sentence has 6 tokens and 2 ends" in said
    assert "--cut-sentences" in said
    assert not joined("a.conll", [text, text], is_outside), "two ends in a sentence are no rarity"
    assert not joined("a.conll", [of("Anna runs .")], is_outside)
    assert "its longest sentence has 1,200 tokens" in joined("a.conll", [of("a b . " * 400), text], is_outside)
    assert not joined("a.conll", [], is_outside)
