"""Sources become pieces of normalised text, read as a stream: for whoever wants the text itself, not its ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tidegate.text.block_work import normalized
from tidegate.text.blocks import BLOCK_CHARACTERS, read_blocks
from tidegate.text.formats import Reading
from tidegate.text.sources import Source


class Piece(NamedTuple):
    """A part of a document, normalised; a document's pieces come one after another."""

    text: str
    starts_document: bool


def read_pieces(
    sources: Sequence[Source],
    reading: Reading = Reading(),  # noqa: B008 (frozen)
    *,
    limit: int = BLOCK_CHARACTERS,
    report: Callable[[int], None] | None = None,
) -> Iterator[Piece]:
    """Yield the documents' pieces, normalised, each of about `limit` characters; documents without text are left out.

    ``report(bytes on disk read so far, over all sources)`` is called as the reading goes on.
    Errors: a TidegateError that names the file and the byte or the line, for what cannot be read.
    """
    for block in read_blocks(sources, reading, limit=limit):
        for text, starts in zip(normalized(block), block.starts, strict=True):
            if text:
                yield Piece(text, starts)
        if report:
            report(block.position)
