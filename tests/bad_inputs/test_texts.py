"""Texts of any kind: lines without end, archives that swell, names that are no text, encodings that differ."""

from __future__ import annotations

import gzip
import json
import os
import zipfile

import pytest

from tidegate.cli import main
from tidegate.text import containers, encodings, formats, tables

from .conftest import tree

LONG = "潮" * 2000
SEVERAL_BLOCKS = LONG * 2000


@pytest.fixture
def small_limits(monkeypatch):
    """Limits of a kilobyte instead of 64 MiB."""
    for module in (formats, encodings, tables):
        monkeypatch.setattr(module, "LINE_BYTES", 1000)
    monkeypatch.setattr(formats, "PAGE_CHARACTERS", 1000)


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("a.jsonl", json.dumps({"text": "short"}) + "\n" + json.dumps({"text": LONG}) + "\n", "a.jsonl, line 2"),
        ("a.csv", f"text\nshort\n{SEVERAL_BLOCKS}\n", "a.csv, line 3"),
        ("a.tsv", f"text\tn\n{SEVERAL_BLOCKS}\t1\n", "a.tsv, line 2"),
        ("a.html", f"<p>{LONG}</p>", "a.html has more than 1,000 characters"),
        ("a.csv", 'text\n"never closed' + "\nmore" * 500, "a.csv"),
    ],
    ids=["jsonl", "csv", "tsv", "html", "open quote"],
)
def test_what_is_longer_than_the_limit_is_named(here, mistake, small_limits, name, content, wanted):
    (here / name).write_text(content, encoding="utf-8")
    said = mistake("prepare", name, "--cache", "cache", "--processes", "1")
    assert wanted in said
    assert LONG[:50] not in said


def test_a_text_may_be_one_line(here, capsys):
    """Plain text is no matter of lines: it is read by blocks."""
    (here / "one.txt").write_text("潮起潮落" * 400_000, encoding="utf-8")
    assert main(["prepare", "one.txt", "--cache", "cache", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "1600000" in json.dumps(found).replace(",", "")


def test_an_archive_that_swells_ends_at_its_first_wrong_byte(here, mistake):
    """A thousandth of its size on the disk; nothing of it is unpacked."""
    with zipfile.ZipFile(here / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", bytes(50_000_000))
    (here / "bomb.txt.gz").write_bytes(gzip.compress(bytes(50_000_000)))
    for name in ("bomb.zip", "bomb.txt.gz"):
        before = tree(here)
        assert "NUL byte at offset 0" in mistake("prepare", name, "--cache", "cache")
        assert {each for each in tree(here) - before if not each.startswith("cache")} == set()


def test_an_archive_of_too_many_files(here, mistake, monkeypatch):
    monkeypatch.setattr(containers, "MEMBERS", 3)
    with zipfile.ZipFile(here / "many.zip", "w") as archive:
        for number in range(4):
            archive.writestr(f"{number}.txt", "tide")
    assert "many.zip has 4 files, 3 are the limit" in mistake("prepare", "many.zip", "--cache", "cache")


def test_names_in_an_archive_lead_nowhere(here, capsys):
    with zipfile.ZipFile(here / "up.zip", "w") as archive:
        archive.writestr("../../up.txt", "潮起潮落\n" * 50)
        archive.writestr("/etc/rooted.txt", "the tide\n" * 50)
    before = tree(here.parent)
    assert main(["prepare", "up.zip", "--cache", "cache"]) == 0
    assert all("cache" in name for name in tree(here.parent) - before)


def test_a_file_whose_name_is_no_utf8(here, capsys, mistake):
    folder = here / "names"
    folder.mkdir()
    path = os.path.join(os.fsencode(folder), b"\xff\xb3\xb1.txt")
    try:
        with open(path, "wb") as file:
            file.write("潮起潮落\n".encode() * 50)
    except OSError:
        pytest.skip("this file system takes no such name")
    assert main(["prepare", "names", "--cache", "cache"]) == 0
    with open(path, "wb") as file:
        file.write(b"tide\0")
    assert "NUL" in mistake("prepare", "names", "--cache", "cache")


def test_mixed_encodings_are_told_and_auto_reads_them(here, mistake, capsys):
    folder = here / "mixed"
    folder.mkdir()
    (folder / "a.txt").write_text("潮起潮落，海阔天空。\n" * 50, encoding="utf-8")
    (folder / "b.txt").write_text("春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。\n" * 50, encoding="gb18030")
    (folder / "c.txt").write_text("The tide comes in.\n" * 50, encoding="utf-16")
    said = mistake("prepare", "mixed", "--cache", "cache")
    assert "b.txt" in said
    assert "gb18030" in said.lower()
    assert main(["prepare", "mixed", "--encoding", "auto", "--cache", "cache", "--json"]) == 0
    said = capsys.readouterr()
    assert "\ufffd" not in said.out


def test_a_validation_text_of_one_token_is_refused_before_anything_is_written(here, mistake):
    """The first token is predicted from nothing: none is left to measure."""
    before = tree(here)
    said = mistake("train", "text.txt", "--validation", "0.0001", "--cache", "cache", "--out", "run")
    assert "--validation" in said
    assert {path for path in tree(here) - before if not path.startswith("cache")} == set()
