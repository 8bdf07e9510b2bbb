"""What a model on an encoder is kept in: settings as JSON and a file of tensors, both checked when they are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tidegate.errors import TidegateError
from tidegate.folder.model_folder import (
    TOKENIZER,
    check_json,
    read_tokenizer,
    write_json,
    write_tokenizer,
)
from tidegate.folder.presence import is_file
from tidegate.folder.tensor_file import FAILURES, check_digest, opened_tensors, write_tensor_file
from tidegate.folder.tensors import RESTORE, Tensors
from tidegate.json_files import JsonLimits, read_json
from tidegate.text.digested import DIGEST
from tidegate.text.tokenizer import Tokenizer

Fields = Mapping[str, type]
Shapes = Mapping[str, tuple[int, ...]]


def write_checked(file: Path, tensors: Tensors, shapes: Shapes, metadata: Mapping[str, str]) -> None:
    """Write tensors atomically; those of other names or shapes, or not finite, are refused before."""
    check_finite(file, tensors, shapes)
    write_tensor_file(file, tensors, metadata)


class Header(NamedTuple):
    """What a file of tensors says of itself."""

    shapes: dict[str, tuple[int, ...]]
    dtypes: set[str]
    """as safetensors names them"""
    metadata: dict[str, str]


def read_header(file: Path) -> Header:
    """Read the shapes and the metadata of a file's tensors, and no more of it; a TidegateError where it is none."""
    if not is_file(file):
        raise TidegateError(f"{file} is missing: the training was stopped before it first saved; resume it.")
    try:
        with opened_tensors(file) as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 (safe_open is no dict)
            shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
            return Header(shapes, {part.get_dtype() for part in slices.values()}, opened.metadata() or {})
    except FAILURES as error:
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
    with opened_tensors(file) as opened:
        tensors = {name: opened.get_tensor(name) for name in shapes}
    check_digest(file, tensors, header.metadata, RESTORE)
    check_finite(file, tensors, shapes)
    return tensors


def check_finite(file: Path, tensors: Tensors, shapes: Shapes) -> None:
    """Raise a TidegateError unless the tensors have these names and shapes, and all numbers are finite."""
    if {name: tensor.shape for name, tensor in tensors.items()} != dict(shapes):
        raise TidegateError(f"{file}: the tensors are not those of the settings: {RESTORE}.")
    for name, tensor in tensors.items():
        if tensor.dtype != np.float32 or not np.isfinite(tensor).all():
            raise TidegateError(f"{file}: {name} holds no finite float32 numbers: {RESTORE}.")


def read_settings(
    file: Path, limits: JsonLimits, kind: tuple[str, int], fields: Fields
) -> tuple[dict[str, Any], Tokenizer]:
    """Read the settings of a folder, and the tokenizer that lies beside them.

    kind: format and version; fields: the type of each. The version before, which had no digest, is read
    too. A TidegateError where the file was changed, is of another version, has other fields, or belongs to another
    tokenizer.
    """
    content = check_json(file, read_json(file, limits, RESTORE))
    found = content.get("format"), content.get("format_version")
    if found not in (kind, (kind[0], kind[1] - 1)):
        raise TidegateError(
            f"{file} is of format {found[0]!r}, version {found[1]!r}, but {kind[0]!r}, version {kind[1]}, was wanted: "
            "use the version of Tidegate that wrote it."
        )
    if found == kind:
        fields = {**fields, DIGEST: str}
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
    """Write the tokenizer and the settings, with their digest, each atomically."""
    write_tokenizer(file.parent, tokenizer)
    write_json(file, content)


def metadata_of(content: Mapping[str, Any]) -> dict[str, str]:
    """Return what the metadata of the weights say of the settings, as they are written or read: which version, and,
    from the digest on, which settings."""
    named = {"format": str(content["format"]), "format_version": str(content["format_version"])}
    return named | ({"settings": content[DIGEST]} if DIGEST in content else {})
