"""Entities, and their tags in BIO and BIOES, against seqeval."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities

from tidegate.text.entities import allowed_bioes, are_entities, entities, repaired, to_bio, to_bioes
from tidegate.text.tagged import Sentence
from tidegate.training.tag_report import figures

TAGS = st.sampled_from(["O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in ("PER", "LOC-x"))])
SENTENCES = st.lists(st.lists(TAGS, min_size=1, max_size=8), min_size=1, max_size=5)


@given(SENTENCES)
def test_entities_and_their_measures_are_seqevals(sentences):
    for tags in sentences:
        assert sorted(map(tuple, entities(tags))) == sorted(get_entities(tags))
    given_tags = [tags[::-1] for tags in sentences]
    true = [Sentence(("w",) * len(tags), tuple(tags)) for tags in sentences]
    found = figures(true, given_tags)
    if "f1" in found:
        for name, measure in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
            assert found[name] == pytest.approx(measure(sentences, given_tags, zero_division=0))


@given(st.lists(TAGS, min_size=1, max_size=10))
def test_schemes_keep_the_entities_and_are_legal(tags):
    for scheme in (to_bio, to_bioes):
        assert entities(scheme(tags)) == entities(tags)
        assert scheme(scheme(tags)) == scheme(tags)
    assert not repaired(to_bio(tags), bioes=False)
    assert not repaired(to_bioes(tags), bioes=True)
    names = ["O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in ("PER", "LOC-x"))]
    start, pairs, end = allowed_bioes(names)
    numbers = [names.index(tag) for tag in to_bioes(tags)]
    assert start[numbers[0]]
    assert end[numbers[-1]]
    assert all(pairs[a][b] for a, b in itertools.pairwise(numbers))


@given(st.lists(TAGS, min_size=1, max_size=5))
def test_what_bioes_allows_is_what_it_makes(tags):
    names = ["O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in ("PER", "LOC-x"))]
    start, pairs, end = allowed_bioes(names)
    numbers = [names.index(tag) for tag in tags]
    allowed = start[numbers[0]] and end[numbers[-1]]
    allowed = allowed and all(pairs[a][b] for a, b in itertools.pairwise(numbers))
    assert allowed == (list(to_bioes(tags)) == tags)


def test_parts_of_speech_are_no_entities():
    assert not are_entities(["NOUN", "ADP"])
    assert not are_entities(["O"])
    assert not are_entities(["B-X", "NOUN"])
    assert allowed_bioes(["NOUN", "ADP"])[1] == [[True] * 2] * 2


def test_what_does_not_fit_is_counted():
    assert repaired(["O", "I-X", "I-X", "I-Y", "B-Y"], bioes=False) == 2
    assert repaired(["B-X", "O", "E-X", "O", "S-X", "E-X", "B-X", "E-X"], bioes=True) == 3
