"""Text from standard input: kept in the cache as a file, because a text is read more than once."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from tidegate.errors import TidegateError
from tidegate.text.containers import compression_of

NAME = "-"
"""How standard input is named among files."""
_BLOCK = 2**20


def keep_input(stream: BinaryIO, cache: Path) -> Path:
    """Copy a stream to its end into the cache, under a name that tells its content; returns the file."""
    digest, size, head = hashlib.sha256(), 0, b""
    partial = None
    try:
        cache.mkdir(parents=True, exist_ok=True)
        number, partial = tempfile.mkstemp(prefix="input-", suffix=".partial", dir=cache)
        with open(number, "wb") as file:
            while block := stream.read(_BLOCK):
                head = head or block
                digest.update(block)
                size += len(block)
                file.write(block)
        if not size:
            raise TidegateError("Standard input is empty: write the text to it, as in: cat *.txt | tidegate train -")
        compression = compression_of(head)
        path = cache / f"input-{digest.hexdigest()[:32]}.txt{f'.{compression}' if compression else ''}"
        os.replace(partial, path)
        partial = None
        return path
    except OSError as error:
        raise TidegateError(f"Standard input could not be kept in {cache}: {error.strerror or error}.") from None
    finally:
        if partial is not None:
            Path(partial).unlink(missing_ok=True)
