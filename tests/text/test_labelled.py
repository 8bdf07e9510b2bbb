"""Labelled texts: every form they come in, what is wrong with them, and how they are split."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.errors import TidegateError
from tidegate.text.labelled import (
    LabelledTexts,
    LabelReading,
    read_labelled,
    stratified,
    tell_their_labels,
)
from tidegate.text.labels import label_names


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_tables_json_lines_and_folders_say_the_same(tmp_path):
    table = write(tmp_path / "a.csv", 'label,review\n好,"房间, 很大"\n坏,太吵\n')
    tabs = write(tmp_path / "a.tsv", "review\tlabel\n房间, 很大\t好\n太吵\t坏\n")
    rows = [{"label": "好", "text": "房间, 很大"}, {"label": "坏", "text": "太吵"}]
    lines = write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    for label, text in (("好", "房间, 很大"), ("坏", "太吵")):
        (tmp_path / "classes" / label).mkdir(parents=True)
        write(tmp_path / "classes" / label / "1.txt", text)
    for name in (table, tabs, lines, str(tmp_path / "classes")):
        found = read_labelled([name], LabelReading())
        assert sorted(zip(found.texts, found.labels, strict=True)) == [("太吵", ("坏",)), ("房间, 很大", ("好",))]


def test_numbers_are_labels_too(tmp_path):
    name = write(tmp_path / "a.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": 0}\n')
    assert read_labelled([name], LabelReading()).labels == [("1",), ("0",)]


def test_a_whole_number_is_the_same_label_however_it_is_written(tmp_path):
    name = write(tmp_path / "a.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": 1.0}\n')
    assert read_labelled([name], LabelReading()).labels == [("1",), ("1",)]


def test_the_label_is_no_part_of_the_text(tmp_path):
    name = write(tmp_path / "a.csv", "text,label\na,x\n")
    with pytest.raises(TidegateError, match="would tell it"):
        read_labelled([name], LabelReading(columns=("text", "label")))


@pytest.mark.parametrize(
    ("labels", "seen"),
    [
        ([f"{i / 7:.3f}" for i in range(60)], "numbers from 0 to 8.429, 60 different ones for 60 texts"),
        ([str(i) for i in range(60)], "numbers from 0 to 59, 60 different"),
        ([f"{i % 30 / 2}" for i in range(300)], "numbers from 0 to 14.5, 30 different ones for 300 texts"),
        ([f"letter {i}" for i in range(60)], "60 different ones for 60 texts, such as 'letter 0'"),
    ],
)
def test_what_is_measured_or_tells_all_texts_apart_is_no_label(labels, seen):
    with pytest.raises(TidegateError, match=seen):
        label_names([(label,) for label in labels])


@pytest.mark.parametrize("labels", [["1.5", "2", "2.5"] * 9, [str(i % 50) for i in range(200)], list("abcdefgh")])
def test_marks_and_numbers_of_classes_are_labels(labels):
    assert label_names([(label,) for label in labels]) == tuple(sorted(set(labels)))


@pytest.mark.parametrize("form", ["label: {}. Some text {}", "Text of {1} [{0}]", "{}, {}"])
@pytest.mark.parametrize("names", [("good", "bad"), ("好评", "差评"), ("C++", "C")])
def test_a_label_that_slipped_into_its_texts_is_seen(form, names):
    labels = [names[i % 2] for i in range(40)]
    texts = [form.format(label, i) for i, label in enumerate(labels)]
    assert tell_their_labels(LabelledTexts(texts, [(label,) for label in labels])) == 40


def test_texts_that_name_their_labels_by_chance_are_not_taken_for_such():
    labels = [("good",), ("bad",)] * 20
    assert not tell_their_labels(LabelledTexts(["good or bad"] * 40, labels))
    assert not tell_their_labels(LabelledTexts(["a good one" if i < 20 else "no" for i in range(40)], labels))
    assert not tell_their_labels(LabelledTexts(["goods", "badly"] * 20, labels))
    assert not tell_their_labels(LabelledTexts([], []))


def test_several_labels_or_none(tmp_path):
    table = write(tmp_path / "a.csv", "text,label\na,x|y\nb,\nc,y\n")
    assert read_labelled([table], LabelReading(multi_label=True)).labels == [("x", "y"), (), ("y",)]
    lines = write(tmp_path / "a.jsonl", '{"text": "a", "label": ["x", "y"]}\n{"text": "b", "label": []}\n')
    assert read_labelled([lines], LabelReading(multi_label=True)).labels == [("x", "y"), ()]


def test_duplicates_conflicts_and_empty_texts_are_counted(tmp_path):
    name = write(tmp_path / "a.csv", "text,label\nsame,x\n same,y\n,x\nother,y\nsame,x\n")
    found = read_labelled([name], LabelReading())
    assert (found.texts, found.duplicates, found.conflicts, found.empty) == (["same", "other"], 2, 1, 1)
    assert len(read_labelled([name], LabelReading(keep_duplicates=True))) == 4


def test_columns_of_the_text_are_joined(tmp_path):
    name = write(tmp_path / "a.csv", "title,body,kind\nA,b,x\n")
    found = read_labelled([name], LabelReading("kind", ("title", "body")))
    assert found.texts == ["A\nb"]


@pytest.mark.parametrize(
    ("name", "content", "how", "message"),
    [
        ("a.csv", "text,labl\na,x\n", LabelReading(), "no column 'label'; did you mean 'labl'"),
        ("a.csv", "one,two,label\na,b,x\n", LabelReading(), "none of them 'text'"),
        ("a.csv", "text,text,label\na,b,x\n", LabelReading(), "'text' 2 times"),
        ("a.jsonl", '{"text": "a", "label": "\\ud800"}\n', LabelReading(), "lone surrogate"),
        ("a.csv", "text,label\na,\n", LabelReading(), "a label is one line of 1 to"),
        ("a.csv", "text,label\n" + "a," + "x" * 300 + "\n", LabelReading(), "a label is one line of 1 to"),
        ("a.csv", "text,label\na\n", LabelReading(), "line 2"),
        ("a.jsonl", '{"text": "a"}\n', LabelReading(), "no column 'label'"),
        ("a.jsonl", '{"text": 1, "label": "x"}\n', LabelReading(), "is no string"),
        ("a.jsonl", '{"text": "a", "label": ["x"]}\n', LabelReading(), "--multi-label"),
        ("a.jsonl", '{"text": "a", "label": {}}\n', LabelReading(), "a name or a number is wanted"),
        ("a.jsonl", "[1]\n", LabelReading(), "no JSON object"),
        ("a.txt", "text", LabelReading(), "has no labels"),
        ("a.csv", "text,label\n,x\n", LabelReading(), "there is no text in it"),
        ("a.csv", "", LabelReading(), "there is no text in it"),
    ],
)
def test_what_is_wrong_is_told(tmp_path, name, content, how, message):
    with pytest.raises(TidegateError) as error:
        read_labelled([write(tmp_path / name, content)], how)
    assert message.split(";")[0] in str(error.value)


def test_nothing_and_what_is_not_there(tmp_path):
    with pytest.raises(TidegateError, match="No labelled texts are named"):
        read_labelled([], LabelReading())
    with pytest.raises(TidegateError, match="missing"):
        read_labelled([str(tmp_path / "missing.csv")], LabelReading())


def test_a_single_label_is_nothing_to_learn():
    with pytest.raises(TidegateError, match=r"1 label\(s\)"):
        label_names([("x",), ("x",)])
    assert label_names([("b",), ("a",)]) == ("a", "b")
    assert label_names([("x",), ()]) == ("x",)  # one that a text has or has not


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=200), st.floats(0, 0.9), st.integers(0, 9))
def test_a_split_takes_of_each_label_its_share(labels, share, seed):
    first, second = stratified([(label,) for label in labels], share, seed)
    assert sorted([*first, *second]) == list(range(len(labels)))
    for label, count in Counter(labels).items():
        held = sum(labels[i] == label for i in second)
        assert abs(held - min(count * share, count - 1)) <= 1
        assert held < count
    again = stratified([(label,) for label in labels], share, seed)
    assert np.array_equal(second, again[1])


def test_of_several_labels_a_share_is_held_out_all_the_same():
    rng = np.random.default_rng(0)
    labels = [tuple(name for name in "abcdef" if rng.random() < 0.3) for _ in range(600)]
    _, second = stratified(labels, 0.1, 0)
    assert 50 <= len(second) <= 70
    for name in "abcdef":
        share = sum(name in labels[i] for i in second) / sum(name in some for some in labels)
        assert 0.04 < share < 0.16


def test_the_digest_tells_texts_labels_and_order():
    texts = [(["a", "b"], [("x",), ("y",)]), (["b", "a"], [("y",), ("x",)]), (["a", "b"], [("y",), ("x",)])]
    texts += [(["a", "b"], [("x", "y"), ()])]
    assert len({LabelledTexts(*pair).digest for pair in texts}) == len(texts)
