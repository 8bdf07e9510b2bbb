"""Safetensors files: opened and read with checks, and written one tensor after another, so that saving takes no second
copy.

The library reads such files, once their header is known to be small; its writer joins all bytes first. The form: the
header's length in 8 bytes, the header in JSON, padded with spaces to a multiple of 8, then the tensors' bytes,
row-major and little-endian. Larger dtypes come first, those of one dtype by their names: the same tensors make the same
file, in whatever order they come.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors
from numpy.typing import NDArray

from tidegate.errors import TidegateError
from tidegate.files import open_regular
from tidegate.folder.atomic import write_atomically
from tidegate.json_files import JsonLimits, parse_json

DTYPES = {"float32": "F32", "int8": "I8"}
ALIGNMENT = 8
HEADER_LIMITS = JsonLimits(size=1 << 24, values=1_000_000, containers=200_000)
"""of a header: some 60,000 tensors, and what its metadata says"""
FAILURES = (safetensors.SafetensorError, OSError, ValueError)
"""what opening or reading a file that is no whole safetensors file raises"""
DIGEST = "weights_digest"
"""the metadata's field that holds the digest of all else"""
CHANGED = "was changed after it was written (its digest does not fit its content)"


def content_digest(tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> str:
    """Return the sha256 over the metadata (less the digest itself) and each tensor's name, shape and bytes, sorted."""
    digest = hashlib.sha256()
    for name in sorted(metadata.keys() - {DIGEST}):
        digest.update(f"{name}={metadata[name]}\n".encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tensors[name].shape}\n".encode())
        little_endian = tensors[name].dtype.newbyteorder("<")
        digest.update(np.ascontiguousarray(tensors[name], little_endian).data)
    return digest.hexdigest()


def write_tensor_file(path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write tensors, of a dtype in `DTYPES`, metadata and the digest of both atomically; a TidegateError for what the
    disk refuses."""
    header: dict[str, Any] = {"__metadata__": {**metadata, DIGEST: content_digest(tensors, metadata)}}
    names = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    end = 0
    for name in names:
        begin, end = end, end + tensors[name].nbytes
        dtype, shape = DTYPES[tensors[name].dtype.name], list(tensors[name].shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    written = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    written += b" " * (-len(written) % ALIGNMENT)

    def write(file: BinaryIO) -> None:
        file.write(len(written).to_bytes(8, "little"))
        file.write(written)
        for name in names:
            little_endian = np.ascontiguousarray(tensors[name], tensors[name].dtype.newbyteorder("<"))
            file.write(little_endian.reshape(-1).view(np.uint8).data)

    write_atomically(path, write)


@contextlib.contextmanager
def opened_tensors(path: Path) -> Iterator[Any]:
    """Open a safetensors file as the library does, once it is known to be a regular file with a small header.

    Raises TidegateError for what is no regular file or may not be read, one of `FAILURES` for what is no such file.
    """
    with open_regular(path) as file:
        size = int.from_bytes(file.read(ALIGNMENT), "little")
        if size > HEADER_LIMITS.size:
            raise ValueError(f"its header would have {size:,} bytes, {HEADER_LIMITS.size:,} are the limit")
        parse_json(file.read(size), HEADER_LIMITS, surrogates=True)
    with safetensors.safe_open(path, framework="np") as tensors:
        yield tensors


def check_digest(path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str], remedy: str) -> None:
    """Raise a TidegateError, which names the remedy, unless a file holds what was written into it."""
    if metadata.get(DIGEST) != content_digest(tensors, metadata) or not _is_padded_with_spaces(path):
        raise TidegateError(f"{path} {CHANGED}: {remedy}.")


def _is_padded_with_spaces(path: Path) -> bool:
    """Whether the header ends as it was written: JSON readers skip any white space there, so a change would hide."""
    with open_regular(path) as file:
        size = int.from_bytes(file.read(8), "little")
        return file.read(size).rstrip(b" ").endswith(b"}")
