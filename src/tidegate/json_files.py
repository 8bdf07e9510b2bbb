"""Reading JSON that a stranger may have written: its size, depth and number of values are checked before it is parsed.

A parsed file takes up to a hundred times its size in memory. So its brackets and commas are counted first, outside of
strings, which takes neither memory nor, at 200 MB/s, time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tidegate.errors import TidegateError
from tidegate.files import read_at_most

CHUNK = 1 << 20
"""bytes that are looked through at a time"""
DEEPEST = 20
_QUOTE, _COMMA, _OPEN, _CLOSE = b'"', b",", b"[{", b"]}"


class JsonLimits(NamedTuple):
    """The most that a kind of file has."""

    size: int
    """bytes"""
    values: int
    """members of all lists and objects"""
    containers: int
    """lists and objects"""


def read_json(file: Path, limits: JsonLimits, restore: str) -> dict[str, Any]:
    """Read a JSON object; a TidegateError where the file holds none, or more than `limits`.

    restore: what the error says to do.
    """
    try:
        values = parse_json(read_at_most(file, limits.size), limits)
    except (OSError, ValueError, RecursionError) as error:
        raise TidegateError(f"{file} cannot be read as JSON ({error}): {restore}.") from error
    if not isinstance(values, dict):
        raise TidegateError(f"{file} holds a JSON {type(values).__name__}, but an object was wanted: {restore}.")
    return values


def parse_json(content: bytes, limits: JsonLimits, surrogates: bool = False) -> Any:
    """Parse JSON in UTF-8.

    Raises ValueError where it has more than `limits`, a name twice in an object, a number that is not finite, or,
    unless `surrogates`, half of a character.
    """
    if len(content) > limits.size:
        raise ValueError(f"larger than {limits.size:,} bytes")
    _check_amounts(content, limits)
    values = json.loads(
        content.decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_refuse_constant, parse_float=_finite
    )
    if not surrogates and b"\\ud" in content.lower():
        _check_surrogates(values)
    return values


def _check_amounts(content: bytes, limits: JsonLimits) -> None:
    values = containers = depth = 0
    inside = False
    for chunk in _chunks(content):
        quotes = np.bitwise_xor.accumulate(chunk == ord(_QUOTE)) ^ inside
        inside = bool(quotes[-1])
        opens, closes = (_among(chunk, characters) & ~quotes for characters in (_OPEN, _CLOSE))
        containers += int(opens.sum())
        values += int(((chunk == ord(_COMMA)) & ~quotes).sum())
        if containers > limits.containers:
            raise ValueError(f"it has more than {limits.containers:,} lists and objects")
        if values + containers > limits.values:
            raise ValueError(f"it has more than {limits.values:,} values")
        depths = depth + np.cumsum(opens.view(np.int8) - closes.view(np.int8), dtype=np.int64)
        if depths.max() > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} deep")
        depth = int(depths[-1])


def _chunks(content: bytes) -> Iterator[NDArray[np.uint8]]:
    """Yield the bytes in chunks that end within no escape, and whose escaped characters are spaces."""
    start = 0
    while start < len(content):
        chunk = content[start : start + CHUNK]
        if (len(chunk) - len(chunk.rstrip(b"\\"))) % 2:  # the character after the last is escaped
            chunk = content[start : start + CHUNK + 1]
        start += len(chunk)
        if b"\\" in chunk:
            chunk = chunk.replace(b"\\\\", b"  ").replace(b'\\"', b"  ")
        yield np.frombuffer(chunk, np.uint8)


def _among(chunk: NDArray[np.uint8], characters: bytes) -> NDArray[np.bool_]:
    one, other = characters
    return (chunk == one) | (chunk == other)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"it has the name {twice[:40]!r} twice in one object")
    return values


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _check_surrogates(values: Any) -> None:
    try:
        json.dumps(values, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"a string has the lone surrogate U+{ord(error.object[error.start]):04X}") from None
