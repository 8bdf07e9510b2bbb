"""Documents become blocks of bounded size, the unit of work of preparing: read in one process, worked on in others.

How a document is cut depends on its text alone, so that every count, digest and token is the same however the text is
stored, and in however many processes it is prepared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tidegate.text.containers import Archives
from tidegate.text.formats import Reading, read_documents
from tidegate.text.normalize import begins_anew
from tidegate.text.sources import Source

BLOCK_CHARACTERS = 2**21
"""Most characters of a document's part: two megabytes of English, six of Chinese."""
BLOCK_PARTS = 2**14
_MARKS = 64
"""how far back a cut looks for a character that no mark changes"""


@dataclass
class Block:
    """Parts of documents, as they were read."""

    parts: list[str] = field(default_factory=list)
    starts: list[bool] = field(default_factory=list)
    """whether each part starts a document, or goes on with the one before"""
    html: bool = False
    """whether the parts are pages, of which the text is still to be taken"""
    sources: list[str] = field(default_factory=list)
    """the file that each part is of"""
    empty: int = 0
    """documents without any part"""
    position: int = 0
    """bytes on the disk read so far, over all sources"""
    held_out: bool = False
    """whether it is of a named validation text"""


def all_blocks(training: Sequence[Source], held_out: Sequence[Source], reading: Reading) -> Iterator[Block]:
    """Yield the blocks of the training text, and then those of the validation text, if one is named."""
    yield from read_blocks(training, reading)
    before = sum(source.size for source in training)
    for block in read_blocks(held_out, reading):
        block.held_out, block.position = True, block.position + before
        yield block


def read_blocks(sources: Sequence[Source], reading: Reading, *, limit: int = BLOCK_CHARACTERS) -> Iterator[Block]:
    """Yield the documents of the sources in blocks of about `limit` characters, of which at most one part is larger: a
    page, or the text of one line or row."""
    block, size, before = Block(), 0, 0

    def full() -> bool:
        return size >= limit or len(block.parts) >= BLOCK_PARTS

    with Archives() as archives:
        for source in sources:
            html = source.format == "html"
            if block.parts and block.html != html:
                yield block
                block, size = Block(), 0
            with source.open(archives) as (stream, file):
                for document in read_documents(source, stream, reading):
                    starts = True
                    for part in document if html else cut_parts(document, limit):
                        block.parts.append(part)
                        block.starts.append(starts)
                        block.sources.append(source.name)
                        block.html = html
                        block.position = before + min(file.tell(), source.size)
                        starts, size = False, size + len(part)
                        if full():
                            yield block
                            block, size = Block(), 0
                    block.empty += starts
            before += source.size
            block.position = before
    if block.parts or block.empty:
        yield block


def cut_parts(document: Iterable[str], limit: int, safe: Callable[[str], bool] = begins_anew) -> Iterator[str]:
    """Join and cut a document into parts of at most `limit` characters that can be normalised each by itself.

    A cut falls after the last line end that fits, else before a space, else where no mark or line end is torn apart.
    It depends on the text alone, not on the parts it came in.
    """
    held: list[str] = []
    size = 0
    for piece in document:
        held.append(piece)
        size += len(piece)
        # one character more than fits, so that what follows a cut is known
        if size <= limit:
            continue
        text = "".join(held)
        start = 0
        while len(text) - start > limit:
            end = _cut(text, start, limit, safe)
            yield text[start:end]
            start = end
        held, size = [text[start:]], len(text) - start
    if size:
        yield "".join(held)


def _cut(text: str, start: int, limit: int, safe: Callable[[str], bool]) -> int:
    stop = start + limit
    line_end = text.rfind("\n", start, stop) + 1
    if line_end > start:
        return line_end
    space = text.rfind(" ", start + 1, stop)
    if space > start:
        return space
    for end in range(stop, max(start, stop - _MARKS), -1):
        if safe(text[end]) and not (text[end - 1] == "\r" and text[end] == "\n"):
            return end
    return stop
