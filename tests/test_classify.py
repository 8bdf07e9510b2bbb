"""tidegate classify: which texts are read, what is written beside them, and that each row has its labels."""

from __future__ import annotations

import csv
import io
import json
import sys

import numpy as np
import pytest

from tests.runtime.small_models import tokenizer_of
from tidegate.classify import ClassifySettings, classify
from tidegate.config import ModelConfig
from tidegate.errors import TidegateError
from tidegate.folder.label_folder import ClassifierFolder, classifier_shapes, read_classifier, write_classifier
from tidegate.text import lines
from tidegate.text.formats import Reading

ROWS = [["1", "a,b"], ["2", 'He said: "no".'], ["3", ""], ["4", "two\nlines\tand a tab; " + "long " * 50]]


def write(path, reading=None, labels=("bad", "good"), multi_label=False):
    config, tokenizer = ModelConfig(hidden_size=6, layers=1), tokenizer_of()
    rng = np.random.default_rng(0)
    shapes = classifier_shapes(config, tokenizer.vocabulary_size, len(labels))
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    if multi_label:
        tensors["head.bias"] = np.array([2, 1, -9], np.float32)
    path.mkdir(exist_ok=True)
    write_classifier(
        path, ClassifierFolder(config, tokenizer, labels, multi_label, 1.0, False, tensors, reading=reading)
    )
    return str(path)


@pytest.fixture
def model(tmp_path):
    return write(tmp_path / "model")


def table(path, names, rows, **form):
    file = io.StringIO()
    csv.writer(file, lineterminator="\n", **form).writerows([*([names] if names else []), *rows])
    path.write_text(file.getvalue(), encoding="utf-8")
    return str(path)


def read(path):
    delimiter = "\t" if path.suffix == ".tsv" else ","
    return list(csv.reader(io.StringIO(path.read_text("utf-8")), delimiter=delimiter))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
@pytest.mark.parametrize("given", [".csv", ".tsv", ".jsonl"])
def test_all_columns_are_kept_and_each_row_has_its_labels(model, tmp_path, capsys, given, suffix):
    data, out = tmp_path / f"data{given}", tmp_path / f"out{suffix}"
    if given == ".jsonl":
        objects = [{"n": int(n), "text": text} for n, text in ROWS]
        data.write_text("".join(json.dumps(one) + "\n" for one in objects))
    else:
        table(data, ["n", "text"], ROWS, delimiter="\t" if given == ".tsv" else ",")
    assert classify(ClassifySettings(model, str(data), out=str(out))) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "4 texts with their labels" in captured.err
    assert "1 of the texts are empty" in captured.err
    if suffix == ".jsonl":
        found = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
        assert [list(one) for one in found] == [["n", "text", "label", "probability"]] * 4
        found = [[str(one["n"]), one["text"], one["label"], one["probability"]] for one in found]
    else:
        header, *found = read(out)
        assert header == ["n", "text", "label", "probability"]
    assert [one[:2] for one in found] == ROWS, "whole, however long"
    assert all(one[2] in ("bad", "good") and 0.5 <= float(one[3]) <= 1 for one in found)
    again = tmp_path / "again.csv"
    classify(ClassifySettings(model, str(out), out=str(again)))
    assert read(again)[0] == ["n", "text", "label", "probability", "predicted_label", "predicted_probability"]
    assert [row[2] for row in read(again)[1:]] == [row[4] for row in read(again)[1:]]


def test_with_the_probabilities_of_all_labels(model, tmp_path, capsys):
    data, out = table(tmp_path / "a.csv", ["text"], [["a"], ["b"]]), tmp_path / "a.jsonl"
    classify(ClassifySettings(model, data, out=str(out), json=True))
    for line in out.read_text().splitlines():
        one = json.loads(line)
        assert one["probability"] == max(one["probabilities"].values())
    with pytest.raises(TidegateError, match=r"json is set, but out is a.csv"):
        ClassifySettings(model, data, out="a.csv", json=True)


def test_several_labels_stand_in_one_cell(tmp_path):
    model = write(tmp_path / "several", labels=("x", "y", "z"), multi_label=True)
    data, out = table(tmp_path / "a.csv", ["text"], [[text] for text in "abcdefgh"]), tmp_path / "out.csv"
    classify(ClassifySettings(model, data, out=str(out)))
    classify(ClassifySettings(model, data, out=str(tmp_path / "out.jsonl")))
    cells = [row[1] for row in read(out)[1:]]
    lists = [json.loads(line)["label"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [cell.split("|") if cell else [] for cell in cells] == lists
    assert any(len(some) > 1 for some in lists)


def test_a_table_without_a_header_stays_one_and_a_spreadsheets_keeps_its_delimiter(model, tmp_path):
    data, out = table(tmp_path / "a.csv", None, ROWS), tmp_path / "out.csv"
    classify(ClassifySettings(model, data, columns=("2",), out=str(out)))
    assert [row[:2] for row in read(out)] == ROWS
    (tmp_path / "b.csv").write_text("sep=;\nn;text\n1;a, b\n")
    classify(ClassifySettings(model, str(tmp_path / "b.csv"), out=str(out)))
    assert out.read_text().startswith("n;text;label;probability\n1;a, b;")


def test_the_columns_and_the_encoding_of_the_training_are_remembered(tmp_path, capsys):
    model = write(tmp_path / "model", Reading("gb18030", ("review",)))
    assert read_classifier(model).reading == Reading("gb18030", ("review",))
    rows = [["a", "床前明月光"], ["b", "疑是地上霜"]]
    out = tmp_path / "out.csv"
    for encoding in ("gb18030", "utf-8"):
        data = tmp_path / f"{encoding}.csv"
        data.write_text("n,review\n" + "".join(",".join(row) + "\n" for row in rows), encoding=encoding)
        classify(ClassifySettings(model, str(data), out=str(out)))
        assert [row[:2] for row in read(out)[1:]] == rows
    other = table(tmp_path / "other.csv", ["text", "n"], [["a", "1"]])
    assert classify(ClassifySettings(model, other)) == 0, "what has no such column is read as ever"
    with pytest.raises(TidegateError, match="not utf-8"):
        classify(ClassifySettings(model, str(tmp_path / "gb18030.csv"), encoding="utf-8"))


def test_columns_by_number_are_remembered_for_tables_without_a_header(tmp_path, capsys):
    model = write(tmp_path / "model", Reading("utf-8", ("2",)))
    classify(ClassifySettings(model, table(tmp_path / "a.csv", None, [["x", "one"], ["y", "two"]])))
    classify(ClassifySettings(model, table(tmp_path / "b.csv", ["text", "n"], [["three", "1"]])))
    assert [line.split("\t")[2] for line in capsys.readouterr().out.splitlines()] == ["one", "two", "three"]


def test_a_folder_that_does_not_tell_how_its_texts_were_read(model, tmp_path):
    assert read_classifier(model).reading is None
    with pytest.raises(TidegateError, match="name those of the text"):
        classify(ClassifySettings(model, table(tmp_path / "a.csv", ["a", "b"], ROWS)))


@pytest.mark.parametrize(
    "bad", ["[]", "{", '{"columns": [1], "encoding": "utf-8"}', '{"columns": [], "encoding": "x"}']
)
def test_a_changed_reading_is_refused(tmp_path, monkeypatch, bad):
    monkeypatch.setattr("tidegate.folder.label_folder._metadata", lambda folder, content: {**METADATA, "reading": bad})
    with pytest.raises(TidegateError, match="reading is"):
        read_classifier(write(tmp_path / "changed"))


METADATA = {"temperature": "1.0", "ngrams": "none"}


def test_what_is_printed_is_whole_where_nobody_looks(model, tmp_path, capsys, monkeypatch):
    data = table(tmp_path / "a.csv", ["n", "text"], ROWS)
    classify(ClassifySettings(model, data))
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 4
    assert printed[3].split("\t")[2] == " ".join(ROWS[3][1].split())
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    classify(ClassifySettings(model, data))
    assert capsys.readouterr().out.splitlines()[3].endswith(" …")


def test_the_file_is_written_whole_or_not_at_all(model, tmp_path):
    out = tmp_path / "out.csv"
    out.write_text("before")
    (tmp_path / "a.csv").write_text('text,n\na,1\nb,"2\n')
    with pytest.raises(TidegateError, match="line 3: a quotation mark"):
        classify(ClassifySettings(model, str(tmp_path / "a.csv"), out=str(out)))
    assert out.read_text() == "before"
    with pytest.raises(TidegateError, match="no text to label"):
        classify(ClassifySettings(model, table(tmp_path / "none.csv", ["text"], []), out=str(out)))
    with pytest.raises(TidegateError, match="one of the files to label"):
        classify(ClassifySettings(model, str(tmp_path / "*.csv"), out=str(tmp_path / "a.csv")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "model", "none.csv", "out.csv"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"out": "labels.txt"}, "written as .csv, .tsv, .jsonl"),
        ({"out": "nowhere/labels.csv"}, "The folder of nowhere/labels.csv is not there"),
    ],
)
def test_where_nothing_can_be_written(settings, said):
    with pytest.raises(TidegateError, match=said):
        ClassifySettings("model", **settings)


@pytest.mark.parametrize(
    ("objects", "suffix", "said"),
    [
        ([{"text": "a"}, {"text": "b", "n": 1}], ".csv", "a later text has 'n' as well"),
        ([{"text": "a", "label": 1, "predicted_label": 2}], ".jsonl", "have the column 'predicted_label' already"),
    ],
)
def test_columns_that_do_not_fit_are_told(model, tmp_path, objects, suffix, said):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in objects))
    with pytest.raises(TidegateError, match=said):
        classify(ClassifySettings(model, str(tmp_path / "a.jsonl"), out=str(tmp_path / f"out{suffix}")))


def test_parquet_keeps_its_columns(model, tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(arrow.table({"n": [1, 2], "text": ["a", "b"]}), tmp_path / "a.parquet")
    classify(ClassifySettings(model, str(tmp_path / "a.parquet"), out=str(tmp_path / "out.csv")))
    assert [row[:2] for row in read(tmp_path / "out.csv")] == [["n", "text"], ["1", "a"], ["2", "b"]]


def given_input(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16", "auto"])
def test_lines_have_the_encoding_that_is_named(model, monkeypatch, capsys, encoding):
    texts = ["的一是不了在人有我他，这个们中来上大为和国。", "", "地到以说时要就出会可也"]
    given_input(monkeypatch, "\n".join(texts).encode("gb18030" if encoding == "auto" else encoding))
    classify(ClassifySettings(model, encoding=encoding.removesuffix("-sig")))
    assert [line.split("\t")[2] for line in capsys.readouterr().out.splitlines()] == texts


def test_lines_have_no_columns(model, monkeypatch):
    given_input(monkeypatch, b"text\n")
    with pytest.raises(TidegateError, match="standard input have none"):
        classify(ClassifySettings(model, columns=("review",)))


def test_a_bar_shows_how_far_the_file_is_read(model, tmp_path, monkeypatch):
    data = table(tmp_path / "a.csv", ["n", "text"], ROWS * 300)
    shown = io.StringIO()
    console = lines.Console(file=shown, force_terminal=True, width=100)
    monkeypatch.setattr(lines, "Console", lambda stderr: console)
    classify(ClassifySettings(model, data, out=str(tmp_path / "out.csv")))
    assert "1,200 texts" in shown.getvalue()
    assert "100%" in shown.getvalue()
