"""Tables: which quotation marks are text, which stand around a cell, and that no row is lost without a word."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.errors import TidegateError
from tidegate.text import encodings
from tidegate.text.formats import Reading, read_documents
from tidegate.text.sources import find_sources
from tidegate.text.tables import RowReader, delimiter_of

CELLS = st.text(st.sampled_from('ab ",;\t|\n\\汉'), max_size=6)


def texts(tmp_path, content, suffix=".csv", **reading):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (source,) = find_sources([path])
    with source.open() as (stream, _):
        return ["".join(parts) for parts in read_documents(source, stream, Reading(**reading))]


def rows(content, delimiter=","):
    reader = RowReader("a", iter(content.splitlines(keepends=True)), delimiter)
    found = []
    for row in reader:
        found.append(row)
        reader.width = reader.width or len(row)
    return found


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('label,text\n1,fine\n0,"noisy street\n1,lovely\n', "line 3: a quotation mark opens a field here and never"),
        ('text,label\nfine,1\n"noisy\nlovely,1\n"kind, really",1\n', "line 3: .* closes on line 5, column 1, before"),
        ('label,text\n1,"superb" soup\n', "line 2: .* closes on line 2, column 10, before the end of the field"),
        ('label,text\n1,"a \\"superb\\" soup"\n', "line 2: .* a backslash before a quotation mark is not read"),
        ('label,text\n1,"the \\"best\\", really"\n', "line 2: .* a backslash"),
        ('label,text\n1,"it ends in \\"this\\""\n0,"plain"\n', "line 2: .* a backslash"),
        ('label,text\n1,"fine\n', "line 2: .* never closes"),
        ('label,text\n1, "fine" room\n', "line 2: .* closes on line 2"),
        ('"label","text\n1,fine\n', "line 1: .* never closes"),
    ],
)
def test_a_quotation_mark_that_closes_nowhere_or_too_early_is_told(tmp_path, content, said):
    with pytest.raises(TidegateError, match=said):
        texts(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('text\tlabel\n"Bread\tgood\nrude\tbad\n"Soup\tgood\ncold\tbad\n', ['"Bread', "rude", '"Soup', "cold"]),
        ('text\tlabel\n"Best\tgood\nbread"\tbad\n', ['"Best', 'bread"']),
        ('text\tlabel\n"Superb" soup\tgood\n', ['"Superb" soup']),
        ('text\tlabel\nHe said "no"\tgood\nand "yes"\tbad\n', ['He said "no"', 'and "yes"']),
        ('text\tlabel\n"two\nlines,\ttab, ""so"" it is"\tgood\nb\tbad\n', ['two\nlines,\ttab, "so" it is', "b"]),
        ('label\ttext\na\t"He said ""no""."\nb\t"two\nlines,\ttab"\n', ['He said "no".', "two\nlines,\ttab"]),
        ('n\ttext\na\t"no\nb\t"yes"\nc\t"x ""y"""\nb\t"two\nlines\ttab"\n', ['"no', "yes", 'x "y"', '"two', 'tab"']),
        ('text\tlabel\n"One line"\tgood\n', ["One line"]),
        ('text\tlabel\n""\tgood\n"\tbad\n', ["", '"']),
        ('text\n"two\nlines"\n', ["two\nlines"]),
        ('label\ttext\ngood\t"Best\nbad\trude\n', ['"Best', "rude"]),
    ],
)  # fmt: skip
def test_between_tabs_a_quotation_mark_without_a_partner_is_text(tmp_path, content, found):
    assert texts(tmp_path, content, ".tsv") == found
    if "\t" in content:
        assert texts(tmp_path, content, ".csv") == found, "by the delimiter, not by the suffix"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('label,text\n1,a 5" disk\n0,3" and 5"\n', ['a 5" disk', '3" and 5"']),
        ('label,text\n1, "fine, really" \n', ["fine, really"]),
        ("label,text\n1, fine\n", [" fine"]),
        ('label,text\n1,C:\\dir\\\n0,"C:\\dir\\"\n', ["C:\\dir\\", "C:\\dir\\"]),
        ('label,text\n\n1,"two\n\nlines"\n\n  \n0,b\n\n', ["two\n\nlines", "b"]),
        ("label;text\n1;so, so\n", ["so, so"]),
        ('"a;b;c",text\n1,x\n', ["x"]),
        ("sep=;\nlabel;text\n1;so, so\n", ["so, so"]),
        ('"sep=,"\r\nlabel,text\r\n1,a;b;c\r\n', ["a;b;c"]),
        ("label|text\r1|a\r0|b\r", ["a", "b"]),
        (b"\xef\xbb\xbf\"text\",\"label\"\n\"a, b\",1\n", ["a, b"]),
        ("label,text,,\n1,a,,\n0,b\n", ["a", "b"]),
        ('text\n""\na\n', ["", "a"]),
        ("\n\ntext,label\na,1\n", ["a"]),
        ("", []),
        ("text\n", []),
    ],
)  # fmt: skip
def test_tables_as_programs_write_them(tmp_path, content, found):
    assert texts(tmp_path, content) == found


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("label,text\n1,a,b\n", r"line 2: 3 columns, but the first line names 2 \(label, text\)"),
        ("text,label\nan unquoted\nline end,1\n", "line 2: 1 columns, .* or a line end in it stands in quotation"),
        ("label,text\n1,a\x00b\n", "NUL byte at offset 14"),
        ("good,nice room\nbad,noise\n", r"--columns\. Where the first line is a row .* by their numbers"),
        ("The room was fine.\nSo was the bath.\n", "looks like a text.* or give --columns 1"),
        ("这家酒店很好。\n太吵\n", "looks like a text"),
    ],
)
def test_what_is_wrong_with_a_table_is_told(tmp_path, content, said):
    with pytest.raises(TidegateError, match=said):
        texts(tmp_path, content)


def test_columns_by_number_are_of_a_table_without_a_header(tmp_path):
    content = "good,nice room\nbad,noise\n"
    assert texts(tmp_path, content, columns=("2",)) == ["nice room", "noise"]
    assert texts(tmp_path, content, columns=("2", "1")) == ["nice room\ngood", "noise\nbad"]
    assert texts(tmp_path, "1,2\n3,4\n", columns=("2",)) == ["4"], "pandas' names of columns without one"
    assert texts(tmp_path, "0,1\n3,4\n", columns=("0",)) == ["3"]
    with pytest.raises(TidegateError, match="first line has 'text' there, which is a name"):
        texts(tmp_path, "label,text\n1,a\n", columns=("2",))
    with pytest.raises(TidegateError, match="no column '3'"):
        texts(tmp_path, content, columns=("3",))
    with pytest.raises(TidegateError, match="line 2: 3 columns, but the first line has 2"):
        texts(tmp_path, "good,nice room\nbad,noise,smell\n", columns=("2",))


@given(st.lists(st.lists(CELLS, min_size=2, max_size=4), min_size=1, max_size=5), st.sampled_from(",;\t|"))
@settings(max_examples=400, deadline=None)
def test_what_a_program_writes_is_read(table, delimiter):
    table = [(row * 4)[:3] for row in table]
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(table)
    lines = file.getvalue().split("\n")
    if delimiter == "\t" and any(line.count("\t") == 2 and '"' in line for line in lines[1:]):
        return  # several lines with tabs in one cell, which might be rows as well
    assert rows(file.getvalue(), delimiter) == table


BY_HAND = st.text(st.sampled_from('ab" '), max_size=4).filter(lambda cell: '""' not in cell)


@given(st.lists(st.lists(BY_HAND, min_size=2, max_size=2), min_size=1, max_size=8))
@settings(max_examples=400, deadline=None)
def test_of_a_table_without_quoted_cells_no_row_is_lost(table):
    """Between tabs each line is a row, whatever quotation marks there are: or the line is told."""
    content = "x\ty\n" + "".join("\t".join(row) + "\n" for row in table)
    found = rows(content, "\t")[1:]
    whole = [row for row in found if len(row) == 2]
    if len(whole) == len(found):
        assert len(found) == len(table)
        for row, cells in zip(found, table, strict=True):
            assert [cell.replace('"', "") for cell in row] == [cell.replace('"', "") for cell in cells]


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_rows_with_quotation_marks_by_hand_are_all_read_or_refused(table):
    """Cells joined by commas, with nothing quoted: each line is a row, or an error."""
    table = [[cell.replace("\n", "").replace(",", "") for cell in row] for row in table]
    lines = [",".join(row) for row in table]
    try:
        found = rows("".join(f"{line}\n" for line in lines))
    except TidegateError:
        assert any('"' in line for line in lines)
        return
    if not any('"' in line for line in lines):
        assert found == table


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_a_quoted_cell_may_lie_over_any_border_of_blocks(tmp_path, monkeypatch, size):
    content = 'label,text\r\n1,"two\r\nlines, ""so"" 汉"\r\n0,"b"\r\n'
    monkeypatch.setattr(encodings, "BLOCK_BYTES", size)
    monkeypatch.setattr(encodings, "SAMPLE_BYTES", size)
    assert texts(tmp_path, content) == ['two\nlines, "so" 汉', "b"]


def test_a_long_cell_and_many_lone_quotation_marks_take_no_longer_a_line(tmp_path):
    long = "word " * 100_000 + "\n" + "more " * 100_000
    assert texts(tmp_path, f'label,text\n1,"{long}"\n') == [long]
    lone = "".join(f'"text {i}\t{i % 2}\n' for i in range(50_000))
    assert len(texts(tmp_path, "text\tlabel\n" + lone, ".tsv")) == 50_000


def test_the_delimiter_is_counted_outside_of_quotation_marks():
    assert delimiter_of('"a,b,c";text\n') == ";"
    assert delimiter_of("text\n") == ","
    assert delimiter_of('"a\n') == ","
