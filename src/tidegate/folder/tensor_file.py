"""Safetensors files: opened with checks, and written one tensor after another, so that saving takes no second copy.

The library reads such files, once their header is known to be small; its writer joins all bytes first. The form: the
header's length in 8 bytes, the header in JSON, padded with spaces to a multiple of 8, then the tensors' bytes,
row-major and little-endian.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors
from numpy.typing import NDArray

from tidegate.files import open_regular
from tidegate.folder.atomic import write_atomically
from tidegate.json_files import JsonLimits, parse_json

DTYPES = {"float32": "F32", "int8": "I8"}
ALIGNMENT = 8
HEADER_LIMITS = JsonLimits(size=1 << 24, values=1_000_000, containers=200_000)
"""of a header: some 60,000 tensors, and what its metadata says"""
FAILURES = (safetensors.SafetensorError, OSError, ValueError)
"""what opening or reading a file that is no whole safetensors file raises"""


@contextlib.contextmanager
def opened_tensors(path: Path, framework: str = "np") -> Iterator[Any]:
    """Open a safetensors file as the library does, once it is known to be a regular file with a small header.

    Raises TidegateError for what is no regular file, one of `FAILURES` for what is no such file.
    """
    with open_regular(path) as file:
        size = int.from_bytes(file.read(ALIGNMENT), "little")
        if size > HEADER_LIMITS.size:
            raise ValueError(f"its header would have {size:,} bytes, {HEADER_LIMITS.size:,} are the limit")
        parse_json(file.read(size), HEADER_LIMITS, surrogates=True)
    with safetensors.safe_open(path, framework=framework) as tensors:
        yield tensors


def write_tensor_file(path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write tensors, of a dtype in `DTYPES`, and metadata atomically; a TidegateError for what the disk refuses."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        dtype, shape = DTYPES[tensor.dtype.name], list(tensor.shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    written = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    written += b" " * (-len(written) % ALIGNMENT)

    def write(file: BinaryIO) -> None:
        file.write(len(written).to_bytes(8, "little"))
        file.write(written)
        for tensor in tensors.values():
            little_endian = np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<"))
            file.write(little_endian.reshape(-1).view(np.uint8).data)

    write_atomically(path, write)
