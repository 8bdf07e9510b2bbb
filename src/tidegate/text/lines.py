"""Texts one after another, for whoever reads many: the lines of standard input or of plain text files, the rows of
tables, the items of JSON, and whole pages."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Iterable, Iterator
from typing import BinaryIO, TypeVar

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from tidegate.errors import TidegateError
from tidegate.text.console import Console
from tidegate.text.encodings import AUTO, LINE_BYTES, canonical, decode_stream, text_lines
from tidegate.text.formats import Reading
from tidegate.text.messages import say
from tidegate.text.records import Position, read_records

Found = TypeVar("Found")
_INPUT = "standard input"


def read_texts(
    data: str | None, columns: tuple[str, ...] = (), encoding: str = "utf-8", *, whole_files: bool = False
) -> Iterator[str]:
    """Yield the texts that a file, folder or glob has, or, of None, the lines of standard input; empty ones too, so
    that rows and lines in and out correspond; a TidegateError for what cannot be read.

    whole_files: a plain text file is one text, as in training, instead of each of its lines.
    """
    if data is not None:
        records = read_records(data, Reading(encoding, columns), Position(), whole_files=whole_files)
        return (record.text for record in records)
    return read_input(columns, encoding)


def read_input(columns: tuple[str, ...] = (), encoding: str = "utf-8") -> Iterator[str]:
    """Yield the lines of standard input, each a text; a TidegateError where columns are named, which lines lack."""
    if columns:
        raise TidegateError(
            f"columns is {', '.join(columns)}, but the lines of standard input have none: give a table by --data, or "
            "omit --columns."
        )
    if sys.stdin.isatty():
        say("One text per line; Ctrl-D ends.")
    if isinstance(sys.stdin, io.TextIOWrapper):
        return _lines(sys.stdin.buffer, canonical(encoding))
    return (line.rstrip("\r\n") for line in sys.stdin)


def counted(
    found: Iterable[Found], what: str, position: Position | None = None, *, to_file: bool = False
) -> Iterator[Found]:
    """Yield what is found for texts, and count it on standard error where a person sees that, and not the results.

    position: how far the files are read that the texts come from, for a bar. to_file: the results are not printed.
    """
    console = Console(stderr=True)
    shown = console.is_terminal and (to_file or not sys.stdout.isatty())
    columns: list[ProgressColumn] = [
        SpinnerColumn(),
        TextColumn("{task.fields[count]:,} {task.description}", markup=False),
    ]
    if position is not None:
        columns += [BarColumn(), TaskProgressColumn()]
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True, disable=not shown) as bar:
        task = bar.add_task(what, total=None, count=0)
        for number, one in enumerate(found, 1):
            yield one
            if position is not None and position.total:
                bar.update(task, completed=position.done, total=position.total)
            bar.update(task, count=number)


def _lines(stream: BinaryIO, encoding: str) -> Iterator[str]:
    """Yield the lines of a stream of bytes, each decoded by itself: those before a bad one are read all the same."""
    if encoding == AUTO or encoding.startswith(("utf-16", "utf-32")):  # of these a line end is not one byte, or not yet
        yield from (line[:-1] for line in text_lines(_INPUT, decode_stream(_INPUT, stream, encoding)))
        return
    number = 0
    while line := stream.readline(LINE_BYTES + 1):
        number += 1
        if len(line) > LINE_BYTES:
            raise TidegateError(f"Line {number} has more than {LINE_BYTES:,} bytes: cut this text in several.")
        line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        try:
            text = line.decode(encoding)
        except UnicodeDecodeError as error:
            raise TidegateError(
                f"Line {number} of {_INPUT} is not {encoding.upper()} ({error.reason}): name the encoding that it has "
                "by --encoding."
            ) from None
        yield text.rstrip("\r\n")
