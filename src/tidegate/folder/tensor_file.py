"""Writing a safetensors file one tensor after another, so that saving takes no second copy of what is saved.

The library reads such files; its writer joins all bytes first. The form: the header's length in 8 bytes, the header in
JSON, padded with spaces to a multiple of 8, then the tensors' bytes, row-major and little-endian.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tidegate.folder.atomic import write_atomically

DTYPES = {"float32": "F32", "int8": "I8"}
ALIGNMENT = 8


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
