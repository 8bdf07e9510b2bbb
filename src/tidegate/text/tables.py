"""Tables, .csv and .tsv, row by row, as RFC 4180 has them: which quotation marks stand around a cell, which are text.

A cell is quoted where a quotation mark is the first thing in it; within it two of them stand for one, and delimiters
and line ends are text. Python's csv module takes whatever follows: a quotation mark that never closes holds the rest of
the file, and one that closes too early loses characters. Here both are errors, or, between tabs, text: few programs
that write a table with tabs quote anything, and those that do, do it well.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple, final

from tidegate.errors import TidegateError, nearest
from tidegate.text.encodings import LINE_BYTES, decode_stream, text_lines
from tidegate.text.sources import Source

DELIMITERS = (",", ";", "\t", "|")
LONGEST_NAME = 60
"""characters from which on what should be the name of a table's only column is taken for a text"""
_QUOTED = re.compile(r'"[^"]*(?:"|$)')
_CELL = re.compile(r'[^"]*+(?:""[^"]*+)*+"')
"""the rest of a quoted cell, with the quotation mark that closes it"""
_DOUBLED = re.compile(r'[^\t\n"](?:"")+|(?:"")+[^\t\n"]')
"""quotation marks that are doubled, and no empty cell in them"""
_SEPARATOR = re.compile(r'"?sep=([^\w\s"]|\t)"?\n', re.IGNORECASE)
_SENTENCE = re.compile(r"[.!?。！？…]['\"”’」』)]*$")


class Row(NamedTuple):
    """A row of a table."""

    where: str
    """the file and the line that it begins on, for messages"""
    cells: list[str]


def delimiter_of(line: str) -> str:
    """Return the delimiter that a table's first line has most of outside of quotation marks; a comma where it has
    none."""
    outside = _QUOTED.sub("", line)
    return max(DELIMITERS, key=outside.count)


def is_number(column: str) -> bool:
    """Whether a column is given by its number."""
    return column.isascii() and column.isdecimal()


# ---- Rows ------------------------------------------------------------------------------------------------------------


class _NotQuotedError(Exception):
    """A quotation mark between tabs that stands for itself."""


class RowReader:
    """Cuts lines into the cells of rows; `opened` is the line that the last row begins on."""

    def __init__(self, name: str, lines: Iterator[str], delimiter: str | None) -> None:
        """name: how messages call the file; delimiter: None where the first line tells it."""
        self._name, self._lines = name, lines
        self._ahead: deque[str] = deque()
        self._number = 0
        self.opened = 0
        self.width: int | None = None
        """columns that a row has, once that is known"""
        self.delimiter = delimiter or ","
        first = self._next()
        if first is not None and (separator := _SEPARATOR.fullmatch(first)):  # what Excel reads a table by
            self.delimiter = separator[1]
        elif first is not None:
            self.delimiter = delimiter or delimiter_of(first)
            self._put_back([first])
        self._ends = f"{self.delimiter}\n"
        self._lone = self._quotes = False
        """between tabs: whether a quotation mark was text, and whether a program quoted a cell that needs it"""

    def __iter__(self) -> Iterator[list[str]]:
        """Yield the cells of each row; an empty line is none."""
        while (line := self._next()) is not None:
            self.opened = self._number
            if line == "\n" or (self.width != 1 and line.isspace() and self.delimiter not in line):
                continue
            yield self._cells(line) if '"' in line else line[:-1].split(self.delimiter)

    def _next(self) -> str | None:
        line = self._ahead.popleft() if self._ahead else next(self._lines, None)
        self._number += line is not None
        return line

    def _put_back(self, lines: Sequence[str]) -> None:
        self._ahead.extendleft(reversed(lines))
        self._number -= len(lines)

    def _cells(self, line: str) -> list[str]:
        cells: list[str] = []
        at = 0
        while True:
            start = at if line[at] != " " or self.delimiter == "\t" else _behind_spaces(line, at)
            quoted = self._quoted(line, start) if line[start] == '"' else None
            if quoted is not None:
                cell, line, at = quoted
            else:
                end = line.find(self.delimiter, at)
                end = len(line) - 1 if end < 0 else end
                cell, at = line[at:end], end
            cells.append(cell)
            if line[at] == "\n":
                return cells
            at += 1

    def _quoted(self, line: str, start: int) -> tuple[str, str, int] | None:
        """Return the quoted cell that opens in a line, the line that it closes in, and where it ends there; None where
        the quotation mark is text."""
        at = start + 1
        if (end := _closing(line, at)) >= 0 and line[end + 1] in self._ends:  # nearly all
            return self._unquoted(line[at:end]), line, end + 1
        opened, parts, taken, size = self._number, [], [line], 0
        try:
            while (end := _closing(line, at)) < 0:
                parts.append(line[at:])
                size += len(line) - at
                following = self._next() if size <= LINE_BYTES else None
                if following is None:
                    raise self._wrong(opened, "never closes" if size <= LINE_BYTES else _too_long())
                taken.append(following)
                line, at = following, 0
            after = end + 1 if self.delimiter == "\t" else _behind_spaces(line, end + 1)
            if line[after] not in self._ends:
                raise self._wrong(opened, self._closes_early(line, end))
            parts.append(line[at:end])
            cell = self._unquoted("".join(parts))
            if self._are_rows(taken):
                raise _NotQuotedError
        except _NotQuotedError:
            self._put_back(taken[1:])
            return None
        return cell, line, after

    def _unquoted(self, cell: str) -> str:
        if '"' not in cell:
            return cell
        self._quotes = self._quotes or _DOUBLED.search(cell) is not None
        return cell.replace('""', '"')

    def _are_rows(self, lines: Sequence[str]) -> bool:
        """Whether lines between tabs from one that opens a quotation mark to one that closes it are rows, in which
        these have nothing to do with each other: each line has the table's columns. Where quotation marks have been
        doubled before, as a program does, and none was text, it is one cell all the same."""
        if self.delimiter != "\t" or len(lines) == 1 or self.width in (None, 1):
            return False
        return (self._lone or not self._quotes) and all(line.count("\t") + 1 == self.width for line in lines)

    def _closes_early(self, line: str, end: int) -> str:
        where = f"closes on line {self._number}, column {end + 1}, before the end of the field"
        if line[end - 1 : end] == "\\":
            return f"{where}: a backslash before a quotation mark is not read as an escape"
        return where

    def _wrong(self, opened: int, what: str) -> Exception:
        if self.delimiter == "\t":
            self._lone = True
            return _NotQuotedError()
        return TidegateError(
            f"{self._name}, line {opened}: a quotation mark opens a field here and {what}. Put quotation marks around "
            'the whole field and double those inside it, as in "a ""fine"" room", or export the table again by a '
            "program that does."
        )


def _too_long() -> str:
    return f"does not close within {LINE_BYTES:,} characters"


def _behind_spaces(line: str, at: int) -> int:
    while line[at] == " ":
        at += 1
    return at


def _closing(line: str, at: int) -> int:
    """Return where the quotation mark stands that closes a cell, -1 where none does; two of them are text."""
    found = _CELL.match(line, at)
    return -1 if found is None else found.end() - 1


# ---- Tables ----------------------------------------------------------------------------------------------------------


@final
class Table:
    """A .csv or .tsv that is open."""

    def __init__(self, source: Source, stream: BinaryIO, encoding: str) -> None:
        self.name = source.name
        lines = text_lines(source.name, decode_stream(source.name, stream, encoding))
        self._reader = RowReader(source.name, lines, "\t" if source.format == "tsv" else None)
        self.delimiter = self._reader.delimiter
        self._rows = iter(self._reader)
        self._first = next(self._rows, [])
        self._first_line = self._reader.opened
        self.header = [name.strip() for name in self._first]
        """the cells of the first row, which name the columns if `has_header`"""
        self.has_header = True
        self.width = len(self.header)
        while self.width > 1 and not self.header[self.width - 1]:
            self.width -= 1
        self._reader.width = self.width

    def places(self, columns: Sequence[str]) -> list[int]:
        """Return where columns stand that are given by name; or by number, counted from 1, which says that the table
        has no header: then its first row is one as all others."""
        if columns and all(map(self.by_number, columns)):
            self._check_no_header(columns)
            self.has_header = False
            return [int(column) - 1 for column in columns]
        return [place_of(self.name, column, self.header, NO_HEADER) for column in columns]

    def by_number(self, column: str) -> bool:
        """Whether this is the number of a column, and no name: pandas names columns 0, 1, 2 that have no name."""
        numbered = any(self.header == [str(i) for i in range(k, k + len(self.header))] for k in (0, 1))
        return is_number(column) and 1 <= int(column) <= len(self.header) and not (numbered and column in self.header)

    def rows(self) -> Iterator[Row]:
        """Yield the rows; a TidegateError names the line of one that has more or fewer columns than the first."""
        if not self.has_header:
            yield Row(f"{self.name}, line {self._first_line}", self._first)
        for cells in self._rows:
            if len(cells) < self.width or any(cells[len(self.header) :]):
                raise self._uneven(cells)
            yield Row(f"{self.name}, line {self._reader.opened}", cells)

    def _uneven(self, cells: list[str]) -> TidegateError:
        names = f"names {len(self.header)} ({', '.join(self.header)[:200]})"
        if not self.has_header:
            names = f"has {len(self.header)}"
        return TidegateError(
            f"{self.name}, line {self._reader.opened}: {len(cells)} columns, but the first line {names}: mend this "
            f"line. Text with {self.delimiter!r} or a line end in it stands in quotation marks."
        )

    def _check_no_header(self, columns: Sequence[str]) -> None:
        for column in columns:
            cell = self.header[int(column) - 1]
            if cell.casefold() in ("text", "label"):
                raise TidegateError(
                    f"{self.name}: column {column} is given by its number, as of a table without a header, but the "
                    f"first line has {cell!r} there, which is a name: give the columns by their names."
                )


NO_HEADER = (
    " Where the first line is a row and names no columns, give columns by their numbers, counted from 1, such as "
    "--columns 1."
)


def looks_like_text(name: str) -> bool:
    """Whether what should be the name of a column is rather a text."""
    return len(name) > LONGEST_NAME or "\n" in name or (len(name) > 1 and _SENTENCE.search(name) is not None)


def place_of(name: str, column: str, header: Sequence[str], hint: str = "") -> int:
    """Return where the column of this name stands; name: how messages call the table; hint: what to try besides."""
    if column not in header:
        shown = ", ".join(repr(one[:80]) for one in header)[:500]
        raise TidegateError(f"{name} has no column {column!r}{nearest(column, header)}; its columns: {shown}.{hint}")
    if header.count(column) > 1:
        raise TidegateError(f"{name} has the column {column!r} {header.count(column)} times: rename all but one.")
    return list(header).index(column)
