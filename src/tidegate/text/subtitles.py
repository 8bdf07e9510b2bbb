"""What is spoken in subtitles, SubRip (.srt) and WebVTT (.vtt): without numbers, times and markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import unescape

TIME = r"(?:\d+:)?\d{1,2}:\d{2}[,.]\d{1,3}"
TIMES = re.compile(rf"\s*{TIME}[ \t]*-->[ \t]*{TIME}")
"""the line of a cue that says when it is shown"""
_TAG = re.compile(r"</?(?:[A-Za-z][^<>]*|\d[\d:.]*)>|</>|\{\\[^{}]*\}|\{/?[YyCcSsFfPp]:[^{}]*\}")
"""<i>, <font …>, <v Name>, <00:01.000>, {\\an8}, {y:i}"""


def is_subtitles(head: str) -> bool:
    """Whether the first characters of a file are those of subtitles."""
    if re.match(r"WEBVTT[ \t\r\n]", head):
        return TIMES.search(head) is not None
    number = re.match(r"\s*\d+[ \t]*\r?\n", head)
    return TIMES.match(head, number.end() if number else 0) is not None


def spoken_lines(lines: Iterable[str]) -> Iterator[str]:
    """Yield what is spoken, a line each with its \\n, of the lines of a file."""
    first, rest = _first(iter(lines))
    if first.startswith("WEBVTT"):
        yield from _of_webvtt(rest)
    else:
        yield from _of_subrip(rest)


def _first(lines: Iterator[str]) -> tuple[str, Iterator[str]]:
    first = next(lines, "")

    def again() -> Iterator[str]:
        yield first
        yield from lines

    return first, again()


def _of_subrip(lines: Iterator[str]) -> Iterator[str]:
    """Yield all lines but times, and the number before each: an empty line within a cue does not end it."""
    held = ""
    for line in lines:
        if TIMES.match(line):
            held = "" if held.strip().isdigit() else held
            yield from _clean(held)
            held = ""
        elif line.strip():
            yield from _clean(held)
            held = line
    if not held.strip().isdigit():  # the number of a cue that was cut off
        yield from _clean(held)


def _of_webvtt(lines: Iterator[str]) -> Iterator[str]:
    """Yield the lines after the times in each block; those of notes and styles have none. Captions that roll up show a
    line again in the next cue: it is spoken once."""
    in_cue, last = False, ""
    for line in lines:
        if not line.strip():
            in_cue = False
        elif TIMES.match(line):
            in_cue = True
        elif in_cue:
            for spoken in map(unescape, _clean(line)):
                if spoken != last:
                    yield spoken
                last = spoken


def _clean(line: str) -> Iterator[str]:
    if text := " ".join(_TAG.sub("", line).split()):
        yield text + "\n"
