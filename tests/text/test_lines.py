"""One rule for which texts a file has: those of standard input and of a file with the same lines are the same."""

from __future__ import annotations

import io
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.errors import TidegateError
from tidegate.text import encodings
from tidegate.text.lines import read_texts

LINES = ["one", "", "  two", "三", "{four}", ""]


def from_input(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    return list(read_texts(None))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_a_file_has_the_texts_of_standard_input(tmp_path, monkeypatch, end, last):
    data = ("\ufeff" + end.join(LINES) + (end if last else "")).encode()
    (tmp_path / "a.txt").write_bytes(data)
    expected = LINES if last else LINES[:-1]
    assert list(read_texts(str(tmp_path / "a.txt"))) == expected == from_input(monkeypatch, data)
    assert list(read_texts(str(tmp_path))) == expected, "in a folder as well"
    assert list(read_texts(str(tmp_path / "a.txt"), whole_files=True)) == ["\n".join(LINES) + "\n" * last]


@given(st.lists(st.text(st.characters(exclude_categories=["C", "Z"])), min_size=1))
def test_a_line_out_for_each_line_in(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("lines") / "a.txt"
    path.write_text("one\n" + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    assert len(list(read_texts(str(path)))) == 1 + len(lines)


def test_what_is_no_plain_text_has_the_texts_that_it_lists(tmp_path, capsys):
    for name, content, expected in (
        ("a.csv", "text\none\ntwo\n", ["one", "two"]),
        ("a.json", json.dumps(["one\ntwo", "three"]), ["one\ntwo", "three"]),
        ("a.html", "<p>one<p>two", ["one\n\ntwo\n"]),
        ("a.srt", "1\n00:00:01,000 --> 00:00:02,000\none\ntwo\n", ["one\ntwo\n"]),
    ):
        (tmp_path / name).write_text(content)
        assert list(read_texts(str(tmp_path / name))) == expected
    assert "a.srt: recognized as subtitles; only the spoken lines are read." in capsys.readouterr().err


def test_a_line_that_is_too_long_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(encodings, "LINE_BYTES", 1000)
    (tmp_path / "a.txt").write_text("short\n" + "x" * 2**20 + "\n")
    with pytest.raises(TidegateError, match="longer than 1,000 characters"):
        list(read_texts(str(tmp_path / "a.txt")))
