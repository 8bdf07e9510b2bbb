"""``model.safetensors``: which tensors a model has, and how they are written and checked.

All tensors are float32, little-endian, but where the file is stored in int8, for models that are to be small on disk:
there each row of a matrix is whole numbers from -127 to 127, and its factor stands in a tensor of its own. Whoever
reads gets float32. The file's metadata holds the format and its version, the model's settings, the
tokenizer's digest, and one digest over all of that and over every tensor, so that no changed byte goes unnoticed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidegate.config import ModelConfig
from tidegate.errors import TidegateError
from tidegate.folder.tensor_file import FAILURES, check_digest, opened_tensors, write_tensor_file
from tidegate.theory.layout import GATES

FORMAT = "tidegate-model"
FORMAT_VERSION = 1
METADATA = ("format", "format_version", "model", "tokenizer_digest", "weights_digest")
STORAGE = "storage"
"""in the metadata of a file in int8 alone"""
INT8, SCALE, LARGEST = "int8", ".scale", 127
RESTORE = "restore the file from a copy, or train the model again"

Tensors = Mapping[str, NDArray[np.float32]]


def expected_shapes(model: ModelConfig, vocabulary_size: int) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor of a model; the one list of what a model folder holds."""
    V, E, H = vocabulary_size, model.E, model.hidden_size
    rows = len(GATES[model.cell]) * H
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (V, E)}
    if E != H:
        shapes["embedding_projection.weight"] = (H, E)
    for i in range(model.layers):
        if model.block == "residual":
            shapes[f"blocks.{i}.norm.weight"] = (H,)
        shapes[f"blocks.{i}.cell.weight_ih_l0"] = (rows, H)
        shapes[f"blocks.{i}.cell.weight_hh_l0"] = (rows, H)
        shapes[f"blocks.{i}.cell.bias_ih_l0"] = (rows,)
        shapes[f"blocks.{i}.cell.bias_hh_l0"] = (rows,)
    if model.block == "residual":
        shapes["final_norm.weight"] = (H,)
    if model.tied and E != H:
        shapes["output_projection.weight"] = (E, H)
    if not model.tied:
        shapes["output.weight"] = (V, H)
    shapes["output.bias"] = (V,)
    return shapes


def check_tensors(tensors: Tensors, model: ModelConfig, vocabulary_size: int, where: str) -> None:
    """Raise a TidegateError unless names, shapes and dtypes are the model's and every number is finite."""
    _check_kinds({name: (t.shape, _dtype(t)) for name, t in tensors.items()}, model, vocabulary_size, where)
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise TidegateError(
                f"{where}: tensor {name} holds numbers that are not finite, but weights must be; {RESTORE}."
            )


def _dtype(tensor: NDArray[np.float32]) -> str:
    return "F32" if tensor.dtype == np.float32 else str(tensor.dtype)


def _check_kinds(
    found: Mapping[str, tuple[tuple[int, ...], str]],
    model: ModelConfig,
    vocabulary_size: int,
    where: str,
    int8: bool = False,
) -> None:
    wanted = expected_shapes(model, vocabulary_size)
    matrices = {name for name, shape in wanted.items() if int8 and len(shape) == 2}
    wanted |= {name + SCALE: wanted[name][:1] for name in matrices}
    for name in sorted(wanted.keys() - found.keys()):
        raise TidegateError(
            f"{where} lacks the tensor {name} {wanted[name]} that the model's settings ask for; {RESTORE}."
        )
    for name in sorted(found.keys() - wanted.keys()):
        raise TidegateError(
            f"{where} holds the tensor {name} {found[name][0]}, which a model of these settings lacks; {RESTORE}."
        )
    for name in wanted:
        shape, dtype = found[name]
        if shape != wanted[name]:
            raise TidegateError(
                f"{where}: tensor {name} has the shape {shape}, but {wanted[name]} was wanted; {RESTORE}."
            )
        right = "I8 (int8)" if name in matrices else "F32 (float32)"
        if dtype != right.split()[0]:
            raise TidegateError(f"{where}: tensor {name} is of dtype {dtype}, but {right} was wanted; {RESTORE}.")


def quantized(tensors: Tensors) -> dict[str, NDArray[Any]]:
    """Return the tensors in int8: each row of a matrix as whole numbers, whose factor is its largest magnitude / 127,
    so that no number is off by more than half of that."""
    found: dict[str, NDArray[Any]] = {}
    for name, tensor in tensors.items():
        if tensor.ndim < 2:
            found[name] = tensor
            continue
        scale = (np.abs(tensor).max(axis=1) / LARGEST).astype(np.float32)
        scale[scale == 0] = 1.0
        found[name] = np.rint(tensor / scale[:, None]).astype(np.int8)
        found[name + SCALE] = scale
    return found


def _dequantized(stored: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    found = {name: tensor.astype(np.float32) for name, tensor in stored.items() if not name.endswith(SCALE)}
    for name, tensor in found.items():
        if tensor.ndim == 2:
            tensor *= stored[name + SCALE][:, None]  # in place: new memory takes longer than the product
    return found


def write_tensors(
    path: Path,
    tensors: Tensors,
    model: ModelConfig,
    vocabulary_size: int,
    tokenizer_digest: str,
    int8: bool = False,
) -> None:
    """Write ``model.safetensors`` atomically; what could not be read back is refused before anything is written.

    int8: in a quarter of the bytes, see `quantized`.
    """
    check_tensors(tensors, model, vocabulary_size, str(path))
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "model": json.dumps(asdict(model), sort_keys=True, separators=(",", ":")),
        "tokenizer_digest": tokenizer_digest,
    }
    stored: Mapping[str, NDArray[Any]] = tensors
    if int8:
        metadata[STORAGE], stored = INT8, quantized(tensors)
    write_tensor_file(path, stored, metadata)


def read_tensors(
    path: Path, model: ModelConfig, vocabulary_size: int
) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
    """Return tensors and metadata of ``model.safetensors``.

    Raises TidegateError where the file is torn, changed in any byte, of another version, or of another model.
    """
    try:
        with opened_tensors(path) as file:
            metadata = file.metadata() or {}
            _check_metadata(path, metadata)
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no dict)
            kinds = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
            _check_kinds(kinds, model, vocabulary_size, str(path), STORAGE in metadata)
            tensors = {name: file.get_tensor(name) for name in kinds}
    except FAILURES as error:
        raise TidegateError(f"{path} is no whole safetensors file ({error}): {RESTORE}.") from error
    check_digest(path, tensors, metadata, RESTORE)
    if STORAGE in metadata:
        tensors = _dequantized(tensors)
    check_tensors(tensors, model, vocabulary_size, str(path))
    return tensors, metadata


def _check_metadata(path: Path, metadata: Mapping[str, str]) -> None:
    found = metadata.get("format"), metadata.get("format_version")
    if found != (FORMAT, str(FORMAT_VERSION)):
        raise TidegateError(
            f"{path} is of format {found[0]!r}, version {found[1]!r}, but {FORMAT!r}, version {FORMAT_VERSION}, was "
            f"wanted: use the version of Tidegate that wrote it, or {RESTORE}."
        )
    if set(metadata) - {STORAGE} != set(METADATA) or metadata.get(STORAGE, INT8) != INT8:
        raise TidegateError(
            f"{path} has the metadata {', '.join(sorted(metadata))}, but {', '.join(METADATA)} were wanted: {RESTORE}."
        )
