"""What a model on an encoder is kept in: settings as JSON and a file of tensors, both checked when they are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import load_file

from tidegate.errors import TidegateError
from tidegate.folder.atomic import write_atomically
from tidegate.folder.model_folder import TOKENIZER, read_json, read_tokenizer
from tidegate.folder.tensor_file import write_tensor_file
from tidegate.folder.tensors import RESTORE, Tensors, weights_digest
from tidegate.text.tokenizer import Tokenizer

Fields = Mapping[str, type]
Shapes = Mapping[str, tuple[int, ...]]


def write_checked(file: Path, tensors: Tensors, shapes: Shapes, metadata: Mapping[str, str]) -> None:
    """Write tensors atomically; those of other names or shapes, or not finite, are refused before."""
    _check(file, tensors, shapes)
    whole = dict(metadata)
    whole["weights_digest"] = weights_digest(tensors, whole)
    write_tensor_file(file, tensors, whole)


class Header(NamedTuple):
    """What a file of tensors says of itself."""

    shapes: dict[str, tuple[int, ...]]
    dtypes: set[str]
    """as safetensors names them"""
    metadata: dict[str, str]


def read_header(file: Path) -> Header:
    """Read the shapes and the metadata of a file's tensors, and no more of it; a TidegateError where it is none."""
    if not file.is_file():
        raise TidegateError(f"{file} is missing: the training was stopped before it first saved; resume it.")
    try:
        with safetensors.safe_open(file, framework="np") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 (safe_open is no dict)
            shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
            return Header(shapes, {part.get_dtype() for part in slices.values()}, opened.metadata() or {})
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise TidegateError(f"{file} is no whole safetensors file ({error}): {RESTORE}.") from error


def read_checked(file: Path, shapes: Shapes, metadata: Mapping[str, str]) -> dict[str, NDArray[np.float32]]:
    """Read tensors of these names and shapes; a TidegateError where the file is missing, changed, or was written with
    other metadata than this."""
    header = read_header(file)
    if header.shapes != dict(shapes):
        raise TidegateError(f"{file} holds tensors of other names or shapes than its settings want: {RESTORE}.")
    if header.dtypes - {"F32"}:
        raise TidegateError(f"{file} holds tensors that are not float32: {RESTORE}.")
    for name, value in metadata.items():
        if header.metadata.get(name) != value:
            raise TidegateError(f"{file} was written with other {name.replace('_', ' ')} than its settings: {RESTORE}.")
    tensors = load_file(file)
    if weights_digest(tensors, header.metadata) != header.metadata.get("weights_digest"):
        raise TidegateError(f"{file} was changed after it was written (its digest does not fit): {RESTORE}.")
    _check(file, tensors, shapes)
    return tensors


def _check(file: Path, tensors: Tensors, shapes: Shapes) -> None:
    if {name: tensor.shape for name, tensor in tensors.items()} != dict(shapes):
        raise TidegateError(f"{file}: the tensors are not those of the settings: {RESTORE}.")
    for name, tensor in tensors.items():
        if tensor.dtype != np.float32 or not np.isfinite(tensor).all():
            raise TidegateError(f"{file}: {name} holds no finite float32 numbers: {RESTORE}.")


def read_settings(file: Path, limit: int, kind: tuple[str, int], fields: Fields) -> tuple[dict[str, Any], Tokenizer]:
    """Read the settings of a folder, and the tokenizer that lies beside them.

    limit: bytes; kind: format and version; fields: the type of each. A TidegateError where the file is of another
    version, has other fields, or belongs to another tokenizer.
    """
    content = read_json(file, limit)
    found = content.get("format"), content.get("format_version")
    if found != kind:
        raise TidegateError(
            f"{file} is of format {found[0]!r}, version {found[1]!r}, but {kind[0]!r}, version {kind[1]}, was wanted: "
            "use the version of Tidegate that wrote it."
        )
    if set(content) != set(fields):
        raise TidegateError(f"{file} has other fields than {', '.join(fields)}: {RESTORE}.")
    for name, wanted in fields.items():
        if type(content[name]) is not wanted:
            raise TidegateError(f"{file}: {name} is {json.dumps(content[name])[:80]}, no {wanted.__name__}: {RESTORE}.")
    tokenizer = read_tokenizer(file.parent)
    if (content["tokenizer_digest"], content["vocabulary_size"]) != (tokenizer.digest, tokenizer.vocabulary_size):
        raise TidegateError(f"{file} belongs to another tokenizer than {TOKENIZER}: put back the one of the training.")
    return content, tokenizer


def write_settings(file: Path, content: Mapping[str, Any], tokenizer: Tokenizer) -> None:
    """Write the tokenizer and the settings, each atomically."""
    for path, written in ((file.with_name(TOKENIZER), tokenizer.to_json()), (file, content)):
        write_atomically(path, (json.dumps(written, ensure_ascii=False, indent=2) + "\n").encode())
