"""Tagged sentences: their forms, what is wrong with them, and the schemes of entities against seqeval."""

from __future__ import annotations

import gzip
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities

from tidegate.errors import TidegateError
from tidegate.text.tagged import (
    Sentence,
    TagReading,
    allowed_bioes,
    are_entities,
    check_scheme,
    entities,
    read_tagged,
    repaired,
    to_bio,
    to_bioes,
)
from tidegate.training.tag_report import figures

TAGS = st.sampled_from(["O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in ("PER", "LOC-x"))])
SENTENCES = st.lists(st.lists(TAGS, min_size=1, max_size=8), min_size=1, max_size=5)
SENTENCE = Sentence(("房", "间", "very", "big"), ("B-X", "I-X", "O", "O"))


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_columns_conllu_and_json_lines(tmp_path):
    columns = write(tmp_path / "a.conll", "房 N B-X\n间 N I-X\nvery A O\nbig A O\n\n-DOCSTART- X O\n\nend N O\n")
    assert read_tagged([columns], TagReading()) == [SENTENCE, Sentence(("end",), ("O",))]
    assert read_tagged([columns], TagReading(tag_column=2))[0].tags == ("N", "N", "A", "A")
    record = {"tokens": SENTENCE.tokens, "tags": SENTENCE.tags}
    lines = write(tmp_path / "a.jsonl", json.dumps(record) + "\n")
    assert read_tagged([lines], TagReading()) == [SENTENCE]
    conllu = "# text = du vin\n1-2\tdu\t_\t_\t_\n1\tde\tde\tADP\tX\n1.1\t_\t_\t_\t_\n2\tvin\tvin\tNOUN\tY\n\n"
    for name, content in (("a.conllu", conllu.encode()), ("b.conllu.gz", gzip.compress(conllu.encode()))):
        (tmp_path / name).write_bytes(content)
        found = read_tagged([str(tmp_path / name)], TagReading())
        assert found == [Sentence(("de", "vin"), ("ADP", "NOUN"))]
    assert read_tagged([str(tmp_path / "a.conllu")], TagReading(tag_column=5))[0].tags == ("X", "Y")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "one\n", "1 column"),
        ("b.txt", "one B-X\ntwo\n", "line 2 has 1 column"),
        ("a.jsonl", '{"tokens": ["a"], "tags": ["\\ud800"]}\n', "lone surrogate"),
        ("a.txt", "one B-X\ntwo\n", "tag 'two'|1 column"),
        ("a.txt", "\n\n", "no sentence"),
        ("b.txt", "one N B-X\ntwo N\n", "line 2 has 2 column.*line 1 has 3"),
        ("b.txt", "New York N B-X\ntwo N O\n", "line 2 has 3 column.*line 1 has 4"),
        ("b.conllu", "1\ta\ta\tX\n2\tb\tb\n", "line 2 has 3 column"),
        ("a.jsonl", '{"tokens": ["a"], "ner_tags": ["O"]}\n', "no field 'tags'.*'ner_tags'"),
        ("a.jsonl", '{"tokens": ["a"], "tags": []}\n', "1 tokens, but 0 tags"),
        ("a.jsonl", '{"tokens": "a", "tags": ["b"]}\n', "no list of strings"),
        ("a.jsonl", '{"tokens": [" "], "tags": ["b"]}\n', "the token ''"),
        ("a.jsonl", '{"tokens": ["a"], "tags": ["b c"]}\n', "the tag 'b c'"),
        ("a.jsonl", '{"tokens": [], "tags": []}\n', "has 0 tokens"),
        ("a.txt", "x " + "y" * 300 + "\n", "the tag"),
    ],
)
def test_what_is_wrong_is_told(tmp_path, name, content, message):
    how = TagReading(token_column=1, tag_column=2) if name == "a.txt" else TagReading()
    with pytest.raises(TidegateError, match=message):
        read_tagged([write(tmp_path / name, content)], how)


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


def test_a_wide_space_is_a_token_where_tabs_stand_between_columns(tmp_path):
    # what normalises to nothing is none
    with pytest.raises(TidegateError, match="the token ''"):
        read_tagged([write(tmp_path / "a.txt", "\u3000\tO\n")], TagReading())
    assert read_tagged([write(tmp_path / "a.txt", "a\u3000b O\n")], TagReading())[0].tokens == ("a\u3000b",)


def test_parts_of_speech_are_no_entities():
    assert not are_entities(["NOUN", "ADP"])
    assert not are_entities(["O"])
    assert not are_entities(["B-X", "NOUN"])
    assert allowed_bioes(["NOUN", "ADP"])[1] == [[True] * 2] * 2


def test_what_does_not_fit_is_counted():
    assert repaired(["O", "I-X", "I-X", "I-Y", "B-Y"], bioes=False) == 2
    assert repaired(["B-X", "O", "E-X", "O", "S-X", "E-X", "B-X", "E-X"], bioes=True) == 3


def test_one_slip_does_not_turn_entities_into_other_tags():
    assert check_scheme(["B-X", "I-X", "O"])
    assert not check_scheme(["NOUN", "ADP", "O"])
    with pytest.raises(TidegateError, match="also the tag 'NOUN'"):
        check_scheme(["B-X", "I-X", "NOUN", "O"])
