"""The checkpoint: a captured TrainState in one safetensors file, replaced in one motion. No pickle.

The file holds the weights, AdamW's moments, the carried state, the best weights, and, as JSON in the header, the step,
the cursor, the clock, the rate's factor and the best loss. Random numbers need no place of their own: masks are drawn
from (seed, step, site), the order of the text from (seed, epoch).
"""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tidegate.config import wrong_field
from tidegate.errors import TidegateError
from tidegate.folder.presence import is_file
from tidegate.folder.tensor_file import FAILURES, check_digest, opened_tensors, write_tensor_file
from tidegate.training.state import Capture, Progress, TrainState

FORMAT = "tidegate-checkpoint"
FORMAT_VERSION = 2
LARGEST = 2**53
"""no number of a run is larger"""
RESTORE = "restore the file from a copy or start a new run"


def save(path: Path, captured: Capture) -> None:
    """Write a checkpoint; at every moment the file at `path` is a whole one, the old or the new."""
    header = {"format": FORMAT, "format_version": str(FORMAT_VERSION), "progress": json.dumps(captured.numbers)}
    write_tensor_file(path, {name: tensor.numpy() for name, tensor in captured.tensors.items()}, header)


def load(path: Path, expected: TrainState, evaluations: int) -> Capture:
    """Read a checkpoint for a run of `expected`'s shape, which is evaluated so often.

    Raises TidegateError where the file is missing, torn, changed in any byte, of another version, or of another run.
    """
    if not is_file(path):
        raise TidegateError(
            f"{path.parent.parent} has no checkpoint to resume from ({path.name} is missing): start a new run."
        )
    try:
        with opened_tensors(path) as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no dict)
    except FAILURES as error:
        raise TidegateError(f"{path} cannot be read as a checkpoint ({error}): {RESTORE}.") from error
    if header.get("format") != FORMAT or header.get("format_version") != str(FORMAT_VERSION):
        raise TidegateError(
            f"{path} is of format {header.get('format')!r} version {header.get('format_version')!r}, but {FORMAT!r} "
            f"version {FORMAT_VERSION} was wanted: resume it with the version of Tidegate that wrote it."
        )
    check_digest(path, arrays, header, RESTORE)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    _check_tensors(path, tensors, expected)
    numbers = _numbers(path, header.get("progress", ""))
    if numbers["evaluations"] + (not numbers["finished"]) > evaluations:
        raise TidegateError(
            f"{path} has {numbers['evaluations']} evaluations done, but the run has {evaluations}: it belongs to "
            f"another run; {RESTORE}."
        )
    return Capture(tensors, numbers)


def _check_tensors(path: Path, tensors: dict[str, Tensor], expected: TrainState) -> None:
    """Check that the tensors are those of a run of `expected`'s shape: all of a kind, or, but for model and carried,
    none of it."""
    wanted = _expected_shapes(expected)
    kinds = {name.split("/", 1)[0] for name in tensors} | {"model", "carried"}
    for name, shape in wanted.items():
        found = tuple(tensors[name].shape) if name in tensors else None
        if name.split("/", 1)[0] in kinds and found != shape:
            raise TidegateError(
                f"{path}: tensor {name} is {found}, but {shape} was wanted: it belongs to another model."
            )
    for name, tensor in tensors.items():
        if name not in wanted:
            raise TidegateError(
                f"{path} holds the unknown tensor {name}: it was not written by this version of Tidegate."
            )
        if tensor.dtype != torch.float32 or not torch.isfinite(tensor).all():
            raise TidegateError(f"{path}: tensor {name} holds no finite float32 numbers: restore the file from a copy.")


def _expected_shapes(state: TrainState) -> dict[str, tuple[int, ...]]:
    parameters = {name: tuple(p.shape) for name, p in state.model.named_parameters()}
    shapes = {f"{kind}/{name}": shape for kind in ("model", "best", "average") for name, shape in parameters.items()}
    optimized = [p for group in state.optimizer.param_groups for p in group["params"]]
    for index, parameter in enumerate(optimized):
        shapes |= {f"optimizer/{index}/{key}": tuple(parameter.shape) for key in ("exp_avg", "exp_avg_sq")}
        shapes[f"optimizer/{index}/step"] = ()
    for index, layer in enumerate(state.carried):
        shapes |= {f"carried/{index}/{name}": tuple(s.shape) for name, s in layer._asdict().items()}
    return shapes


def _numbers(path: Path, text: str) -> dict[str, Any]:
    try:
        numbers = json.loads(text)
        if not isinstance(numbers, dict) or {f.name for f in fields(Progress)} != set(numbers):
            raise ValueError("the fields differ")
        if not all(v is None or math.isfinite(v) for v in numbers.values()):
            raise ValueError("a number is not finite")
        if wrong := wrong_field(Progress, numbers):
            raise ValueError(wrong)
        if any(v is not None and not 0 <= v < LARGEST for name, v in numbers.items() if name != "best_loss"):
            raise ValueError("a number is negative, or too large")
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise TidegateError(
            f"{path}: its record of progress is broken ({error}): restore the file from a copy."
        ) from error
    return numbers
