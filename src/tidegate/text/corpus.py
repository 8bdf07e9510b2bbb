"""Sources become pieces of normalised text, read as a stream: a file larger than memory is no matter."""

from __future__ import annotations

import codecs
import hashlib
import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from tidegate.errors import TidegateError, nearest
from tidegate.text.normalize import cut_pieces, normalize_stream, refuse_surrogates
from tidegate.text.sources import Source

PIECE_CHARACTERS = 2**19
"""Most characters of one piece: half a megabyte of English, one and a half of Chinese."""
BLOCK_BYTES = 2**19
LINE_BYTES = 2**26
"""Longest line of a .jsonl file: 64 MiB."""
_UTF8_MARK = codecs.BOM_UTF8
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Piece(NamedTuple):
    """A part of a document, normalised; a document's pieces come one after another."""

    text: str
    starts_document: bool


@dataclass(frozen=True)
class Content:
    """How much text a stream of pieces has, and which."""

    byte_count: int
    """UTF-8 bytes of the normalised text"""
    digest: str
    """sha256 over the normalised text and where its documents start, in hexadecimal digits"""


class ContentMeter:
    """Measures the pieces that pass through it."""

    def __init__(self) -> None:
        self._bytes = 0
        self._sha256 = hashlib.sha256()

    def through(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """Yield the pieces unchanged."""
        for piece in pieces:
            data = piece.text.encode("utf-8")
            self._bytes += len(data)
            if piece.starts_document:
                self._sha256.update(b"\xff")  # a byte that UTF-8 never has
            self._sha256.update(data)
            yield piece

    @property
    def content(self) -> Content:
        """What has passed so far."""
        return Content(self._bytes, self._sha256.hexdigest())


def read_pieces(
    sources: Sequence[Source], *, limit: int = PIECE_CHARACTERS, report: Callable[[int], None] | None = None
) -> Iterator[Piece]:
    """Yield the documents' pieces, normalised, each of at most `limit` characters; documents without text are left out.

    ``report(bytes on disk read so far, over all sources)`` is called as the reading goes on.
    Errors: a TidegateError that names the file and the byte or the line, for text that is not UTF-8 or no JSON.
    """
    before = 0
    for source in sources:
        with source.open() as (stream, file):
            documents = _lines(source, stream) if source.format == "jsonl" else [_decode(source, stream)]
            for document in documents:
                starts = True
                for text in cut_pieces(normalize_stream(document), limit):
                    yield Piece(text, starts)
                    starts = False
                    if report:
                        report(before + min(file.tell(), source.size))
        before += source.size
        if report:
            report(before)


def _decode(source: Source, stream: BinaryIO) -> Iterator[str]:
    """Yield the text of a file that is one document."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    position = 0
    while block := stream.read(BLOCK_BYTES):
        _refuse_binary(source, block, position)
        text = block.removeprefix(_UTF8_MARK) if position == 0 else block
        position += len(block)
        yield _decoded(source, decoder, text, position)
    yield _decoded(source, decoder, b"", position)


def _decoded(source: Source, decoder: codecs.IncrementalDecoder, block: bytes, end: int) -> str:
    """Decode a block that ends at byte `end` of the source; an empty one is the end of the text."""
    try:
        return decoder.decode(block, final=not block)
    except UnicodeDecodeError as error:
        # error.object: the bytes held back of the block before, then this block
        raise _wrong_encoding(source, end - len(error.object) + error.start, error.object[error.start]) from None


def _refuse_binary(source: Source, block: bytes, position: int = 0) -> None:
    if position == 0 and block.startswith(_UTF16_MARKS):
        raise _wrong_encoding(source, 0, block[0], "UTF-16")
    if (offset := block.find(b"\0")) >= 0:
        raise TidegateError(
            f"{source.name} is a binary file, it has a NUL byte at offset {position + offset}: "
            f"text in UTF-8 is wanted, so leave this file out or convert it to text."
        )


def _wrong_encoding(source: Source, offset: int, byte: int, encoding: str = "GB18030") -> TidegateError:
    return TidegateError(
        f"{source.name} is not UTF-8: the byte 0x{byte:02x} at offset {offset} does not fit. "
        f"Convert it to UTF-8 from the encoding that it has, for instance by: "
        f"iconv -f {encoding} -t UTF-8 {shlex.quote(source.name)} > converted.txt"
    )


def _lines(source: Source, stream: BinaryIO) -> Iterator[Iterable[str]]:
    """Yield each line's document as parts of its text."""
    _refuse_binary(source, stream.read(BLOCK_BYTES))
    stream.seek(0)
    number, offset = 0, 0
    while line := stream.readline(LINE_BYTES + 1):
        number += 1
        where = f"{source.name}, line {number},"
        if len(line) > LINE_BYTES:
            raise TidegateError(f"{where} is longer than {LINE_BYTES} bytes: cut this document into several lines.")
        if content := line.removeprefix(_UTF8_MARK if number == 1 else b"").strip():
            try:
                text = _field(content.decode("utf-8"), where)
            except UnicodeDecodeError as error:
                at = offset + line.index(content) + error.start
                raise _wrong_encoding(source, at, content[error.start]) from None
            yield (text[i : i + PIECE_CHARACTERS] for i in range(0, len(text), PIECE_CHARACTERS))
        offset += len(line)


def _field(line: str, where: str) -> str:
    """Return the field `text` of one line."""
    try:
        document: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TidegateError(f'{where} is no JSON ({error}): each line is one object such as {{"text": "…"}}.') from None
    if not isinstance(document, dict):
        raise TidegateError(
            f"{where} is no JSON object but {_json_type(document)}: each line is one object with the field 'text'."
        )
    if "text" not in document:
        names = ", ".join(map(repr, list(document)[:8])) or "none"
        raise TidegateError(
            f"{where} has no field 'text'{nearest('text', document)}; its fields: {names}. Rename that of the text."
        )
    text = document["text"]
    if not isinstance(text, str):
        raise TidegateError(f"{where} has {_json_type(text)} in its field 'text': a string is wanted.")
    refuse_surrogates(text, where.rstrip(","))
    return text


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
