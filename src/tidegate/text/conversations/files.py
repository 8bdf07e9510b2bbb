"""Which files hold conversations, and their records: objects of JSON, one a line or in a list, and rows of tables."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from tidegate.errors import TidegateError
from tidegate.files import open_regular
from tidegate.text.containers import COMPRESSIONS, ERRORS, decompressed
from tidegate.text.conversations.lists import is_list
from tidegate.text.encodings import canonical, decode_stream
from tidegate.text.sources import Format, Source
from tidegate.text.tables import Table

SUFFIXES = (".jsonl", ".json", ".ndjson", ".csv", ".tsv")
TABLES: dict[str, Format] = {".csv": "csv", ".tsv": "tsv"}
FILE_CHARACTERS = 1 << 28
"""most characters of JSON that is not one value a line, which is read whole"""
LINE_CHARACTERS = 1 << 24
_HEAD = 1 << 10


def find_dialogues(arguments: Sequence[str]) -> list[Path]:
    """Return the files that names, folders and globs stand for, sorted within each; TidegateError where there are
    none."""
    found: dict[Path, None] = {}
    for argument in arguments:
        path = Path(argument).expanduser()
        if path.is_dir():
            paths = sorted(p for p in path.rglob("*") if p.is_file() and _suffix(p) is not None)
        else:
            paths = [path] if path.exists() else sorted(map(Path, glob.glob(str(path), recursive=True)))
        if not paths:
            raise TidegateError(
                f"There is no conversation at {argument}: give files in {', '.join(SUFFIXES)}, or their folder."
            )
        found |= dict.fromkeys(paths)
    return list(found)


def records(path: Path, encoding: str) -> Iterator[tuple[str, Any]]:
    """Yield the place and the content of each record of a file; a TidegateError says what is wrong with it."""
    suffix, compression, encoding = _suffix(path), COMPRESSIONS.get(path.suffix.lower()), canonical(encoding)
    try:
        with ExitStack() as stack:
            stream = decompressed(stack.enter_context(open_regular(path)), compression, stack)
            if suffix in TABLES:
                source = Source(str(path), path, TABLES[suffix], path.stat().st_size, compression)
                yield from _rows(source, stream, encoding)
                return
            if suffix is None:
                _check_json(path, stack)
            yield from _json(path, decode_stream(str(path), stream, encoding), is_lines=suffix != ".json")
    except ERRORS as error:
        raise TidegateError(f"{path} could not be read ({error}): give a whole file.") from None


def _suffix(path: Path) -> str | None:
    """Return the suffix that tells a file's kind; None for others, which may still be JSON."""
    name = path.name.lower()
    for suffix in COMPRESSIONS:
        name = name.removesuffix(suffix)
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)


def _check_json(path: Path, stack: ExitStack) -> None:
    """A file of another name, as one kept from standard input, is read if it begins as JSON does."""
    stream = decompressed(stack.enter_context(open_regular(path)), COMPRESSIONS.get(path.suffix.lower()), stack)
    if stream.read(_HEAD).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] not in (b"{", b"["):
        raise TidegateError(
            f"{path} is no {', '.join(SUFFIXES)} file and does not begin as JSON: conversations were expected."
        )


# ---- Tables ----------------------------------------------------------------------------------------------------------


def _rows(source: Source, stream: BinaryIO, encoding: str) -> Iterator[tuple[str, dict[str, str]]]:
    table = Table(source, stream, encoding)
    names = table.header
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise TidegateError(f"{source.name} has the column {twice!r} several times: rename all but one.")
    for row in table.rows():
        yield row.where, dict(zip(names, row.cells + [""] * len(names), strict=False))


# ---- JSON ------------------------------------------------------------------------------------------------------------


def _json(path: Path, parts: Iterator[str], is_lines: bool) -> Iterator[tuple[str, Any]]:
    """Yield the records of JSON, whatever the suffix: a value a line, or values of several lines, such as one list."""
    lines = _lines(path, parts)
    first = next(((number, line) for number, line in lines if line.strip()), None)
    if first is None:
        return
    try:
        value = json.loads(first[1])
    except (ValueError, RecursionError) as error:
        wrong = f"{path}, line {first[0]} is not JSON ({error})"
        yield from _whole(path, "\n" * (first[0] - 1) + first[1], lines, wrong if is_lines else None)
        return
    yield from _unfolded(f"{path}, line {first[0]}", value)
    for number, line in lines:
        if line.strip():
            where = f"{path}, line {number}"
            if len(line) > LINE_CHARACTERS:
                raise TidegateError(f"{where} has more than {LINE_CHARACTERS:,} characters: cut it into several.")
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise TidegateError(f"{where} is not JSON ({error}): one object per line was expected.") from None
            yield from _unfolded(where, value)


def _whole(path: Path, begun: str, lines: Iterator[tuple[int, str]], wrong: str | None) -> Iterator[tuple[str, Any]]:
    """Yield the records of values that take several lines; wrong: what to say where they are no JSON."""
    text, size = [begun], len(begun)
    for _, line in lines:
        text.append(line)
        size += len(line)
        if size > FILE_CHARACTERS:
            raise TidegateError(wrong or f"{path} has more than {FILE_CHARACTERS:,} characters: write it as .jsonl.")
    try:
        values = list(_values(str(path), "\n".join(text)))
    except (ValueError, RecursionError) as error:
        raise TidegateError(
            f"{wrong or f'{path} is not JSON ({error})'}: conversations were expected, one object per line or one list."
        ) from None
    for where, value in values:
        yield from _unfolded(where, value)


def _values(name: str, text: str) -> Iterator[tuple[str, Any]]:
    """Yield the values of JSON that follow one another, the first by the file's name, the others by their lines."""
    decoder, space = json.JSONDecoder(), re.compile(r"[ \t\r\n]*")
    where, line, at = name, 1, 0
    while True:
        start = space.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing as well
        line += text.count("\n", at, start)
        if start == len(text):
            return
        value, at = decoder.raw_decode(text, start)
        yield (where if where == name else f"{name}, line {line}"), value
        where, line = "", line + text.count("\n", start, at)


def _unfolded(where: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield a value, or the items of a list that is not itself a conversation."""
    if isinstance(value, list) and not is_list(value):
        for number, item in enumerate(value, 1):
            yield f"{where}, item {number}", item
    else:
        yield where, value


def _lines(path: Path, parts: Iterator[str]) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text, counted from 1."""
    held: list[str] = []
    number = size = 0
    for part in parts:
        first, *others = part.split("\n")
        held.append(first)
        size += len(first)
        if size > FILE_CHARACTERS:
            raise TidegateError(f"{path} has a line of more than {FILE_CHARACTERS:,} characters: write it as .jsonl.")
        for line in others:
            number += 1
            yield number, "".join(held)
            held, size = [line], len(line)
    yield number + 1, "".join(held)
