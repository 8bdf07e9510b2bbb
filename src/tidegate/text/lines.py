"""Texts one after another, for whoever reads many: the lines of standard input, or the documents of files."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from typing import BinaryIO, TypeVar

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tidegate.errors import TidegateError
from tidegate.text.corpus import read_pieces
from tidegate.text.formats import LINE_BYTES, Reading, read_documents
from tidegate.text.normalize import normalize
from tidegate.text.sources import find_sources

Found = TypeVar("Found")


def read_texts(data: str | None, columns: tuple[str, ...] = (), encoding: str = "utf-8") -> Iterator[str]:
    """Yield the documents that a file, folder or glob has, or, of None, the lines of standard input; empty ones too, so
    that rows and lines in and out correspond; a TidegateError for what cannot be read."""
    if data is not None:
        return _documents(data, columns, encoding)
    if sys.stdin.isatty():
        print("One text per line; Ctrl-D ends.", file=sys.stderr)
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


def _documents(data: str, columns: tuple[str, ...], encoding: str) -> Iterator[str]:
    reading = Reading(encoding, columns)
    for source in find_sources([data]):
        if source.format in ("text", "html"):
            yield "".join(piece.text for piece in read_pieces([source], reading))
            continue
        with source.open() as (
            stream,
            _,
        ):  # each row, an empty one too: rows in and out correspond
            for document in read_documents(source, stream, reading):
                yield normalize("".join(document))
