"""The one error that a user sees: it says what was found, what was wanted and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TidegateError(Exception):
    """A mistake that its reader can mend: in a flag, a file, a folder or a text.

    The command line prints its sentence alone, without a traceback, and ends with exit code 2.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the nearest of the known names, or an empty string where none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
