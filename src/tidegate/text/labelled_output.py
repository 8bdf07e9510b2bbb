"""A file of texts with the labels that were found for them: the columns of the input, then those of the labels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import Any

from tidegate.errors import TidegateError
from tidegate.text.labels import BETWEEN
from tidegate.text.records import Layout, Record

SUFFIXES = (".csv", ".tsv", ".jsonl")
NAMES = ("label", "probability", "probabilities")
PREDICTED = "predicted_"
"""before these names, where the input has one of them"""

Answer = tuple[Any, float, dict[str, float] | None]
"""a label or a list of labels, its probability, and, where they are wanted, those of all labels"""


def check_suffix(name: str) -> None:
    """Raise a TidegateError for the name of a file that says no format."""
    if PurePath(name).suffix.lower() not in SUFFIXES:
        raise TidegateError(
            f"out is {name}, but labels are written as {', '.join(SUFFIXES)}: give a name that ends so."
        )


def output_lines(name: str, answered: Iterable[tuple[Record, Answer]]) -> Iterator[bytes]:
    """Yield the lines of a file of this name, in UTF-8: one for each record, after the header of a table."""
    suffix = PurePath(name).suffix.lower()
    lines = _objects(answered) if suffix == ".jsonl" else _rows(name, answered, suffix)
    for line in lines:  # half a pair of surrogates, which JSON can spell, stays spelled
        yield f"{line}\n".encode("utf-8", "backslashreplace")


def _objects(answered: Iterable[tuple[Record, Answer]]) -> Iterator[str]:
    for record, answer in answered:
        found = {name: value for name, value in zip(NAMES, answer, strict=True) if value is not None}
        names = _names(record.layout, tuple(found))
        row = dict(zip(record.layout.names, record.values, strict=True))
        if len(row) < len(record.values):
            raise TidegateError("Several columns of the texts have one name: rename all but one, or write a .csv.")
        yield json.dumps(row | dict(zip(names, found.values(), strict=True)), ensure_ascii=False, default=str)


def _rows(name: str, answered: Iterable[tuple[Record, Answer]], suffix: str) -> Iterator[str]:
    first: Layout | None = None
    delimiter = "\t" if suffix == ".tsv" else ","
    for record, (label, probability, _) in answered:
        if first is None:
            first = record.layout
            if suffix == ".csv" and first.delimiter in (";", "|"):  # as the spreadsheet that wrote it wants it
                delimiter = first.delimiter
            if first.has_header:
                yield _row([*first.names, *_names(first, NAMES[:2])], delimiter)
        cells = record.values if record.layout.names == first.names else _in_order(name, first, record)
        shown = BETWEEN.join(label) if isinstance(label, list) else label
        yield _row([*map(_cell, cells), shown, f"{probability:.6f}"], delimiter)


def _names(layout: Layout, names: Sequence[str]) -> Sequence[str]:
    """Return what the columns of the labels are called beside those of the input."""
    if not set(names) & set(layout.names):
        return names
    names = [PREDICTED + name for name in names]
    if taken := sorted(set(names) & set(layout.names)):
        raise TidegateError(f"The texts have the column {taken[0]!r} already: rename or remove it.")
    return names


def _in_order(name: str, first: Layout, record: Record) -> list[Any]:
    """Return the values of an object in the order of the first, which may have more of them."""
    row = dict(zip(record.layout.names, record.values, strict=True))
    if more := [one for one in row if one not in first.names]:
        raise TidegateError(
            f"{name} has the columns of the first text ({', '.join(map(repr, first.names))[:500]}), but a later text "
            f"has {more[0]!r} as well: give the name of a .jsonl, or label one file at a time."
        )
    return [row.get(one, "") for one in first.names]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _row(cells: Sequence[str], delimiter: str) -> str:
    """Return a row as RFC 4180 has it."""
    special = f'"\n\r{delimiter}'
    quoted = (
        '"' + cell.replace('"', '""') + '"' if cell != cell.strip() or any(c in cell for c in special) else cell
        for cell in cells
    )
    return delimiter.join(quoted)
