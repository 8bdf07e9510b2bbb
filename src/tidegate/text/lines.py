"""Texts one after another, for whoever reads many: the lines of standard input, or the documents of files."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import TextIO

from tidegate.errors import TidegateError
from tidegate.text.corpus import read_pieces
from tidegate.text.formats import LINE_BYTES, Reading, read_documents
from tidegate.text.normalize import normalize
from tidegate.text.sources import find_sources


def read_texts(data: str | None, columns: tuple[str, ...] = (), encoding: str = "utf-8") -> Iterator[str]:
    """Yield the documents that a file, folder or glob has, or, of None, the lines of standard input; empty ones too, so
    that rows and lines in and out correspond; a TidegateError for what cannot be read."""
    if data is not None:
        return _documents(data, columns, encoding)
    if sys.stdin.isatty():
        print("One text a line; Ctrl-D ends.", file=sys.stderr)
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="strict")
    return _lines(sys.stdin)


def _lines(stream: TextIO) -> Iterator[str]:
    number = 0
    try:
        while line := stream.readline(LINE_BYTES + 1):
            number += 1
            if len(line) > LINE_BYTES:
                raise TidegateError(f"Line {number} has more than {LINE_BYTES:,} characters: cut this text in several.")
            yield line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise TidegateError(
            f"Standard input is not UTF-8 (after line {number}: {error.reason}): give the file by --data, and its "
            "--encoding."
        ) from None


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
