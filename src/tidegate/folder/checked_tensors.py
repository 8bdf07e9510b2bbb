"""A file of tensors of which names, shapes and a digest are checked: what stands on an encoder is kept so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors
from numpy.typing import NDArray

from tidegate.errors import TidegateError
from tidegate.folder.tensor_file import write_tensor_file
from tidegate.folder.tensors import RESTORE, Tensors, weights_digest

Shapes = Mapping[str, tuple[int, ...]]


def write_checked(file: Path, tensors: Tensors, shapes: Shapes, metadata: Mapping[str, str]) -> None:
    """Write tensors atomically; those of other names or shapes, or not finite, are refused before."""
    _check(file, tensors, shapes)
    whole = dict(metadata)
    whole["weights_digest"] = weights_digest(tensors, whole)
    write_tensor_file(file, tensors, whole)


def read_checked(file: Path, shapes: Shapes, metadata: Mapping[str, str]) -> dict[str, NDArray[np.float32]]:
    """Read tensors of these names and shapes; a TidegateError where the file is missing, changed, or was written with
    other metadata than this."""
    if not file.is_file():
        raise TidegateError(f"{file} is missing: the training was stopped before it first saved; go on with it.")
    try:
        with safetensors.safe_open(file, framework="np") as opened:
            found = opened.metadata() or {}
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 (safe_open is no dict)
            if {name: tuple(part.get_shape()) for name, part in slices.items()} != dict(shapes):
                raise TidegateError(f"{file} holds tensors of other names or shapes than its settings want: {RESTORE}.")
            if any(part.get_dtype() != "F32" for part in slices.values()):
                raise TidegateError(f"{file} holds tensors that are not float32: {RESTORE}.")
            tensors = {name: opened.get_tensor(name) for name in shapes}
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise TidegateError(f"{file} is no whole safetensors file ({error}): {RESTORE}.") from error
    for name, value in metadata.items():
        if found.get(name) != value:
            raise TidegateError(f"{file} was written with other {name.replace('_', ' ')} than its settings: {RESTORE}.")
    if weights_digest(tensors, found) != found.get("weights_digest"):
        raise TidegateError(f"{file} was changed after it was written (its digest does not fit): {RESTORE}.")
    _check(file, tensors, shapes)
    return tensors


def _check(file: Path, tensors: Tensors, shapes: Shapes) -> None:
    if {name: tensor.shape for name, tensor in tensors.items()} != dict(shapes):
        raise TidegateError(f"{file}: the tensors are not those of the settings: {RESTORE}.")
    for name, tensor in tensors.items():
        if tensor.dtype != np.float32 or not np.isfinite(tensor).all():
            raise TidegateError(f"{file}: {name} holds no finite float32 numbers: {RESTORE}.")
