"""What a file is read as: by its name, its first bytes, and nothing that prose may begin with as well."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import sqlite3
import tarfile
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from tidegate.cli import main
from tidegate.errors import TidegateError
from tidegate.text import json_values
from tidegate.text.corpus import read_pieces
from tidegate.text.formats import Reading
from tidegate.text.kinds import told
from tidegate.text.sources import find_sources

SRT = (
    "1\n00:00:01,000 --> 00:00:03,000\n{\\an8}<i>The tide</i> is high.\n\n"
    "2\n00:00:04,000 --> 00:00:06,000\nIt\nfalls.\n"
)
SPOKEN = "The tide is high.\nIt\nfalls.\n"
OBJECTS = '{"text": "one"}\n{"text": "two"}\n'
LIST = '[{"text": "one"},\n "two"]'
PAGE = "<!-- a page -->\n<!DOCTYPE html>\n<p>one</p>"


def documents(path, **reading):
    found: list[str] = []
    for piece in read_pieces(find_sources([path]), Reading(**reading)):
        if piece.starts_document:
            found.append("")
        found[-1] += piece.text
    return found


def zipped(*members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.srt", SRT, [SPOKEN]),
        ("a.txt", SRT, [SPOKEN]),
        ("movie.en", "\ufeff" + SRT.replace("\n", "\r\n"), [SPOKEN]),
        ("a.json", OBJECTS, ["one", "two"]),
        ("a.json", LIST, ["one", "two"]),
        ("a.json", '{"version": 1, "data": [{"text": "one"}, {"text": "two"}]}', ["one", "two"]),
        ("a.json", '{"texts": ["one", "two"]}', ["one", "two"]),
        ("a.json", '{"text": "one", "tags": ["x"]}', ["one"]),
        ("a.json", '{\n "text": "one"\n}\n{\n "text": "two"\n}\n', ["one", "two"]),
        ("a.json", "[]", []),
        ("a.ndjson", OBJECTS, ["one", "two"]),
        ("a.jsonl", LIST, ["one", "two"]),
        ("a.jsonl", '{\n "text": "one"\n}\n', ["one"]),
        ("a", OBJECTS, ["one", "two"]),
        ("a.txt", LIST, ["one", "two"]),
        ("a.txt", '["one", "two"]', ["one", "two"]),
        ("a.txt", PAGE, ["one\n"]),
        ("a", PAGE, ["one\n"]),
    ],
)
def test_a_file_is_read_as_what_it_is(tmp_path, name, content, expected):
    (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    assert documents(tmp_path / name) == expected
    (tmp_path / "in.zip").write_bytes(zipped((name, content)))
    if not name.endswith((".json", "a", ".en")):  # which only a name makes text
        assert documents(tmp_path / "in.zip") == expected
    (tmp_path / "packed").write_bytes(gzip.compress(content.encode()))
    if name in ("a", "a.txt"):
        assert documents(tmp_path / "packed") == expected, "whatever it is compressed by, with or without the suffix"


@pytest.mark.parametrize(
    "prose",
    [
        "{The brace} opens a story.\n",
        '{"a": 1} is what JSON looks like, said the teacher.\n',
        '{"text": "one"}\nand then prose\n',
        "[1] Smith, A tide table.\n[2] Jones.\n",
        "[Enter HAMLET.]\nTo be.\n",
        '["Who is there?"] asked the guard.\n',
        "[1, 2, 3]\n",
        "1\nA chapter begins.\n",
        "1\n00:15 was the time.\n",
        "00:00:01,000 is a second.\n",
        "WEBVTT is a format of subtitles.\n",
        '"Who is there?"\n',
        "<i>The tide</i>\n",
        "BM, MZ, RIFF, ID3, GIF89a and PAR1 are letters.\n",
        "BM\n",
        "MZ was here.\n",
        "PK\n",
        "{}\n",
        "",
    ],
)
def test_prose_stays_text(tmp_path, prose):
    (tmp_path / "a.txt").write_text(prose, encoding="utf-8")
    (source,) = find_sources([tmp_path / "a.txt"])
    assert source.format == "text"
    assert "".join(documents(tmp_path / "a.txt")) == prose


@pytest.mark.parametrize("name", ["a.py", "a.tex", "a.xml", "a.ipynb"])
def test_other_suffixes_keep_json_and_pages_as_they_are(tmp_path, name):
    for content in (OBJECTS, PAGE):
        (tmp_path / name).write_text(content, encoding="utf-8")
        assert "".join(documents(tmp_path / name)) == content


def database():
    connection = sqlite3.connect(":memory:")
    connection.execute("create table t (x)")
    return connection.serialize()


def tar():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"))
    return file.getvalue()


def array():
    file = io.BytesIO()
    np.savez(file, x=np.zeros(3))
    return file.getvalue()


BINARY = [
    (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a PDF document: convert"),
    (b"{\\rtf1\\ansi Tide}", "an RTF document.*save it as plain text"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "an old Office document"),
    (zipped(("[Content_Types].xml", "<x/>"), ("word/document.xml", "<x/>")), "an Office document"),
    (zipped(("mimetype", "application/epub+zip"), ("x.html", "")), "an EPUB book"),
    (array(), "arrays or weights"),
    (database(), "an SQLite database"),
    (pickle.dumps({"text": "tide"}), "a pickle of Python"),
    (pickle.dumps(["tide"], protocol=2), "a pickle of Python"),
    (safetensors.numpy.save({"x": np.zeros(3)}), "the weights of a model"),
    (tar(), "a tar archive: unpack it"),
    (gzip.compress(tar()), "a tar archive: unpack it"),
    (gzip.compress(gzip.compress(b"tide")), "gzip data within compressed data"),
    (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG image: omit"),
    (b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG image"),
    (b"BM" + bytes(60), "a bitmap image"),
    (b"\x7fELF\x02\x01", "an executable"),
    (b"MZ\x90\0\x03", "an executable"),
    (b"\0\0\0\x18ftypmp42", "sound or video"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS.*git lfs pull"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "message"), BINARY)
@pytest.mark.parametrize("name", ["a.txt", "a", "a.csv", "a.jsonl", "a.srt"])
def test_a_file_that_is_no_text_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TidegateError, match=rf"{name} is {message}"):
        find_sources([tmp_path / name])


def test_utf16_without_a_mark_says_which_encoding(tmp_path):
    (tmp_path / "a.txt").write_bytes("The tide comes in, and goes.\n".encode("utf-16-le"))
    with pytest.raises(TidegateError, match="give --encoding utf-16-le"):
        documents(tmp_path / "a.txt")
    assert documents(tmp_path / "a.txt", encoding="auto") == ["The tide comes in, and goes.\n"]


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_text_needs_no_suffix(tmp_path, compress):
    (tmp_path / "notes.txt").write_bytes(compress(b"tide\n" * 9000))
    assert documents(tmp_path / "notes.txt") == ["tide\n" * 9000]
    (tmp_path / "a.txt.bz2").write_bytes(bz2.compress(b"tide\n"))
    assert documents(tmp_path / "a.txt.bz2") == ["tide\n"]


def test_an_archive_needs_no_suffix(tmp_path):
    (tmp_path / "archive").write_bytes(zipped(("b.srt", SRT), ("a.txt", "tide")))
    assert documents(tmp_path / "archive") == ["tide", SPOKEN]


def test_a_folder_has_subtitles_and_ndjson_but_no_settings(tmp_path):
    (tmp_path / "a.srt").write_text(SRT)
    (tmp_path / "b.ndjson").write_text(OBJECTS)
    (tmp_path / "package.json").write_text('{"name": "tide"}')
    assert documents(tmp_path) == [SPOKEN, "one", "two"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"text": "one"}, {"text": "tw', r"a\.json, line 1, is no JSON \(Unterminated"),
        ('[{"text": "one"},\n {"text" "two"}' + " " * 99, r"a\.json, line 2, is no JSON \(Expecting ':'"),
        ('[{"text": "one"} {"text": "two"}]', r"a\.json, line 1, is no JSON \(',' or '\]' was expected"),
        ('[{"text": "one"}\n,', r"a\.json, line 2, is no JSON"),
        ("[1]", r"a\.json, item 1 \(line 1\), is no JSON object but a number"),
        ('[{"text": "one"},\n{"body": "x"}]', r"a\.json, item 2 \(line 2\), has no field 'text'.*--columns"),
        ('{"a": [{"text": "x"}], "b": [{"text": "y"}]}', r"one object with the lists 'a', 'b'"),
        ("[" * 20_000, "is no JSON"),
        ("1" * 5000, "is no JSON"),
    ],
)
def test_what_is_wrong_with_json_is_told_at_its_line(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(TidegateError, match=message):
        documents(tmp_path / "a.json")


def test_json_is_read_as_a_stream_and_a_value_has_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(json_values, "VALUE_CHARACTERS", 2**20)
    many = [{"text": f"{i} " + "潮" * 1000} for i in range(4000)]
    (tmp_path / "many.json").write_text(json.dumps(many, ensure_ascii=False, indent=1), encoding="utf-8")
    assert documents(tmp_path / "many.json") == [one["text"] for one in many]
    (tmp_path / "one.json").write_text(json.dumps({"text": "tide" * 2**20}))
    with pytest.raises(TidegateError, match=r"a JSON value of more than 1,048,576 characters: write one object per"):
        documents(tmp_path / "one.json")


def test_numbers_that_a_part_cuts_are_whole():
    parts = list('[{"text": 1}, 123, "a\\u6f6e", -4.5e3]')
    assert [value for _, value in json_values.json_items("a", parts)] == [{"text": 1}, 123, "a潮", -4500.0]


def test_what_was_recognized_is_told():
    files = [("a.srt", "subtitles"), ("b.txt", "subtitles"), ("c.txt", "json"), ("d.txt", "text"), ("e.csv", "csv")]
    assert told(files) == [
        "a.srt and 1 more: recognized as subtitles; only the spoken lines are read.",
        "c.txt: recognized as JSON; each item is a text.",
    ]


def test_prepare_shows_the_kinds_and_is_the_same_side_by_side(tmp_path, capsys):
    (tmp_path / "a.srt").write_text(SRT * 2000)
    (tmp_path / "b.ndjson").write_text("".join(json.dumps({"text": f"tide {i}"}) + "\n" for i in range(3000)))
    (tmp_path / "c.txt").write_text("plain text\n" * 3000)
    found = []
    for processes in ("1", "2"):
        cache = str(tmp_path / f"cache{processes}")
        assert main(["prepare", str(tmp_path), "--cache", cache, "--processes", processes, "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0]["kinds"] == {"subtitles": 1, "JSON lines": 1, "plain text": 1}
    assert "only the spoken lines" in found[0]["recognized"][0]
    assert found[0]["digest"] == found[1]["digest"]
    assert main(["prepare", str(tmp_path), "--cache", str(tmp_path / "cache1")]) == 0
    assert "1 × subtitles, 1 × JSON lines, 1 × plain text" in " ".join(capsys.readouterr().out.split())
