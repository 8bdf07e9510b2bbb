"""The names of labels: one spelling of each, however a file writes it, and what is no label.

- A whole number is the same label however it is written: ``0``, ``0.0``, ``-0``, ``0.000e+00``. Other numbers keep
  their spelling, since ``3.1`` and ``3.10`` may be versions; so does ``1E3``, without a decimal point, which may be a
  code.
- JSON's ``true`` is ``True``, as Python and pandas write it into a table. Names that differ in case alone are
  different: case may tell them apart.
- Spaces around a name do not count, and names are in NFC, as texts are.
- A missing value is no label: null, NaN, an empty cell, and in a table the words that stand for one. A class of that
  name can be written as a string in a .jsonl.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tidegate.errors import TidegateError
from tidegate.text.normalize import normalize, refuse_surrogates

MOST_LABELS, LONGEST_LABEL = 10_000, 200
FEW_LABELS = 20
"""so many are never taken for something else"""
BETWEEN = "|"
"""stands between the labels of one text in a table"""
MISSING = ("nan", "NaN", "<NA>")
"""what pandas and NumPy write for a missing value"""
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?)?")
_LARGEST_WHOLE = 2**53


def label_name(where: str, value: Any, *, in_table: bool = False) -> str:
    """Return the name of a label; a TidegateError, which names the place, where a value is none.

    in_table: the value is a cell of a table, in which a missing one is a word.
    """
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, str):
        refuse_surrogates(value, where)
        name = normalize(value).strip()
        if in_table and name in MISSING:
            raise TidegateError(
                f"{where} has the label {name!r}, which stands for a missing value: give this text a label or remove "
                'it. Where that is the name of a class, write it as a string in a .jsonl, as in {"label": "nan"}.'
            )
        return _of_number(name)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        raise TidegateError(
            f"{where} has the label {'null' if value is None else value}, which is no label: give this text one or "
            "remove it."
        )
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, int):
        return str(value)
    raise TidegateError(f"{where} has the label {str(value)[:80]!r}: a name or a number is wanted.")


def _of_number(name: str) -> str:
    """Return a whole number without a fraction, and all else as it is."""
    if _NUMBER.fullmatch(name):
        number = float(name)
        if number.is_integer() and abs(number) <= _LARGEST_WHOLE:
            return str(int(number))
    return name


def check_label(where: str, label: str) -> None:
    """Raise a TidegateError for the name of a label that is empty or too long, or has several lines."""
    if not label or len(label) > LONGEST_LABEL or "\n" in label:
        several = "" if label else " A text may have none with --multi-label."
        raise TidegateError(
            f"{where} has the label {label[:40]!r}, but a label is one line of 1 to {LONGEST_LABEL} characters."
            f"{several}"
        )


def label_names(labels: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return all labels, sorted; a TidegateError where they are too few to tell apart, or too many."""
    names = sorted({label for some in labels for label in some})
    if not 2 <= len(names) <= MOST_LABELS and not (names and len(names) <= MOST_LABELS and any(not s for s in labels)):
        raise TidegateError(
            f"The texts have {len(names)} label(s) ({', '.join(names[:3])[:200]}), but from 2 to {MOST_LABELS:,} are "
            "wanted: is it the right --label-column?"
        )
    _check_are_names(names, sum(map(len, labels)))
    return tuple(names)


def differ_in_case(names: Iterable[str]) -> list[str]:
    """Return the names that others are like but for the case of letters."""
    names = list(names)
    counts = Counter(name.casefold() for name in names)
    return sorted((name for name in names if counts[name.casefold()] > 1), key=lambda name: (name.casefold(), name))


def _check_are_names(names: Sequence[str], texts: int) -> None:
    """Refuse what is no label but a measure, or tells each text from all others: nothing can be learnt of either."""
    if len(names) <= FEW_LABELS:
        return
    try:
        numbers = [float(name) for name in names]
    except ValueError:
        numbers = []
    is_measure = bool(numbers) and not all(number.is_integer() for number in numbers)
    if not is_measure and 2 * len(names) <= texts:
        return
    seen = f"{len(names):,} different ones for {texts:,} texts"
    kind = f"numbers from {min(numbers):g} to {max(numbers):g}, {seen}" if numbers else f"{seen}, such as {names[0]!r}"
    raise TidegateError(
        f"The labels are {kind}: a label is a name that many texts have. Name the right --label-column, or put what "
        "is measured into classes."
    )
