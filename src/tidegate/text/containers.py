"""Files within files: text that is compressed (.gz, .bz2, .xz, .zst) or lies in a .zip, as a stream of its bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import zipfile
import zlib
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, cast

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from tidegate.errors import TidegateError

Compression = Literal["gz", "bz2", "xz", "zst"]
COMPRESSIONS: dict[str, Compression] = {".gz": "gz", ".bz2": "bz2", ".xz": "xz", ".zst": "zst"}
_STARTS: dict[bytes, Compression] = {
    b"\x1f\x8b\x08": "gz",
    b"BZh91AY&SY": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zst",
}
"""how compressed files begin"""
MEMBERS = 1_000_000
"""most files of one .zip"""

ERRORS: tuple[type[Exception], ...] = (
    OSError,  # gzip.BadGzipFile too
    EOFError,
    zlib.error,
    lzma.LZMAError,
    zstd.ZstdError,
    zipfile.BadZipFile,
    NotImplementedError,  # a .zip by a method that Python lacks
)
"""What reading a damaged or vanished file may raise."""


_DAMAGE = (KeyError, ValueError, OverflowError, RuntimeError)
"""What `zipfile` raises besides for a damaged .zip: a name that is not UTF-8, an offset beyond all, no such member."""


def compression_of(head: bytes) -> Compression | None:
    """Return how a file is compressed by its first bytes."""
    return next((compression for start, compression in _STARTS.items() if head.startswith(start)), None)


def decompressed(file: BinaryIO, compression: Compression | None, stack: ExitStack) -> BinaryIO:
    """Return the stream of what a file holds, compressed as its suffix or its first bytes say; the stack closes it."""
    compression = compression or compression_of(cast(io.BufferedReader, file).peek(16)[:16])
    if compression is None:
        return file
    opens: dict[str, Any] = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open, "zst": zstd.open}
    return cast(BinaryIO, stack.enter_context(opens[compression](file)))


class Archives:
    """Keeps the .zip open that was read last: its list of files, which may be long, is read once, not for each file."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._last: tuple[Path, BinaryIO, zipfile.ZipFile] | None = None

    def __enter__(self) -> Archives:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def member(self, path: Path, member: str, stack: ExitStack) -> tuple[BinaryIO, BinaryIO]:
        """Return the stream of one file of a .zip, and the file on disk; the stack closes the stream."""
        if self._last is None or self._last[0] != path:
            self._last = None
            self._open.close()
            file: BinaryIO = self._open.enter_context(path.open("rb"))
            self._last = path, file, self._open.enter_context(_archive(file))
        _, file, archive = self._last
        try:
            return cast(BinaryIO, stack.enter_context(archive.open(member))), file
        except _DAMAGE as error:  # of a file that is damaged, or another than when it was listed
            raise zipfile.BadZipFile(f"{member}: {error}") from None


def zip_members(path: str, file: BinaryIO) -> list[tuple[str, int]]:
    """Return (name, compressed size) of the visible files of a .zip, sorted; a TidegateError if one is encrypted, or
    the archive is none."""
    try:
        with _archive(file) as archive:
            members = [info for info in archive.infolist() if not info.is_dir() and _visible(info.filename)]
    except ERRORS as error:
        raise TidegateError(f"{path} could not be read as a .zip ({error}): give a whole one.") from None
    if len(members) > MEMBERS:
        raise TidegateError(f"{path} has {len(members):,} files, {MEMBERS:,} are the limit: give them in several.")
    for info in members:
        if info.flag_bits & 1:
            raise TidegateError(f"{path} is encrypted ({info.filename}): unpack it first.")
    return sorted((info.filename, info.compress_size) for info in members)


def _archive(file: BinaryIO) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except _DAMAGE as error:
        raise zipfile.BadZipFile(str(error)) from None


def _visible(name: str) -> bool:
    """Whether a member is no hidden file; __MACOSX is what a Mac adds to a .zip."""
    parts = PurePosixPath(name).parts
    return not any(part.startswith(".") or part == "__MACOSX" for part in parts)
