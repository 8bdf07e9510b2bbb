"""Bytes of tokens become text at once, yet never half a character."""

from __future__ import annotations

import codecs


class Utf8Stream:
    """Takes the bytes of one token after another and gives out the characters that are complete.

    A token of the bytes or BPE tokenizer may end within a character: its first bytes wait here for the rest. Bytes that
    can begin no character come out as U+FFFD, so all that comes out is valid UTF-8. A text that ends within a character
    ends before it: what waits here then is dropped.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> str:
        """Return the characters that these bytes complete, perhaps none."""
        return self._decoder.decode(data)
