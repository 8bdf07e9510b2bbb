"""What kind of text a file is: its suffix says so, and its first bytes, which go before a suffix that says nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Literal, NamedTuple, TypeAlias

from tidegate.errors import TidegateError
from tidegate.text.binary_kinds import binary_kind
from tidegate.text.containers import COMPRESSIONS, Compression
from tidegate.text.encodings import marked
from tidegate.text.json_values import looks_like_json
from tidegate.text.subtitles import is_subtitles

Format: TypeAlias = Literal["text", "jsonl", "json", "csv", "tsv", "html", "subtitles", "parquet"]
"""text, html, subtitles: a file is one document; json: it has a list of them, or objects one after another; the others
have one a line or row."""
FORMATS: dict[str, Format] = {
    ".txt": "text",
    ".md": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".html": "html",
    ".htm": "html",
    ".srt": "subtitles",
    ".vtt": "subtitles",
    ".parquet": "parquet",
}
"""The files that are taken from a folder or a .zip; a file that is named itself may have any suffix."""
NAMED: dict[str, Format] = {**FORMATS, ".json": "json", ".xhtml": "html"}
"""What the suffix of a named file says; in a folder .json files are mostly settings."""
SAY_NOTHING = {"", ".txt", ".text"}
"""suffixes of files in which JSON and pages are recognized: elsewhere, as in .py, they may be wanted as they are"""
HEAD_BYTES = 2**14
NAMES: dict[Format, str] = {
    "text": "plain text",
    "jsonl": "JSON lines",
    "json": "JSON",
    "csv": "CSV",
    "tsv": "TSV",
    "html": "HTML",
    "subtitles": "subtitles",
    "parquet": "Parquet",
}
_READ_AS: dict[Format, str] = {
    "json": "each item is a text",
    "jsonl": "each line is a text",
    "html": "only the visible text is read",
    "subtitles": "only the spoken lines are read",
    "text": "all of it is read",
}
_PAGE = re.compile(r"(?is)\s*+(?><\?xml[^>]*>\s*)?(?><!--.*?-->\s*)*+(?:<!doctype\s+html|<html[\s>])")
_OPEN = re.compile(r"\s*(?:\[|\{\s*\n)")
"""how JSON begins that is no object in one line"""


class Suffixes(NamedTuple):
    """What a file's name says."""

    format: Format | None
    compression: Compression | None
    last: str
    """the suffix itself, before that of the compression, in lower case"""


def suffixes(name: str) -> Suffixes:
    """Return what the suffixes of a name say; no format where they say none of ours."""
    path = PurePosixPath(name.lower())
    compression = COMPRESSIONS.get(path.suffix)
    last = PurePosixPath(path.stem).suffix if compression else path.suffix
    return Suffixes(NAMED.get(last), compression, last)


def in_folders(name: str) -> bool:
    """Whether a file is taken where its folder or its .zip is named."""
    return suffixes(name).last in FORMATS


def recognized(name: str, head: bytes) -> Format:
    """Return the format of a file by its name and its first bytes; a TidegateError where these are of no text."""
    said = suffixes(name)
    if said.format == "parquet":
        return "parquet"
    if (kind := binary_kind(head)) is not None:
        raise TidegateError(f"{name} is {kind.what}: {kind.remedy}.")
    text = _characters(head)
    if said.format in ("jsonl", "subtitles"):
        return "json" if said.format == "jsonl" and _OPEN.match(text) else said.format
    if said.format not in (None, "text"):
        return said.format
    if is_subtitles(text):
        return "subtitles"
    if said.last in SAY_NOTHING:
        if _PAGE.match(text):
            return "html"
        if looks_like_json(text, len(head) < HEAD_BYTES):
            return "json"
    return "text"


def told(files: Iterable[tuple[str, Format]]) -> list[str]:
    """Return a sentence for each kind of file that is read in another way than its name, or its bytes, may suggest."""
    groups: dict[Format, list[str]] = {}
    for name, kind in files:
        if kind in ("json", "subtitles") or kind != (suffixes(name).format or "text"):
            groups.setdefault(kind, []).append(name)
    sentences = []
    for kind, names in groups.items():
        others = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
        sentences.append(
            f"{names[0]}{others}: recognized as {NAMES[kind]}; {_READ_AS.get(kind, 'each row is a text')}."
        )
    return sentences


def _characters(head: bytes) -> str:
    """Return a head as characters of which those of ASCII are right: all that is recognized begins with them."""
    encoding, mark = marked(head) or ("utf-8", 0)
    return head[mark:].decode(encoding, "replace").replace("\r\n", "\n").replace("\r", "\n")
