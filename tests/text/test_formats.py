"""Every format, plain and within others, gives the same documents."""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import sys
import time
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.errors import TidegateError
from tidegate.text.blocks import cut_parts
from tidegate.text.corpus import read_pieces
from tidegate.text.formats import Reading
from tidegate.text.html_text import html_text
from tidegate.text.normalize import normalize
from tidegate.text.sources import find_sources

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXTS = ["床前明月光，\n疑是地上霜。", 'She said: "no, never".', "third; one\tmore"]
COMPRESS = {".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstd.compress}


def documents(*paths: Path, **reading) -> list[str]:
    found: list[str] = []
    for piece in read_pieces(find_sources(paths), Reading(**reading)):
        if piece.starts_document:
            found.append("")
        found[-1] += piece.text
    return found


def table(delimiter: str, encoding: str = "utf-8") -> bytes:
    file = io.StringIO()
    rows = csv.writer(file, delimiter=delimiter)  # ends its lines with \r\n, as Excel does
    rows.writerow(["id", "text", "note"])
    rows.writerows([number, text, "x"] for number, text in enumerate(TEXTS))
    return file.getvalue().encode(encoding)


JSONL = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode()


@pytest.mark.parametrize("suffix", ["", *COMPRESS])
@pytest.mark.parametrize(("name", "data"), [("a.csv", table(",")), ("a.tsv", table("\t")), ("a.jsonl", JSONL)])
def test_tables_and_lines_have_the_same_documents(tmp_path, name, data, suffix):
    path = tmp_path / (name + suffix)
    path.write_bytes(COMPRESS[suffix](data) if suffix else data)
    assert documents(path) == TEXTS
    assert documents(tmp_path) == TEXTS, "and are found in a folder"


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_compressed_text_is_the_text(tmp_path, suffix):
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(COMPRESS[suffix](TEXTS[0].encode()) + COMPRESS[suffix]("再来".encode()))
    assert documents(path) == [TEXTS[0] + "再来"], "of two members one after another too"
    path.write_bytes(COMPRESS[suffix](TEXTS[0].encode() * 50)[:-9])
    with pytest.raises(TidegateError, match=rf"a\.txt{suffix} could not be read"):
        documents(path)
    path.write_bytes(b"plain text")
    with pytest.raises(TidegateError, match="could not be read"):
        documents(path)


def test_a_zip_has_the_files_in_it(tmp_path):
    path = tmp_path / "novels.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b/二.txt", TEXTS[0])
        archive.writestr("a.csv", table(","))
        archive.writestr("c.txt.gz", gzip.compress(b"packed twice"))
        for other in ("picture.png", ".hidden.txt", "__MACOSX/b/x.txt"):
            archive.writestr(other, "no text")
    assert documents(path) == [*TEXTS, TEXTS[0], "packed twice"]
    assert [Path(source.name).name for source in find_sources([tmp_path])] == ["a.csv", "二.txt", "c.txt.gz"]
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(TidegateError, match=r"could not be read as a \.zip"):
        documents(path)


def test_an_encrypted_or_empty_zip_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.png", "no text")
    with pytest.raises(TidegateError, match="has no text"):
        documents(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.txt", "secret")
    data = bytearray(path.read_bytes())
    data[6] |= 1  # the flag of encryption, in the member's own header and in the directory
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(TidegateError, match=r"is encrypted \(x\.txt\)"):
        documents(path)


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "utf-8-sig"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_as_a_spreadsheet_saves_it(tmp_path, delimiter, encoding):
    path = tmp_path / "a.csv"
    path.write_bytes(table(delimiter, encoding))
    assert documents(path, encoding="auto") == TEXTS


def test_columns_are_chosen_and_joined(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(table(","))
    assert documents(path, columns=("note", "text"))[1] == "x\n" + TEXTS[1]
    path = tmp_path / "one.csv"
    path.write_text("review\ngood\n\n好\n", encoding="utf-8")
    assert documents(path) == ["good", "好"]
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"title": "t", "body": "b", "n": 3}\n', encoding="utf-8")
    assert documents(lines, columns=("title", "body")) == ["t\nb"]
    with pytest.raises(TidegateError, match="has a number in its field 'n'"):
        documents(lines, columns=("n",))


@pytest.mark.parametrize(
    ("content", "columns", "said"),
    [
        ("a,b\n1,2\n", (), "has the columns 'a', 'b', none of them 'text': name those of the text by --columns"),
        ("text,b\n1,2\n", ("txt",), "has no column 'txt' (did you mean 'text'?); its columns: 'text', 'b'"),
        ("b,text\n1,2\n3\n", (), "line 3: 1 columns, but the first line names 2 (b, text)"),
        ("text\n" + '"' + "x" * 300, (), "line 2: a quotation mark opens a field here and does not close within 200"),
        ("text\n" + "x" * 300, (), "line 2, is longer than 200 characters"),
    ],
)
def test_a_bad_table_says_what_was_found(tmp_path, monkeypatch, content, columns, said):
    monkeypatch.setattr("tidegate.text.tables.LINE_BYTES", 200)
    for name, value in (("LINE_BYTES", 200), ("SAMPLE_BYTES", 50), ("BLOCK_BYTES", 50)):
        monkeypatch.setattr(f"tidegate.text.encodings.{name}", value)
    path = tmp_path / "a.csv"
    path.write_text(content.replace("x" * 300, ("x" * 99 + "\n") * 3 if '"' in content else "x" * 300))
    with pytest.raises(TidegateError) as raised:
        documents(path, columns=columns)
    assert said in str(raised.value)


def test_parquet_has_the_same_documents(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(arrow.table({"n": [1, 2, 3], "text": TEXTS}), path)
    assert documents(tmp_path) == TEXTS
    with pytest.raises(TidegateError, match="the column 'n' holds int64, not text"):
        documents(path, columns=("n",))
    with pytest.raises(TidegateError, match=r"no column 'tex' \(did you mean 'text'"):
        documents(path, columns=("tex",))
    parquet.write_table(arrow.table({"text": ["a", None]}), path)
    with pytest.raises(TidegateError, match="row 2, has no text"):
        documents(path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(TidegateError, match="could not be read"):
        documents(path)


PAGE = """<!DOCTYPE html><html><head><meta charset="{}"><title>标题</title><style>p {{}}</style></head><body>
<h1>第一回</h1><p>床前 <b>明月</b>光，<br>疑是
地上霜。</p><script>let x = "<p>no</p>";</script><p>Tom &amp; Jerry &#x4e2d;</p>
<pre>def f():
    return 1</pre><ul><li>one<li>two</ul><table><tr><td>a</td><td>b</td></tr></table></body></html>"""
PAGE_TEXT = "第一回\n\n床前 明月光，\n疑是 地上霜。\n\nTom & Jerry 中\n\ndef f():\n    return 1\n\none\ntwo\n\na\tb\n"


@pytest.mark.parametrize("encoding", ["utf-8", "gb2312", "big5"])
def test_a_page_is_what_a_reader_sees(tmp_path, encoding):
    path = tmp_path / "a.html"
    page = PAGE if encoding != "big5" else PAGE.replace("标题", "標題").replace("光", "光").replace("疑是", "疑是")
    path.write_bytes(page.format(encoding).encode(encoding))
    assert [normalize(text).replace("\t\n", "\n") for text in documents(path)] == [PAGE_TEXT]


@given(page=st.text(st.sampled_from('<>/"=&;# \n\tbrpescity中x!-'), max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_page_has_some_text(page):
    text = html_text(page)
    assert text == "" or text.endswith("\n")
    assert "\r" not in text


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<html><head><title>t</title><body><p>Hello world", "Hello world\n"),
        ("<head><title>t</title><style>b{}</style>Hello", "Hello\n"),
        ("<head><meta charset=utf-8><p>one<p>two", "one\n\ntwo\n"),
        ("<p>a <![foo[ b ]]> c</p>", "a c\n"),
        ("a <![ x", "a <![ x\n"),
        ("<p>1 &lt; 2<svg><title>x</title></svg> b &amp; c", "1 < 2 b & c\n"),
        ("<svg><g></noscript>hidden</svg>shown", "shown\n"),
    ],
)
def test_pages_as_people_write_them(page, text):
    assert html_text(page) == text


@pytest.mark.parametrize("piece", ["<!--a>", "<!a", "<a <!--", "</a <", "<![", "<?x>", "&"])
def test_a_page_of_nothing_but_beginnings_takes_no_longer_a_piece(piece):
    """Half a megabyte: what looked for an end from each of them took hours."""
    began = time.process_time()
    html_text(piece * (500_000 // len(piece)))
    assert time.process_time() - began < 20


def test_a_page_too_large_is_refused(tmp_path, monkeypatch):
    from tidegate.text import formats

    monkeypatch.setattr(formats, "PAGE_CHARACTERS", 50)
    path = tmp_path / "a.html"
    path.write_text("<p>" + "word " * 20)
    with pytest.raises(TidegateError, match="more than 50 characters"):
        documents(path)


RAW = st.text(st.sampled_from("ab \r\n\u0301\u0323汉é") | st.characters(exclude_categories=["Cs"]), max_size=80)


@given(text=RAW, cuts=st.lists(st.integers(0, 80), max_size=6), limit=st.integers(1, 30))
@settings(max_examples=300, deadline=None)
def test_parts_depend_on_the_text_alone_and_normalise_each_by_itself(text, cuts, limit):
    bounds = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    given_parts = [text[a:b] for a, b in pairwise(bounds)]
    parts = list(cut_parts(given_parts, limit))
    assert "".join(parts) == text
    assert parts == list(cut_parts([text], limit))
    assert all(0 < len(part) <= limit for part in parts)
    if limit > 1 and not _torn(parts):
        assert "".join(map(normalize, parts)) == normalize(text)


def _torn(parts):
    """Whether a part is nothing but marks, which no cut of this size can keep together."""
    from tidegate.text.normalize import begins_anew

    return any(not begins_anew(part[0]) for part in parts[1:])


@pytest.mark.parametrize("table", ["text\nHello, world\n", "id,text\n1,Hello, world\n"])
def test_a_row_with_more_than_the_header_names_is_refused_not_cut(tmp_path, table):
    path = tmp_path / "a.csv"
    path.write_text(table)
    with pytest.raises(TidegateError, match=r"line 2: \d columns, .* in quotation marks"):
        documents(path)
    path.write_text("id,text\n1,Hello,,\n")  # empty ones at the end, as spreadsheets leave them
    assert documents(path) == ["Hello"]


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,text\na,b\n")
    with pytest.raises(TidegateError, match="'text' 2 times"):
        documents(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_the_encoding_of_json_lines_is_guessed_too(tmp_path, encoding):
    path = tmp_path / "a.jsonl"
    texts = ["的一是不了在人有我他，这个们中来上大为和国。" * 3, "地到以说时要就出会可也"]
    path.write_bytes("".join(json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in texts).encode(encoding))
    assert documents(path, encoding="auto") == texts
    if encoding == "utf-16":  # whose mark goes before what is given
        assert documents(path) == texts


def test_json_lines_longer_than_what_is_looked_at_first(tmp_path, monkeypatch):
    monkeypatch.setattr("tidegate.text.formats.BLOCK_BYTES", 7)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + JSONL)
    assert documents(path) == TEXTS


def test_a_zip_whose_directory_is_damaged_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("\u6587\u672c.txt", "text")
    data = path.read_bytes()
    name = "\u6587".encode()
    directory = data.index(b"PK\1\2")
    place = data.index(name, directory)
    path.write_bytes(data[:place] + b"\xff" + data[place + 1 :])
    with pytest.raises(TidegateError, match=r"could not be read as a \.zip"):
        documents(path)


def test_a_zip_that_is_replaced_after_it_was_listed(tmp_path):
    path = tmp_path / "a.zip"
    for name in ("one.txt", "two.txt"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, "text")
        if name == "one.txt":
            sources = find_sources([path])
    with pytest.raises(TidegateError, match=r"one\.txt"):
        list(read_pieces(sources, Reading()))


def test_a_parquet_whose_strings_are_no_utf8_is_refused(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    bad = arrow.array([b"good", b"\xff\xfe"]).view(arrow.string())
    path = tmp_path / "a.parquet"
    parquet.write_table(arrow.table({"text": bad}), path)
    with pytest.raises(TidegateError, match="row 2, is not UTF-8"):
        documents(path)
