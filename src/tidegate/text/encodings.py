"""From bytes to characters: which encoding a file has, reading it as a stream, what to say where it does not fit."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np

from tidegate.errors import TidegateError, nearest

AUTO = "auto"
BLOCK_BYTES = 2**19
LINE_BYTES = 2**26
"""Longest line of a .jsonl file, longest field of a table: 64 MiB."""
SAMPLE_BYTES = 2**18
"""what a guess looks at"""
_FREQUENT = frozenset(
    "，。、；：？！“”（）《》　…"
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事"
    "成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此"
    "已工使情明性知全三又关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特"
    "见风花山水春秋夜雨云江白红门老身"
)
_SIMPLIFIED = 0.2
"""share of these from which on a text is Chinese: a novel or a poem has 0.4 and more, Korean and Big5 0.05 and less"""
_ENOUGH_BYTES = 16
"""less than this says nothing about UTF-16"""
_GUESS_BYTES = 2**16
"""what a guess at the other encodings looks at: it tries each of them"""
_FEW = 0.05
"""a smaller share of bytes beyond ASCII is quotation marks, dashes and accents, whatever they look like"""
_MARKS = (  # the longer first: the mark of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
COMMON = ("utf-8", "gb18030", "big5", "utf-16", "latin-1", "cp1252", "shift_jis", "euc-kr", "cp1251", "koi8-r")
"""encodings that a message names, and among which is guessed"""
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "iso8859-1": "latin-1"}
"""files of the first two often have characters of the third, which reads them all"""
_NO_CHARACTERS = {"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "utf_7"}


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """Read at most so many bytes."""
        ...


def canonical(encoding: str) -> str:
    """Return the one name of an encoding, or ``auto``; a TidegateError names the nearest where there is none."""
    if encoding.lower() == AUTO:
        return AUTO
    try:
        found = codecs.lookup(encoding)
        is_text = found._is_text_encoding and found.name.replace("-", "_") not in _NO_CHARACTERS
    except (LookupError, ValueError):  # a NUL in the name is a ValueError
        is_text = False
    if not is_text:
        raise TidegateError(
            f"There is no encoding {encoding!r}{nearest(encoding, [AUTO, *COMMON])}; the usual ones are "
            f"{', '.join(COMMON)}, and {AUTO} for a guess, file by file."
        )
    return _WIDER.get(found.name, found.name)


def decode_stream(name: str, stream: Readable, encoding: str) -> Iterator[str]:
    """Yield the text of a stream in parts, without its byte-order mark, which overrules the encoding that is given.

    name: how messages call the file. encoding: a canonical name or ``auto``. A TidegateError names the byte that does
    not fit and the encoding that the file likely has, or the NUL byte of a binary file.
    """
    head = stream.read(SAMPLE_BYTES)
    encoding, mark = chosen(head, encoding)
    decoder = codecs.getincrementaldecoder(encoding)()
    block, position = head[mark:] or stream.read(BLOCK_BYTES), mark
    has_zeros = encoding.startswith(("utf-16", "utf-32"))
    while True:
        if not has_zeros and (at := block.find(0)) >= 0:
            raise TidegateError(_binary(name, head, position + at))
        position += len(block)
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            # error.object: the bytes held back of the block before, then this block
            at = position - len(error.object) + error.start
            raise TidegateError(_does_not_fit(name, encoding, at, error.object[error.start], head)) from None
        except UnicodeError:  # Python's own utf-16 and utf-32 go by the mark
            raise TidegateError(
                f"{name} has no byte-order mark, which {encoding} goes by: give --encoding {encoding}-le or "
                f"{encoding}-be."
            ) from None
        if has_zeros and "\0" in text:
            raise TidegateError(f"{name} has a NUL character: exclude this file or convert it to text.")
        if text:
            yield text
        if not block:
            return
        block = stream.read(BLOCK_BYTES)


def text_lines(name: str, parts: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a text, each ending in \\n whatever its end was; one that is too long is a TidegateError."""
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    held: list[str] = []
    size, number = 0, 1
    for part in parts:
        first, *others = newlines.decode(part).split("\n")
        held.append(first)
        size += len(first)
        if size > LINE_BYTES:
            raise TidegateError(
                f"{name}, line {number}, is longer than {LINE_BYTES:,} characters: cut this line in several."
            )
        for line in others:
            yield "".join(held) + "\n"
            held, size, number = [line], len(line), number + 1
    if last := "".join(held) + newlines.decode("", final=True):
        yield last if last.endswith("\n") else last + "\n"


def decode_whole(name: str, data: bytes, encoding: str, before: int) -> str:
    """Decode a line that stands at byte `before` of a file; a TidegateError as in `decode_stream`."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise TidegateError(_does_not_fit(name, encoding, before + error.start, data[error.start], data)) from None


def marked(head: bytes) -> tuple[str, int] | None:
    """Return (encoding, bytes of the mark) where a file begins with a byte-order mark."""
    return next(((encoding, len(mark)) for mark, encoding in _MARKS if head.startswith(mark)), None)


def chosen(head: bytes, encoding: str) -> tuple[str, int]:
    """Return the encoding to read with and how many bytes of the head are a mark."""
    if found := marked(head):
        return found
    if encoding == AUTO:
        return (likely(head) or "utf-8"), 0
    return encoding, 0


def is_utf8(head: bytes) -> bool:
    """Whether a file's first bytes are UTF-8, and text; half a character may stand at their end."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return b"\0" not in head


def likely(head: bytes) -> str | None:
    """Guess the encoding of a file from its first bytes; None where nothing fits well."""
    if is_utf8(head):
        return "utf-8"
    share, encoding = max((_common_share(head, encoding), encoding) for encoding in ("utf-16-le", "utf-16-be"))
    if share > 0.9 and len(head) >= _ENOUGH_BYTES:
        return encoding
    if _simplified_share(head) > _SIMPLIFIED:
        return "gb18030"
    from charset_normalizer import from_bytes  # a tenth of a second, for files that are not UTF-8 alone

    for part in _cut_between_characters(head):
        best = from_bytes(part, cp_isolation=[*COMMON], enable_fallback=False, language_threshold=0.1).best()
        if best is not None:
            few = sum(byte > 0x7F for byte in part) < _FEW * len(part)
            guess = canonical(best.encoding)
            return "cp1252" if few and guess in ("latin-1", "cp1251", "koi8-r") else guess
    return None


def _cut_between_characters(head: bytes) -> list[bytes]:
    """Return the beginning of a head that ends where a character does; several to try where there is no telling.

    Half a character at the end would rule its encoding out. No byte below 0x30 is part of a longer character.
    """
    if len(head) <= _GUESS_BYTES:
        return [head]
    head = head[:_GUESS_BYTES]
    end = max(head.rfind(byte) for byte in range(0x30))
    return [head[: end + 1]] if end >= 0 else [head[: len(head) - cut] for cut in range(4)]


def _common_share(head: bytes, encoding: str) -> float:
    """Return the share of ASCII, Latin and Chinese characters and punctuation in bytes read as UTF-16: nearly all of a
    text's, few of what is none; 0 where no space, line end, comma or full stop is among them."""
    units = np.frombuffer(head[: len(head) // 2 * 2], "<u2" if encoding == "utf-16-le" else ">u2")
    ranges = ((0x09, 0x0D), (0x20, 0x24F), (0x2010, 0x2030), (0x3000, 0x303F), (0x4E00, 0x9FFF), (0xFF00, 0xFFEF))
    if not np.isin(units, [0x0A, 0x20, 0x2C, 0x2E, 0x3000, 0x3001, 0x3002, 0xFF0C]).any():
        return 0.0
    common = sum(int(np.count_nonzero((units >= low) & (units <= high))) for low, high in ranges)
    return common / max(1, len(units))


def _simplified_share(head: bytes) -> float:
    """Return the share of the most frequent characters and marks of Chinese among what is not ASCII in bytes read as
    GB18030; 0 where they are none. Korean, Japanese and Big5 read so are Chinese characters too, but rare ones."""
    try:
        text = codecs.getincrementaldecoder("gb18030")().decode(head)
    except UnicodeDecodeError:
        return 0.0
    others = [character for character in text if character > "\x7f"]
    return sum(character in _FREQUENT for character in others) / max(1, len(others))


def _does_not_fit(name: str, encoding: str, at: int, byte: int, head: bytes) -> str:
    guess = likely(head)
    if guess is not None and guess not in (encoding, "utf-8"):
        what = f"It looks like {guess}: give --encoding {guess}, or auto where files differ"
    else:
        what = f"Give the encoding that it has by --encoding ({', '.join(COMMON)}), or mend the file there"
    return f"{name} is not {encoding}: the byte 0x{byte:02x} at offset {at} does not fit. {what}."


def _binary(name: str, head: bytes, at: int) -> str:
    guess = likely(head)
    if guess is not None and guess.startswith("utf-16"):
        return f"{name} has NUL bytes as {guess} does: give --encoding {guess}."
    return f"{name} is a binary file, it has a NUL byte at offset {at}: exclude this file or convert it to text."
