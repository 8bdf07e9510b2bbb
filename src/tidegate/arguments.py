"""What a Python caller may give where several strings are wanted."""

from __future__ import annotations

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
