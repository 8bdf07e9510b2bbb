"""What a Python caller may give where several strings, or a number, are wanted."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable
from typing import Any, overload


@overload
def one_or_more(value: str | Iterable[str]) -> Iterable[str]: ...


@overload
def one_or_more(value: Any) -> Iterable[Any]: ...


def one_or_more(value: Any) -> Iterable[Any]:
    """Return a lone string or path as the only one of a list, and not as its letters; several as they are."""
    return (value,) if isinstance(value, str | os.PathLike) or not isinstance(value, Iterable) else value


def plain_number(value: Any, whole: bool) -> int | float | None:
    """Return a number, NumPy's as well, as one of Python's, a whole one as an int; None where it is no such number."""
    if not isinstance(value, numbers.Real):
        return None
    if isinstance(value, numbers.Integral):
        return value if isinstance(value, int) else int(value)
    plain = value if type(value) is float else float(value)
    return plain if not whole else int(plain) if plain.is_integer() else None
