"""Texts one after another, for whoever reads many: the lines of standard input or of plain text files, the rows of
tables, the items of JSON, and whole pages."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from typing import BinaryIO, TypeVar

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tidegate.errors import TidegateError
from tidegate.text.corpus import read_pieces
from tidegate.text.encodings import decode_stream
from tidegate.text.formats import LINE_BYTES, Reading, read_documents, text_lines
from tidegate.text.kinds import told
from tidegate.text.normalize import normalize
from tidegate.text.printable import printable
from tidegate.text.sources import find_sources

Found = TypeVar("Found")


def read_texts(
    data: str | None, columns: tuple[str, ...] = (), encoding: str = "utf-8", *, whole_files: bool = False
) -> Iterator[str]:
    """Yield the texts that a file, folder or glob has, or, of None, the lines of standard input; empty ones too, so
    that rows and lines in and out correspond; a TidegateError for what cannot be read.

    whole_files: a plain text file is one text, as in training, instead of each of its lines.
    """
    if data is not None:
        return _texts(data, Reading(encoding, columns), whole_files)
    if sys.stdin.isatty():
        print("One text a line; Ctrl-D ends.", file=sys.stderr)
    if isinstance(sys.stdin, io.TextIOWrapper):
        return _lines(sys.stdin.buffer)
    return (line.rstrip("\r\n") for line in sys.stdin)


def counted(found: Iterable[Found], what: str) -> Iterator[Found]:
    """Yield what is found for texts, and count it on standard error where a person sees that, and not the results."""
    console = Console(stderr=True)
    shown = console.is_terminal and not sys.stdout.isatty()
    columns = SpinnerColumn(), TextColumn("{task.completed:,.0f} {task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        task = bar.add_task(what, total=None)
        for one in found:
            yield one
            bar.advance(task)


def _lines(stream: BinaryIO) -> Iterator[str]:
    """Yield the lines of a stream of bytes, each decoded by itself: those before a bad one are read all the same."""
    number = 0
    while line := stream.readline(LINE_BYTES + 1):
        number += 1
        if len(line) > LINE_BYTES:
            raise TidegateError(f"Line {number} has more than {LINE_BYTES:,} bytes: cut this text in several.")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise TidegateError(
                f"Line {number} of standard input is not UTF-8 ({error.reason}): give the file by --data, and its "
                "--encoding."
            ) from None
        yield text.rstrip("\r\n")


def _texts(data: str, reading: Reading, whole_files: bool) -> Iterator[str]:
    sources = find_sources([data])
    for sentence in told((source.name, source.format) for source in sources):
        print(printable(sentence), file=sys.stderr)
    for source in sources:
        if source.format == "html" or (source.format == "text" and whole_files):
            yield "".join(piece.text for piece in read_pieces([source], reading))
            continue
        with source.open() as (stream, _):
            if source.format == "text":
                parts = decode_stream(source.name, stream, reading.encoding)
                yield from (normalize(line[:-1]) for line in text_lines(source.name, parts))
            else:
                yield from (normalize("".join(document)) for document in read_documents(source, stream, reading))
