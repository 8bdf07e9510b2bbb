"""Opening files that a stranger may have made: what is no regular file is refused, and no more is read than is wanted.

A FIFO would wait for a writer that never comes, a device gives bytes without end. Every file of a folder is opened
here; standard input alone is read as it comes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tidegate.errors import TidegateError

_KINDS = (
    (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a FIFO (named pipe)"), (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
)  # fmt: skip


def check_regular(path: str | Path) -> None:
    """Raise a TidegateError where there is something at a path that is no regular file, an OSError where nothing is."""
    _check_mode(path, os.stat(path).st_mode)


def open_regular(path: str | Path) -> BinaryIO:
    """Open a file to read its bytes; a TidegateError where it is no regular file or may not be read,
    without waiting for it."""
    try:
        check_regular(path)  # before it is opened: opening a device may already do something
        descriptor = os.open(path, os.O_RDONLY | _flag("O_CLOEXEC") | _flag("O_NONBLOCK") | _flag("O_BINARY"))
    except PermissionError as error:
        raise unreadable(path, error) from error
    try:
        _check_mode(path, os.fstat(descriptor).st_mode)  # another may have taken its place
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def unreadable(path: str | Path, error: OSError) -> TidegateError:
    """Return the error of a file that is there and cannot be read: it is neither missing nor damaged."""
    return TidegateError(
        f"{path} cannot be read ({error.strerror}): change the permissions of it and its folder, or give another."
    )


def read_at_most(path: str | Path, limit: int) -> bytes:
    """Return a file's bytes; a ValueError where there are more than `limit`, of which no more are read."""
    with open_regular(path) as file:
        content = file.read(min(os.fstat(file.fileno()).st_size, limit) + 1)  # a size that is a lie costs nothing
        if len(content) > limit:
            raise ValueError(f"larger than {limit:,} bytes")
        return content


def read_lines(path: str | Path, longest: int) -> Iterator[bytes]:
    """Yield a file's lines with their ends; a TidegateError for one of more than `longest` bytes, of which no more are
    read."""
    with open_regular(path) as file:
        number = 0
        while line := file.readline(longest + 1):
            number += 1
            if len(line) > longest:
                raise TidegateError(
                    f"{path}, line {number}, has more than {longest:,} bytes, which no line of such a file has: "
                    "restore the file from a copy, or remove the line."
                )
            yield line


def _check_mode(path: str | Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for test, name in _KINDS if test(mode)), "no regular file")
        raise TidegateError(f"{path} is {kind}, but a regular file was expected: put the file itself there.")


def _flag(name: str) -> int:
    return int(getattr(os, name, 0))  # not every system has each
