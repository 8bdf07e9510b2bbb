"""Files that are whole at every moment: written under a temporary name, synced, then renamed over the old one."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from tidegate.errors import TidegateError


def write_atomically(path: Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Put `content` at `path`: the bytes themselves, or a function that writes them into an open binary file.

    At no moment, a power cut or ``kill -9`` included, is the file at `path` anything but the old or the new one. Where
    writing fails the old file stays and the temporary one goes; raises TidegateError for what the system refuses.
    """
    try:
        _write(path, content)
    except OSError as error:
        raise TidegateError(
            f"{path} could not be written ({error.strerror or error}): the file before it is untouched; "
            "make room or mend the permissions, or give another folder."
        ) from error


def _write(path: Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    # in the same folder, so that the renaming stays within one file system; two writers never share a name
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with open(temporary, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:  # Ctrl-C as well: nothing is left behind
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name itself last; not every system lets a folder be opened or synced (Windows does not)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
