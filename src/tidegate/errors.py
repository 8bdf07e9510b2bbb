"""The one error that a user sees: it says what was found, what was wanted and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TidegateError(Exception):
    """A mistake that its reader can mend: in a flag, a file, a folder or a text.

    The command line prints its sentence alone, without a traceback, and ends with exit code 2.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the known name that begins so, or else for the most alike; an empty string
    where none is near."""
    spelled = {one.lstrip("-").lower(): one for one in known}  # dashes would make any two flags alike
    word = name.lstrip("-").lower()
    longer = sorted((one for one in spelled if len(word) > 1 and one.startswith(word)), key=len)
    near = longer or difflib.get_close_matches(word, list(spelled), n=1, cutoff=0.6)
    return f" (did you mean {spelled[near[0]]!r}?)" if near else ""
