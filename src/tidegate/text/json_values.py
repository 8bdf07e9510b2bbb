"""JSON as a stream: the items of a list, or values one after another, without holding the whole file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from tidegate.errors import TidegateError

VALUE_CHARACTERS = 2**26
"""Longest single value, an item of a list or an object, that is read: 64 Mi characters."""
_SPACE = re.compile(r"[ \t\r\n]*")
_LITERAL = 16
"""characters before the end of what is there in which an error may be that of a value cut off"""
_DECODER = json.JSONDecoder()


def json_items(name: str, parts: Iterable[str], wanted: str | None = None) -> Iterator[tuple[str, Any]]:
    """Yield the place and the value of each item: those of a list, or of values that stand one after another.

    A single object without the field `wanted`, where one is named, that holds one list of objects, or one of strings,
    stands for its items.
    """
    reader, number = _Reader(name, parts), 0
    while first := reader.peek():
        if first == "[":
            for where, value in reader.listed():
                number += 1
                yield f"{name}, item {number} ({where})", value
            continue
        number += 1
        where, value = reader.value()
        if number == 1 and wanted and isinstance(value, dict) and wanted not in value and not reader.peek():
            yield from _unwrapped(name, where, value)
        else:
            yield f"{name}, item {number} ({where})", value


def looks_like_json(head: str, is_whole: bool) -> bool:
    """Whether the first characters of a file are JSON with text in it: objects or strings, and nothing between them."""
    if not re.match(r'\s*(\[\s*)?[{"]', head) or re.match(r'\s*"', head):
        return False
    found: list[Any] = []
    try:
        for _, value in json_items("", [head]):
            found.append(value)
    except NotJsonError as error:
        if is_whole or not error.cut_off:
            return False
    has_text = all(isinstance(value, str) or (isinstance(value, dict) and value) for value in found)
    return has_text and (bool(found) or re.match(r'\s*(\[\s*)?\{\s*"', head) is not None)


def _unwrapped(name: str, where: str, value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the items of the one list that an object holds; the object itself where there is none."""
    for kind in (dict, str):
        lists = [key for key, one in value.items() if isinstance(one, list) and one and isinstance(one[0], kind)]
        if len(lists) > 1:
            raise TidegateError(
                f"{name} is one object with the lists {', '.join(map(repr, lists[:8]))}: write the items of the one "
                "that is wanted to a file of their own, as a list."
            )
        if lists:
            yield from ((f"{name}, item {i} of {lists[0]!r}", one) for i, one in enumerate(value[lists[0]], 1))
            return
    yield f"{name}, item 1 ({where})", value


class NotJsonError(TidegateError):
    """An error of JSON."""

    def __init__(self, message: str, cut_off: bool) -> None:
        super().__init__(message)
        self.cut_off = cut_off
        """whether more text could mend it"""


class _Reader:
    """Reads values from parts of a text."""

    def __init__(self, name: str, parts: Iterable[str]) -> None:
        self._name, self._parts, self._ended = name, iter(parts), False
        self._text, self._at, self._line = "", 0, 1

    def peek(self) -> str:
        """Return the next character that is no white space, which is not yet read; empty at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            self._move(self._at if space is None else space.end())
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def listed(self) -> Iterator[tuple[str, Any]]:
        """Yield the line and the value of each item of the list that begins here."""
        self._move(self._at + 1)
        if self.peek() == "]":
            self._move(self._at + 1)
            return
        while True:
            self.peek()
            yield self.value()
            if (mark := self.peek()) not in (",", "]"):
                raise self._error(f"',' or ']' was expected, but {mark!r} found", self._at, not mark)
            self._move(self._at + 1)
            if mark == "]":
                return

    def value(self) -> tuple[str, Any]:
        """Return the line and the value that begins here."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut_off = error.msg.startswith("Unterminated") or error.pos >= len(self._text) - _LITERAL
                if not cut_off or not self._more():
                    raise self._error(error.msg, error.pos, cut_off) from None
                continue
            except (ValueError, RecursionError) as error:  # a number of too many digits, lists in lists without end
                raise self._error(str(error), self._at, False) from None
            if end == len(self._text) and not isinstance(value, str | list | dict) and self._more():
                continue  # a number may go on
            where = f"line {self._line}"
            self._move(end)
            return where, value

    def _move(self, to: int) -> None:
        self._line += self._text.count("\n", self._at, to)
        self._at = to

    def _more(self) -> bool:
        """Take about as much text again as there is, so that a long value is not begun too often."""
        rest = self._text[self._at :]
        if len(rest) > VALUE_CHARACTERS:
            raise TidegateError(
                f"{self._name}, line {self._line}, has a JSON value of more than {VALUE_CHARACTERS:,} characters: "
                "write one object per line to a .jsonl."
            )
        taken, size = [rest], 0
        while size <= len(rest) and not self._ended:
            part = next(self._parts, None)
            self._ended = part is None
            taken.append(part or "")
            size += len(part or "")
        self._text, self._at = "".join(taken), 0
        return size > 0

    def _error(self, what: str, at: int, cut_off: bool) -> NotJsonError:
        line = self._line + self._text.count("\n", self._at, at)
        return NotJsonError(
            f"{self._name}, line {line}, is no JSON ({what}): a list of strings or objects is wanted, or one object "
            "per line.",
            cut_off,
        )
