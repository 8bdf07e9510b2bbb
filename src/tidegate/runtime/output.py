"""Where a model writes to."""

from __future__ import annotations

from typing import TextIO

from tidegate.text.printable import printable


class Output:
    """Standard output, written at once; a terminal gets no control characters, which a model may well write."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._last = "\n"

    def write(self, text: str) -> None:
        """Write a piece of text."""
        if text:
            self._stream.write(printable(text) if self._terminal else text)
            self._stream.flush()
            self._last = text[-1]

    def end_line(self) -> None:
        """End a line that has begun."""
        if self._last != "\n":
            self.write("\n")
