"""An adapter: low-rank changes to a model's weights, kept apart from them (LoRA, Hu et al. 2021, arXiv 2106.09685).

    W' = W + Σ (alpha / rank) · B A        over the adapters that are stacked

``adapter.safetensors`` holds A ``(rank, inputs)`` and B ``(outputs, rank)``, float32, for each weight W ``(outputs,
inputs)`` that is changed, as ``<name of W>.A`` and ``.B``; ``adapter.json`` holds the rest, above all the digests of
the model that it belongs to and of itself. An adapter of another model is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidegate.config import ModelConfig
from tidegate.errors import TidegateError
from tidegate.files import read_at_most
from tidegate.folder.model_folder import check_json, write_json
from tidegate.folder.presence import is_file
from tidegate.folder.tensor_file import FAILURES, check_digest, content_digest, opened_tensors, write_tensor_file
from tidegate.folder.tensors import RESTORE, Tensors, expected_shapes
from tidegate.json_files import JsonLimits, parse_json
from tidegate.text.digested import DIGEST, with_digest

FORMAT, FORMAT_VERSION = "tidegate-adapter", 2
SETTINGS, WEIGHTS = "adapter.json", "adapter.safetensors"
SETTINGS_LIMITS = JsonLimits(1 << 20, values=100, containers=10)
FIELDS = {
    "format": str, "format_version": int, "base": str, "base_digest": str, "rank": int, "alpha": float, DIGEST: str,
}  # fmt: skip
OLDER_FIELDS = {**{name: kind for name, kind in FIELDS.items() if name != DIGEST}, "tensors_digest": str}
"""of version 1, which had no digest of the settings"""
PARTS = {
    "weight_ih": ".cell.weight_ih_l0",
    "weight_hh": ".cell.weight_hh_l0",
    "embedding": "embedding.weight",
    "output": "output.weight",
}
"""the ends of the names of the weights that each part stands for"""


@dataclass(frozen=True)
class Adapter:
    """Low-rank changes, and what they belong to."""

    base: str
    """a name of the model, for people"""
    base_digest: str
    """the digest of the model's weights"""
    rank: int
    alpha: float
    tensors: dict[str, NDArray[np.float32]] = field(repr=False)
    """A and B of each changed weight"""

    @property
    def scale(self) -> float:
        """The factor of B A."""
        return self.alpha / self.rank

    @property
    def digest(self) -> str:
        """Tells its tensors from all others."""
        return content_digest(self.tensors, {})

    @property
    def changed(self) -> list[str]:
        """Names of the weights that it changes."""
        return sorted(name.removesuffix(".A") for name in self.tensors if name.endswith(".A"))


def adapted_names(model: ModelConfig, vocabulary_size: int, parts: Sequence[str]) -> list[str]:
    """Return the names of a model's weights that the parts stand for; where the output layer is tied, it changes with
    the embedding. TidegateError where that leaves none."""
    names = [name for part in parts for name in expected_shapes(model, vocabulary_size) if name.endswith(PARTS[part])]
    if not names:
        raise TidegateError(
            f"lora_parts is {', '.join(parts)}, but this model's output layer is its embedding: name embedding."
        )
    return names


def check_rank(rank: int, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise a TidegateError where a rank is larger than a matrix."""
    for name, shape in shapes.items():
        if rank > min(shape):
            raise TidegateError(
                f"lora_rank is {rank}, but {name} is {shape[0]} × {shape[1]}: a change to it has a rank of at most "
                f"{min(shape)}."
            )


def merged(tensors: Tensors, adapters: Sequence[Adapter]) -> dict[str, NDArray[np.float32]]:
    """Return a model's weights with the changes of all adapters; weights that none changes are the same arrays."""
    found = dict(tensors)
    for adapter in adapters:
        for name in adapter.changed:
            change = adapter.tensors[f"{name}.B"] @ adapter.tensors[f"{name}.A"]
            found[name] = np.float32(adapter.scale) * change + found[name]
    return found


def write_adapter(path: Path, adapter: Adapter) -> None:
    """Write adapter.json, then adapter.safetensors, which is all that a later save of a training changes, each
    atomically."""
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "base": adapter.base,
        "base_digest": adapter.base_digest,
        "rank": adapter.rank,
        "alpha": float(adapter.alpha),
    }
    write_json(path / SETTINGS, content)
    write_tensor_file(path / WEIGHTS, adapter.tensors, _metadata(with_digest(content)))


def _metadata(settings: Mapping[str, Any]) -> dict[str, str]:
    """What the tensors belong to."""
    return {"format": FORMAT, "format_version": str(FORMAT_VERSION), "settings": settings[DIGEST]}


def read_adapter(path: str | Path, model: ModelConfig, vocabulary_size: int, base_digest: str) -> Adapter:
    """Read the adapter of a folder for a model; a TidegateError where it is missing, damaged, or of another model."""
    path = Path(path)
    settings = _settings(path)
    if settings["base_digest"] != base_digest:
        raise TidegateError(
            f"The adapter {path} belongs to another model ({settings['base']}, digest {settings['base_digest'][:12]}; "
            f"this one's is {base_digest[:12]}): give it the model that it was trained on."
        )
    tensors, metadata = _tensors(path / WEIGHTS, expected_shapes(model, vocabulary_size), settings["rank"])
    if DIGEST in settings:
        check_digest(path / WEIGHTS, tensors, metadata, RESTORE)
        fits = {**metadata, **_metadata(settings)} == metadata
    else:
        fits = content_digest(tensors, {}) == settings["tensors_digest"]
    if not fits:
        raise TidegateError(
            f"{path / WEIGHTS} is not the file that {SETTINGS} tells of (their digests differ): {RESTORE}."
        )
    return Adapter(settings["base"], base_digest, settings["rank"], settings["alpha"], tensors)


def _settings(path: Path) -> dict[str, Any]:
    file = path / SETTINGS
    if not is_file(file):
        raise TidegateError(
            f"{path} is no adapter: there is no {SETTINGS} in it; one comes from tidegate finetune --lora-rank."
        )
    try:
        values = parse_json(read_at_most(file, SETTINGS_LIMITS.size), SETTINGS_LIMITS)
        if not isinstance(values, dict):
            raise ValueError("it is no object")
        values = check_json(file, values)
        fields = FIELDS if DIGEST in values else OLDER_FIELDS
        if values.keys() != fields.keys():
            raise ValueError(f"it has not the fields {', '.join(FIELDS)}")
        if (values["format"], values["format_version"]) != (FORMAT, FORMAT_VERSION if DIGEST in values else 1):
            raise ValueError(f"it is of {values['format']!r}, version {values['format_version']!r}")
        for name, kind in fields.items():
            if type(values[name]) is not kind:
                raise ValueError(f"{name} is no {kind.__name__}")
        if values["rank"] < 1 or not (0 < values["alpha"] < math.inf):
            raise ValueError("rank or alpha is out of range")
    except (OSError, ValueError, RecursionError) as error:
        raise TidegateError(f"{file} cannot be read as an adapter's settings ({error}): {RESTORE}.") from error
    return values


def _tensors(
    file: Path, shapes: Mapping[str, tuple[int, ...]], rank: int
) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
    """Read A and B of each changed weight, whose names, shapes, dtypes and numbers are checked, and the metadata."""
    if not is_file(file):
        raise TidegateError(f"{file} is missing: the training was stopped before it first saved; go on with it.")
    try:
        with opened_tensors(file) as opened:
            metadata = dict(opened.metadata() or {})
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 (safe_open is no dict)
            found = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
            changed = {name.removesuffix(".A") for name in found if name.endswith(".A")}
            wanted: dict[str, tuple[tuple[int, ...], str]] = {}
            for name in changed & {name for name, shape in shapes.items() if len(shape) == 2}:
                outputs, inputs = shapes[name]
                wanted |= {f"{name}.A": ((rank, inputs), "F32"), f"{name}.B": ((outputs, rank), "F32")}
            if not found or found != wanted:
                wrong = next(
                    (name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)), "none"
                )
                raise TidegateError(
                    f"{file}: its tensors are not those of such a model's adapter ({wrong[:80]}): {RESTORE}."
                )
            tensors = {name: opened.get_tensor(name) for name in found}
    except FAILURES as error:
        raise TidegateError(f"{file} is no whole safetensors file ({error}): {RESTORE}.") from error
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise TidegateError(f"{file}: {name} holds numbers that are not finite: {RESTORE}.")
    return tensors, metadata
