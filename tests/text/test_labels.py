"""Labels by their spelling: what is the same, in every format, and what is none."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.errors import TidegateError
from tidegate.text.labelled import LabelReading, read_labelled
from tidegate.text.labels import differ_in_case, label_name


@pytest.mark.parametrize(
    ("spellings", "name"),
    [
        (
            ["0", "0.0", " 0.00", "-0", "-0.0", "0.000000000000000000e+00", 0, 0.0, -0.0, np.int64(0), np.float32(0)],
            "0",
        ),
        (["1", "1.0", "1.0e0", "1.00E+00", 1, 1.0, np.uint8(1)], "1"),
        (["-12", "-12.0", "-1.2e1", -12], "-12"),
        ([True, np.bool_(True), "True"], "True"),
        (["e\u0301t\u00e9", "\u00e9te\u0301", " été\t"], "été"),
    ],
)
def test_one_label_however_it_is_written(spellings, name):
    assert {label_name("here", spelling) for spelling in spellings} == {name}


@pytest.mark.parametrize(
    "name", ["3.1", "3.10", "1E3", "1e0", "01", "007", "+1", "1.", ".5", "true", "TRUE", "a b", "0x0"]
)
def test_names_that_only_look_alike_stay_apart(name):
    assert label_name("here", name, in_table=True) == name


@given(st.integers(-(2**53), 2**53))
def test_whole_numbers_are_alike_in_tables_and_json(number):
    spelled = {str(number), f"{number}.0", f"{number}.000"}
    assert {label_name("here", one, in_table=True) for one in spelled} == {label_name("here", number)} == {str(number)}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "null, which is no label"),
        (float("nan"), "nan, which is no label"),
        (float("-inf"), "-inf, which is no label"),
        (np.float64("nan"), "nan, which is no label"),
        (["a"], "a name or a number is wanted"),
        ({}, "a name or a number is wanted"),
        ("\ud800", "lone surrogate"),
    ],
)
def test_what_is_no_label(value, said):
    with pytest.raises(TidegateError, match=f"here has the .*{said}"):
        label_name("here", value)


@pytest.mark.parametrize("name", ["nan", " NaN", "<NA>"])
def test_a_missing_value_in_a_table_is_a_word(name):
    with pytest.raises(TidegateError, match="stands for a missing value"):
        label_name("here", name, in_table=True)
    assert label_name("here", name) == name.strip(), "a string in a .jsonl is a name"


@pytest.mark.parametrize(
    ("suffix", "content", "where"),
    [
        (".jsonl", '{"text": "a", "label": "x"}\n{"text": "b", "label": NaN}\n', "line 2 has the label nan"),
        (".jsonl", '{"text": "a", "label": Infinity}\n', "line 1 has the label inf"),
        (".jsonl", '{"text": "a", "label": null}\n', "line 1 has the label null"),
        (".jsonl", '{"text": "a", "label": ["x", null]}\n', "line 1 has the label null"),
        (".jsonl", '{"text": "a", "label": ["x", NaN]}\n', "line 1 has the label nan"),
        (".jsonl", '{"text": "a", "label": [["x"]]}\n', "line 1 has the label"),
        (".csv", 'text,label\n"two\nlines",x\nb,nan\n', "line 4 has the label 'nan'"),
        (".csv", "text,label\nb,x|nan\n", "line 2 has the label 'nan'"),
        (".tsv", "text\tlabel\nb\tNaN\n", "line 2 has the label 'NaN'"),
    ],
)
def test_the_line_of_a_missing_label_is_told(tmp_path, suffix, content, where):
    path = tmp_path / f"a{suffix}"
    path.write_text(content)
    with pytest.raises(TidegateError, match=where):
        read_labelled([str(path)], LabelReading(multi_label="[" in content or "|" in content))


def test_a_number_is_the_same_label_in_every_format(tmp_path):
    for label in ("0", "1"):
        (tmp_path / "classes" / f"{label}.0").mkdir(parents=True)
        (tmp_path / "classes" / f"{label}.0/a.txt").write_text(f"text {label}")
    (tmp_path / "a.csv").write_text("label,text\n0,text 0\n1.0,text 1\n")
    (tmp_path / "b.tsv").write_text("label\ttext\n0.0\ttext 0\n1\ttext 1\n")
    rows = [{"label": 0.0, "text": "text 0"}, {"label": "1.0", "text": "text 1"}]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("a.csv", "b.tsv", "c.jsonl", "classes"):
        assert read_labelled([str(tmp_path / name)], LabelReading()).labels == [("0",), ("1",)], name
    (tmp_path / "d.jsonl").write_text('{"text": "a", "label": [0, 0.0, "0", "1 "]}\n')
    assert read_labelled([str(tmp_path / "d.jsonl")], LabelReading(multi_label=True)).labels == [("0", "1")]


def test_a_row_without_text_needs_no_label(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\na,x\n,\n,nan\n")
    found = read_labelled([str(tmp_path / "a.csv")], LabelReading())
    assert (found.texts, found.empty) == (["a"], 2)


@pytest.mark.parametrize(
    ("content", "how", "columns"),
    [
        ("label,review\nx,a\ny,b\n", LabelReading(), ("review",)),
        ("label,text,n\nx,a,1\ny,b,2\n", LabelReading(), ("text",)),
        ("n,x,a\nm,y,b\n", LabelReading("2", ("3",)), ("3",)),
        ("x,a\ny,b\n", LabelReading("1"), ("2",)),
    ],
)
def test_the_columns_of_the_text_are_known(tmp_path, content, how, columns):
    (tmp_path / "a.csv").write_text(content)
    found = read_labelled([str(tmp_path / "a.csv")], how)
    assert (found.texts, found.labels, found.columns) == (["a", "b"], [("x",), ("y",)], columns)


@pytest.mark.parametrize(
    ("content", "how", "said"),
    [
        ("good,nice\nbad,so\n", LabelReading(), "such as --label-column 1 --columns 2"),
        ("label,The room was fine.\nbad,so\n", LabelReading(), "where the name of the text's column should stand"),
        ("label,text\nx,a\n", LabelReading("1", ("2",)), "'label' there, which is a name"),
        ("label,text\nx,a\n", LabelReading(columns=("2",)), "are names and numbers"),
        ("x,a,b\n", LabelReading("1"), "give that of the text by --columns and its number"),
    ],
)
def test_a_table_without_a_header_is_told(tmp_path, content, how, said):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(TidegateError, match=said):
        read_labelled([str(tmp_path / "a.csv")], how)


def test_names_that_differ_in_case_alone():
    assert differ_in_case(["a", "Bad", "bad", "BAD", "c"]) == ["BAD", "Bad", "bad"]
    assert differ_in_case(["a", "b"]) == []
