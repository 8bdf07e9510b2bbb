"""Whether a file is there. One that the permissions hide is not missing, though newer versions of pathlib say so."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

from tidegate.files import unreadable

_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


def is_file(path: Path) -> bool:
    """Return whether there is a file; a TidegateError where the system does not tell."""
    mode = _mode(path)
    return mode is not None and stat.S_ISREG(mode)


def is_there(path: Path) -> bool:
    """Return whether there is anything; a TidegateError where the system does not tell."""
    return _mode(path) is not None


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except ValueError:  # no name of a file
        return None
    except OSError as error:
        if error.errno in _MISSING:
            return None
        raise unreadable(path, error) from error
