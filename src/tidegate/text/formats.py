"""A source becomes documents: the lines of a .jsonl, the rows of a table, or the file as a whole, read as a stream."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tidegate.errors import TidegateError, nearest
from tidegate.text.encodings import BLOCK_BYTES, canonical, chosen, decode_stream, decode_whole
from tidegate.text.html_text import declared_encoding
from tidegate.text.normalize import refuse_surrogates
from tidegate.text.sources import Source

LINE_BYTES = 2**26
"""Longest line of a .jsonl file, longest field of a table: 64 MiB."""
PAGE_CHARACTERS = 2**24
"""Largest .html page, which is held whole, some ten times over."""
PARQUET_ROWS = 64
"""rows of a .parquet that are decoded at a time: each may be a book"""
_DELIMITERS = (",", ";", "\t", "|")

Document = Iterable[str]
"""a document's text in parts, as it is read"""


@dataclass(frozen=True)
class Reading:
    """How files are read."""

    encoding: str = "utf-8"
    """what files without a byte-order mark have; ``auto``: guess it, file by file"""
    columns: tuple[str, ...] = ()
    """fields of a .jsonl and columns of a table that hold the text, joined by a line end; none: the one named text, or
    a table's only one"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "encoding", canonical(self.encoding))


def read_documents(source: Source, stream: BinaryIO, reading: Reading) -> Iterator[Document]:
    """Yield the documents of an open source. An html document is yet to be turned into its text.

    Errors: a TidegateError that names the file and the byte, the line or the row.
    """
    if source.format == "jsonl":
        return _json_lines(source, stream, reading)
    if source.format in ("csv", "tsv"):
        return _rows(source, stream, reading)
    if source.format == "parquet":
        return _parquet(source, reading)
    if source.format == "html":
        return iter([[_page(source, stream, reading)]])
    return iter([decode_stream(source.name, stream, reading.encoding)])


# ---- .jsonl ----------------------------------------------------------------------------------------------------------


def _json_lines(source: Source, stream: BinaryIO, reading: Reading) -> Iterator[Document]:
    names = reading.columns or ("text",)
    for where, document in json_objects(source, stream, reading, names[0]):
        yield (_field(document, names, f"{where},"),)


def json_objects(
    source: Source, stream: BinaryIO, reading: Reading, wanted: str = "text"
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the object of each line of a .jsonl that is not empty; wanted: a field, for messages."""
    head = stream.read(BLOCK_BYTES)
    encoding, mark = chosen(head, reading.encoding)
    whole = _Rest(head, stream)
    if encoding.startswith(("utf-16", "utf-32")):
        lines: Iterator[str] = _text_lines(source.name, decode_stream(source.name, whole, encoding))
    else:  # a line end is one byte, so that each line is decoded by itself and its errors have a place
        lines = _byte_lines(source, whole, encoding, mark)
    for number, line in enumerate(lines, 1):
        if content := line.strip():
            yield f"{source.name}, line {number}", _object(content, wanted, f"{source.name}, line {number},")


def _byte_lines(source: Source, stream: _Rest, encoding: str, mark: int) -> Iterator[str]:
    number, offset = 0, mark
    stream.read(mark)
    while line := stream.readline(LINE_BYTES + 1):
        number += 1
        if len(line) > LINE_BYTES:
            raise TidegateError(
                f"{source.name}, line {number}, is longer than {LINE_BYTES} bytes: cut this document into several."
            )
        if b"\0" in line:
            at = offset + line.index(0)
            raise TidegateError(f"{source.name} is a binary file, it has a NUL byte at offset {at}: omit it.")
        yield decode_whole(source.name, line, encoding, offset)
        offset += len(line)


def _object(line: str, wanted: str, where: str) -> dict[str, Any]:
    try:
        document: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TidegateError(f'{where} is no JSON ({error}): each line is one object such as {{"text": "…"}}.') from None
    if not isinstance(document, dict):
        raise TidegateError(
            f"{where} is no JSON object but {_json_type(document)}: each is one with the field {wanted!r}."
        )
    return document


def _field(document: dict[str, Any], names: Sequence[str], where: str) -> str:
    """Return the text of one line."""
    texts = []
    for name in names:
        if name not in document:
            known = ", ".join(map(repr, list(document)[:8])) or "none"
            raise TidegateError(
                f"{where} has no field {name!r}{nearest(name, document)}; its fields: {known}. "
                "Name that of the text by --columns."
            )
        text = document[name]
        if not isinstance(text, str):
            raise TidegateError(f"{where} has {_json_type(text)} in its field {name!r}: a string is wanted.")
        refuse_surrogates(text, where.rstrip(","))
        texts.append(text)
    return "\n".join(texts)


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    names = {
        bool: "a truth value",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "an object",
    }
    return names[type(value)]


# ---- Tables ----------------------------------------------------------------------------------------------------------


def _rows(source: Source, stream: BinaryIO, reading: Reading) -> Iterator[Document]:
    """Yield the text of each row of a .csv or .tsv."""

    def places(header: list[str]) -> list[int]:
        return [_place(source, header, name) for name in _columns(source, header, reading)]

    for _, cells in table_cells(source, stream, reading, places):
        yield ("\n".join(cells),)


def table_cells(
    source: Source, stream: BinaryIO, reading: Reading, places: Callable[[list[str]], Sequence[int]]
) -> Iterator[tuple[str, list[str]]]:
    """Yield the place of each row of a .csv or .tsv, and its cells in the columns that `places` chooses from the first
    row, which names them."""
    csv.field_size_limit(LINE_BYTES)
    lines = _text_lines(source.name, decode_stream(source.name, stream, reading.encoding))
    first = next(lines, None)
    if first is None:
        return
    delimiter = "\t" if source.format == "tsv" else max(_DELIMITERS, key=first.count)
    rows = csv.reader(_again(first, lines), delimiter=delimiter)
    try:
        header = [name.strip() for name in next(rows)]
        chosen_ones = places(header)
        for row in rows:
            if not row:
                continue
            if len(row) <= max(chosen_ones) or any(row[len(header) :]):
                raise TidegateError(
                    f"{source.name}, line {rows.line_num}: {len(row)} columns, but the first line names "
                    f"{len(header)} ({', '.join(header)[:200]}): mend this line. Text with {delimiter!r} in it stands "
                    "in quotation marks."
                )
            yield f"{source.name}, line {rows.line_num}", [row[place] for place in chosen_ones]
    except csv.Error as error:
        raise TidegateError(
            f"{source.name}, line {rows.line_num}: {error}: perhaps a quotation mark before it is never closed."
        ) from None


def _columns(source: Source, header: Sequence[str], reading: Reading) -> Sequence[str]:
    if reading.columns:
        return reading.columns
    if "text" in header:
        return ("text",)
    if len(header) == 1:
        return header
    raise TidegateError(
        f"{source.name} has the columns {', '.join(map(repr, header))[:500]}, none of them 'text': name those of the "
        "text by --columns."
    )


def _place(source: Source, header: Sequence[str], name: str) -> int:
    if name not in header:
        raise TidegateError(
            f"{source.name} has no column {name!r}{nearest(name, header)}; its columns: "
            f"{', '.join(map(repr, header))[:500]}."
        )
    if header.count(name) > 1:
        raise TidegateError(f"{source.name} has the column {name!r} {header.count(name)} times: rename all but one.")
    return header.index(name)


def _parquet(source: Source, reading: Reading) -> Iterator[Document]:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise TidegateError(
            f"{source.name}: reading .parquet needs pyarrow: install it by pip install 'tidegate[parquet]'."
        ) from None
    if not isinstance(source.resource, Path) or source.member is not None or source.compression is not None:
        raise TidegateError(f"{source.name}: a .parquet within another file cannot be read: unpack it first.")
    number = 0
    try:
        with parquet.ParquetFile(source.resource) as file:
            header = file.schema_arrow.names
            columns = _columns(source, header, reading)
            for name in columns:
                kind = file.schema_arrow.types[_place(source, header, name)]
                if not (arrow.types.is_string(kind) or arrow.types.is_large_string(kind)):
                    raise TidegateError(f"{source.name}: the column {name!r} holds {kind}, not text: name another.")
            for batch in file.iter_batches(batch_size=PARQUET_ROWS, columns=list(columns)):
                for cells in zip(*(batch.column(name) for name in columns), strict=True):
                    number += 1
                    try:
                        row = [cell.as_py() for cell in cells]
                    except UnicodeDecodeError:
                        raise TidegateError(
                            f"{source.name}, row {number}, is not UTF-8, as strings in a .parquet are: write it anew."
                        ) from None
                    if None in row:
                        raise TidegateError(f"{source.name}, row {number}, has no text: omit such rows.")
                    yield ("\n".join(row),)
    except (arrow.ArrowException, OSError) as error:
        raise TidegateError(f"{source.name} could not be read: {str(error).splitlines()[0]}.") from None


# ---- Pages and lines -------------------------------------------------------------------------------------------------


def _page(source: Source, stream: BinaryIO, reading: Reading) -> str:
    """Return a whole page; the encoding that it names itself goes before the one that is given."""
    head = stream.read(BLOCK_BYTES)
    encoding = reading.encoding
    if declared := declared_encoding(head):
        with contextlib.suppress(TidegateError):  # it may name none that there is
            found = canonical(declared)
            # who can read the declaration as ASCII knows that it is neither of these (HTML standard, 13.2.3.2)
            encoding = encoding if found.startswith(("utf-16", "utf-32")) else found
    page, size = [], 0
    for part in decode_stream(source.name, _Rest(head, stream), encoding):
        page.append(part)
        size += len(part)
        if size > PAGE_CHARACTERS:
            raise TidegateError(
                f"{source.name} has more than {PAGE_CHARACTERS:,} characters: cut this page in several."
            )
    return "".join(page)


class _Rest:
    """A stream whose first bytes were read already."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self._head, self._stream = io.BytesIO(head), stream

    def read(self, size: int) -> bytes:
        """Read at most so many bytes."""
        return self._head.read(size) or self._stream.read(size)

    def readline(self, size: int) -> bytes:
        """Read a line, with its end, or its first so many bytes."""
        line = self._head.readline(size)
        return line if line.endswith(b"\n") or len(line) == size else line + self._stream.readline(size - len(line))


def _text_lines(name: str, parts: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a text, each ending in \\n whatever its end was; one that is too long is a TidegateError."""
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    held: list[str] = []
    size = 0
    for part in parts:
        first, *others = newlines.decode(part).split("\n")
        held.append(first)
        size += len(first)
        if size > LINE_BYTES:
            raise TidegateError(f"{name} has a line of more than {LINE_BYTES:,} characters: cut it into several.")
        for line in others:
            yield "".join(held) + "\n"
            held, size = [line], len(line)
    if last := "".join(held) + newlines.decode("", final=True):
        yield last if last.endswith("\n") else last + "\n"


def _again(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest
