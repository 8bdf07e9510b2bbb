"""One form of each text: line ends are ``\\n``, Unicode is in NFC (Unicode Standard Annex 15).

A text that comes in several parts gets the same form as the whole, so files of any size are read as a stream.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterable, Iterator

from tidegate.errors import TidegateError

NORMALIZATION = {"line_ends": "lf", "unicode": "nfc"}
"""What `normalize` does, as tokenizer.json records it."""

# Letters that join the character before them though they are no marks: the vowels and final consonants of Hangul,
# and the vowel signs of Kirat Rai.
_JOINING_LETTERS = ((0x1160, 0x11FF), (0xD7B0, 0xD7FF), (0x16D60, 0x16D6F))


def normalize(text: str) -> str:
    """Return the text with ``\\r\\n`` and ``\\r`` as ``\\n``, in NFC; a lone surrogate is a TidegateError."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.isascii():
        return text
    refuse_surrogates(text, "The text")
    return unicodedata.normalize("NFC", text)


def refuse_surrogates(text: str, where: str) -> None:
    """Raise a TidegateError if the text has a surrogate without its partner."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TidegateError(
            f"{where} has the lone surrogate U+{ord(text[error.start]):04X} at character {error.start}, "
            f"which is no character: mend or remove it."
        ) from None


def begins_anew(character: str) -> bool:
    """Tell whether NFC keeps this character apart from any text before it, so that a text may be cut before it."""
    code = ord(character)
    if code < 0x300:
        return True
    if unicodedata.category(character)[0] == "M":
        return False
    return not any(first <= code <= last for first, last in _JOINING_LETTERS)


def normalize_stream(parts: Iterable[str]) -> Iterator[str]:
    """Yield parts whose concatenation is `normalize` of the given parts' concatenation.

    What may still change with the next part is held back: a last ``\\r``, and the last character with its marks.
    """
    line_ends = io.IncrementalNewlineDecoder(None, translate=True)
    held = ""
    for part in parts:
        text = held + line_ends.decode(part)
        cut = next((i for i in range(len(text) - 1, len(held) - 1, -1) if begins_anew(text[i])), 0)
        if cut:
            yield normalize(text[:cut])
        held = text[cut:]
    if last := held + line_ends.decode("", final=True):
        yield normalize(last)


def cut_pieces(parts: Iterable[str], limit: int) -> Iterator[str]:
    """Join and cut a text into pieces of at most `limit` characters.

    A cut falls after the last line end that fits, else before a space, else anywhere.

    It depends on the text alone, not on the parts it came in; and a piece of NFC text is NFC again.
    """
    text = ""
    for part in parts:
        text += part
        start = 0
        while len(text) - start > limit:
            stop = start + limit
            end = text.rfind("\n", start, stop) + 1 or max(text.rfind(" ", start + 1, stop), 0) or stop
            yield text[start:end]
            start = end
        text = text[start:]
    if text:
        yield text
