"""A source becomes documents: the items of JSON, the rows of a table, or the file as a whole, read as a stream."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tidegate.errors import TidegateError, nearest
from tidegate.text.encodings import (
    BLOCK_BYTES,
    LINE_BYTES,
    canonical,
    chosen,
    decode_stream,
    decode_whole,
    text_lines,
)
from tidegate.text.html_text import declared_encoding
from tidegate.text.json_values import json_items
from tidegate.text.normalize import refuse_surrogates
from tidegate.text.sources import Source
from tidegate.text.subtitles import spoken_lines
from tidegate.text.tables import NO_HEADER, Table, looks_like_text, place_of

PAGE_CHARACTERS = 2**24
"""Largest .html page, which is held whole, some ten times over."""
PARQUET_ROWS = 64
"""rows of a .parquet that are decoded at a time: each may be a book"""

Document = Iterable[str]
"""a document's text in parts, as it is read"""


@dataclass(frozen=True)
class Reading:
    """How files are read."""

    encoding: str = "utf-8"
    """what files without a byte-order mark have; ``auto``: guess it, file by file"""
    columns: tuple[str, ...] = ()
    """fields of a .jsonl and columns of a table that hold the text, joined by a line end; of a table also their
    numbers; none: the one named text, or a table's only one"""
    preferred: tuple[str, ...] = ()
    """columns that hold the text where `columns` names none and a file has all of these"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "encoding", canonical(self.encoding))


def read_documents(source: Source, stream: BinaryIO, reading: Reading) -> Iterator[Document]:
    """Yield the documents of an open source. An html document is yet to be turned into its text.

    Errors: a TidegateError that names the file and the byte, the line or the row.
    """
    if source.format == "jsonl":
        return _json_lines(source, stream, reading)
    if source.format == "json":
        return _json_documents(source, stream, reading)
    if source.format == "subtitles":
        lines = text_lines(source.name, decode_stream(source.name, stream, reading.encoding))
        return iter([spoken_lines(lines)])
    if source.format in ("csv", "tsv"):
        return _rows(source, stream, reading)
    if source.format == "parquet":
        return ((text,) for text, _ in parquet_rows(source, reading))
    if source.format == "html":
        return iter([[_page(source, stream, reading)]])
    return iter([decode_stream(source.name, stream, reading.encoding)])


# ---- JSON -----------------------------------------------------------------------------------------------------------


def _json_lines(source: Source, stream: BinaryIO, reading: Reading) -> Iterator[Document]:
    wanted = (reading.columns or ("text",))[0]
    for where, document in json_objects(source, stream, reading, wanted):
        yield (json_text(document, reading, f"{where},"),)


def json_text(document: dict[str, Any], reading: Reading, where: str) -> str:
    """Return the text of an object; a TidegateError where a field is missing, or no string."""
    preferred = reading.preferred if all(name in document for name in reading.preferred) else ()
    return _field(document, reading.columns or preferred or ("text",), where)


def _json_documents(source: Source, stream: BinaryIO, reading: Reading) -> Iterator[Document]:
    for _, text in json_texts(source, stream, reading):
        yield (text,)


def json_texts(source: Source, stream: BinaryIO, reading: Reading) -> Iterator[tuple[Any, str]]:
    """Yield the items of a .json, and the text of each, which it is or has in its field."""
    wanted = (reading.columns or ("text",))[0]
    for where, item in json_items(source.name, decode_stream(source.name, stream, reading.encoding), wanted):
        if isinstance(item, str):
            refuse_surrogates(item, where)
            yield item, item
        else:
            yield item, json_text(_required(item, wanted, f"{where},"), reading, f"{where},")


def json_objects(
    source: Source, stream: BinaryIO, reading: Reading, wanted: str = "text"
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the object of each line of a .jsonl that is not empty, or of each item of a .json; wanted: a
    field, for messages."""
    if source.format == "json":
        items = json_items(source.name, decode_stream(source.name, stream, reading.encoding), wanted)
        yield from ((where, _required(item, wanted, f"{where},")) for where, item in items)
        return
    head = stream.read(BLOCK_BYTES)
    encoding, mark = chosen(head, reading.encoding)
    whole = _Rest(head, stream)
    if encoding.startswith(("utf-16", "utf-32")):
        lines: Iterator[str] = text_lines(source.name, decode_stream(source.name, whole, encoding))
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
    return _required(document, wanted, where)


def _required(value: Any, wanted: str, where: str) -> dict[str, Any]:
    """Return a value that is an object."""
    if not isinstance(value, dict):
        raise TidegateError(
            f"{where} is no JSON object but {_json_type(value)}: each is one with the field {wanted!r}."
        )
    return value


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
    table = Table(source, stream, reading.encoding)
    places = text_places(table, reading)
    for row in table.rows() if table.header else ():
        yield ("\n".join(row.cells[place] for place in places),)


def text_places(table: Table, reading: Reading) -> list[int]:
    """Return where the columns of the text stand in a table; none in an empty one."""
    if not table.header:
        return []
    if reading.columns or not _all_there(table, reading.preferred):
        return table.places(_columns(table.name, table.header, reading.columns, NO_HEADER))
    return table.places(reading.preferred)


def _all_there(table: Table, preferred: Sequence[str]) -> bool:
    """Whether a table has all these columns; numbers are those of one without a header, which a name tells from it."""
    named = "text" in map(str.casefold, table.header)
    return bool(preferred) and all(
        (table.by_number(column) and not named) or column in table.header for column in preferred
    )


def _columns(name: str, header: Sequence[str], columns: Sequence[str], hint: str = "") -> Sequence[str]:
    """Return the columns of the text: those given, or the one named text, or the only one."""
    if columns:
        return columns
    if "text" in header:
        return ("text",)
    if len(header) == 1:
        if looks_like_text(header[0]):
            raise TidegateError(
                f"{name} begins with {header[0][:80]!r}, which looks like a text, not like the name of its only "
                "column: add a first line that names it, or give --columns 1 where the table has no header."
            )
        return header
    raise TidegateError(
        f"{name} has the columns {', '.join(map(repr, header))[:500]}, none of them 'text': name those of the text by "
        f"--columns.{hint}"
    )


def parquet_rows(source: Source, reading: Reading, *, whole: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the text of each row, and the row by its columns: those of the text, or all of the whole."""
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
            schema = file.schema_arrow
            columns = _columns_of_text(source, schema, reading)
            names = schema.names if whole else list(dict.fromkeys(columns))
            for batch in file.iter_batches(batch_size=PARQUET_ROWS, columns=names):
                for cells in zip(*(batch.column(name) for name in names), strict=True):
                    number += 1
                    try:
                        row = {name: cell.as_py() for name, cell in zip(names, cells, strict=True)}
                    except UnicodeDecodeError:
                        raise TidegateError(
                            f"{source.name}, row {number}, is not UTF-8, as strings in a .parquet are: write it anew."
                        ) from None
                    texts = [row[name] for name in columns]
                    if None in texts:
                        raise TidegateError(f"{source.name}, row {number}, has no text: omit such rows.")
                    yield "\n".join(texts), row
    except (arrow.ArrowException, OSError) as error:
        raise TidegateError(f"{source.name} could not be read: {str(error).splitlines()[0]}.") from None


def _columns_of_text(source: Source, schema: Any, reading: Reading) -> Sequence[str]:
    """Return the columns of a .parquet's text, which hold strings."""
    import pyarrow as arrow

    preferred = reading.preferred if set(reading.preferred) <= set(schema.names) else ()
    columns = _columns(source.name, schema.names, reading.columns or preferred)
    for name in columns:
        kind = schema.types[place_of(source.name, name, schema.names)]
        if not (arrow.types.is_string(kind) or arrow.types.is_large_string(kind)):
            raise TidegateError(f"{source.name}: the column {name!r} holds {kind}, not text: name another.")
    return columns


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
