"""Texts with all that stands beside them, the row of a table or the object of a .jsonl, so that what is found for a
text can be written beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, NamedTuple

from tidegate.text.corpus import read_pieces
from tidegate.text.encodings import SAMPLE_BYTES, decode_stream, is_utf8, text_lines
from tidegate.text.formats import (
    Reading,
    json_objects,
    json_text,
    json_texts,
    parquet_rows,
    read_documents,
    text_places,
)
from tidegate.text.kinds import told
from tidegate.text.messages import say
from tidegate.text.normalize import normalize
from tidegate.text.sources import Source, find_sources
from tidegate.text.tables import Table


class Layout(NamedTuple):
    """What the rows of a table have in common."""

    names: tuple[str, ...]
    """of the columns; their numbers, where the table has no header"""
    has_header: bool = True
    delimiter: str | None = None
    """of a .csv or .tsv"""


class Record(NamedTuple):
    """A text, normalized, and the row that it stands in."""

    text: str
    layout: Layout
    values: list[Any]
    """as many as the layout has names"""


@dataclass
class Position:
    """How far the reading of files has come, in bytes on the disk."""

    done: int = 0
    total: int = 0


PLAIN = Layout(("text",))
"""of texts that stand alone"""


def read_records(
    data: str, reading: Reading, position: Position, *, guess: bool = False, whole_files: bool = False
) -> Iterator[Record]:
    """Yield the texts that a file, folder or glob has, empty ones too; a TidegateError for what cannot be read.

    guess: the encoding is one that other files had: what is UTF-8 is read as such. whole_files: a plain text file is
    one text, as in training, instead of each of its lines.
    """
    sources = find_sources([data])
    for sentence in told((source.name, source.format) for source in sources):
        say(sentence)
    position.total = sum(source.size for source in sources)
    before = 0
    for source in sources:
        how = replace(reading, encoding="utf-8") if guess and _is_utf8(source) else reading
        with source.open() as (stream, file):
            for record in _records(source, stream, how, whole_files):
                position.done = before + min(file.tell(), source.size)
                yield record
        before += source.size


def _is_utf8(source: Source) -> bool:
    with source.open() as (stream, _):
        return is_utf8(stream.read(SAMPLE_BYTES))


def _records(source: Source, stream: BinaryIO, reading: Reading, whole_files: bool) -> Iterator[Record]:
    if source.format in ("csv", "tsv"):
        yield from _of_table(Table(source, stream, reading.encoding), reading)
    elif source.format == "jsonl":
        wanted = (reading.columns or ("text",))[0]
        for where, document in json_objects(source, stream, reading, wanted):
            text = json_text(document, reading, f"{where},")
            yield Record(normalize(text), Layout(tuple(document)), list(document.values()))
    elif source.format == "json":
        for item, text in json_texts(source, stream, reading):
            values = item if isinstance(item, dict) else {"text": text}
            yield Record(normalize(text), Layout(tuple(values)), list(values.values()))
    elif source.format == "parquet":
        for text, row in parquet_rows(source, reading, whole=True):
            yield Record(normalize(text), Layout(tuple(row)), list(row.values()))
    elif source.format == "text" and not whole_files:
        lines = text_lines(source.name, decode_stream(source.name, stream, reading.encoding))
        yield from (_plain(normalize(line[:-1])) for line in lines)
    elif source.format in ("text", "html"):  # a file is one text
        yield _plain("".join(piece.text for piece in read_pieces([source], reading)))
    else:
        yield from (_plain(normalize("".join(parts))) for parts in read_documents(source, stream, reading))


def _plain(text: str) -> Record:
    return Record(text, PLAIN, [text])


def _of_table(table: Table, reading: Reading) -> Iterator[Record]:
    places = text_places(table, reading)
    names = table.header if table.has_header else [str(i + 1) for i in range(len(table.header))]
    layout = Layout(tuple(names), table.has_header, table.delimiter)
    for row in table.rows():
        text = "\n".join(row.cells[place] for place in places)
        yield Record(normalize(text), layout, (row.cells + [""] * len(names))[: len(names)])
