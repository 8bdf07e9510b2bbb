"""``training/run.json``: a run's settings, what it runs on, and the digests that a resumed run checks. No PyTorch."""

from __future__ import annotations

import dataclasses
import glob
import json
import os
import shlex
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate.config import DataConfig, ModelConfig, TrainingConfig, from_dict, wrong_field
from tidegate.errors import TidegateError
from tidegate.files import read_at_most
from tidegate.folder.atomic import write_atomically
from tidegate.folder.presence import is_file
from tidegate.json_files import JsonLimits, parse_json
from tidegate.labelling import LabelConfig
from tidegate.text.digested import DIGEST, digest_fits, with_digest
from tidegate.tuning import TRAINING, TuningConfig

FORMAT_VERSION = 5
LIMITS = JsonLimits(1 << 26, values=1_000_000, containers=1000)
"""a text may be named file by file, by a glob of the shell"""


@dataclass(frozen=True)
class RunRecord:
    """All that names a run."""

    data: DataConfig
    model: ModelConfig
    training: TrainingConfig
    data_digest: str
    tokenizer_digest: str
    surroundings: dict[str, str]
    """what the bits depend on beside the settings: machine, threads, versions"""
    command: str
    text_digest: str = ""
    """tells the text and its split, whatever the tokenizer; empty in older runs"""
    started: str = ""
    """when the run began: UTC, ISO 8601; empty in older runs"""
    tuning: TuningConfig | None = None
    """of a fine-tuning: where it started, and how; None for a run from scratch"""
    base_digest: str = ""
    """of the weights that a fine-tuning started from"""
    old_digest: str = ""
    """tells the text of what the model knew before, and its split; empty where none is named"""
    labels: LabelConfig | None = None
    """of a run that learns labels"""


def command_of(
    data: DataConfig,
    model: ModelConfig,
    training: TrainingConfig,
    out: str | None = None,
    tuning: TuningConfig | None = None,
    labels: LabelConfig | None = None,
) -> str:
    """Return the command that starts such a run anew: the text, and every setting that is not the default; where
    `out` is given, into that folder."""
    words = ["tidegate", "train"]
    pairs: list[tuple[Any, Any]] = [(data, DataConfig()), (model, ModelConfig()), (training, TrainingConfig())]
    if tuning is not None:  # the model brings its shape and its tokenizer
        words = ["tidegate", "finetune", tuning.model]
        chosen = tuning.defaults if labels is None else labels.defaults(tuning.task)
        of_training, of_tuning = (
            {name: value for name, value in chosen.items() if hasattr(kind, name)}
            for kind in (TrainingConfig, TuningConfig)
        )
        pairs = [
            (tuning, dataclasses.replace(TuningConfig(), **of_tuning)),
            *([] if labels is None else [(labels, _without_recipe(labels, tuning.task))]),
            (data, DataConfig(tokenizer=data.tokenizer)),
            (training, dataclasses.replace(TrainingConfig(), **of_training)),
        ]
    words += data.data
    for given, default in pairs:
        for field in dataclasses.fields(given):
            value = getattr(given, field.name)
            if field.name not in ("data", "model") and value is not None and value != getattr(default, field.name):
                flag = f"--{field.name.replace('_', '-')}"
                for one in value if isinstance(value, tuple) else (value,):
                    words += [flag, str(one).lower() if isinstance(one, bool) else str(one)]
    return shlex.join(words + (["--out", out] if out is not None else []))


def _without_recipe(labels: LabelConfig, task: str) -> LabelConfig:
    """Return the settings from which a command of these differs: with the recipe that is chosen where it has none."""
    of_ulmfit = labels.unlabelled or labels.language_epochs != LabelConfig.language_epochs
    return LabelConfig() if of_ulmfit else LabelConfig().chosen(task, frozenset())


def write_record(path: Path, record: RunRecord) -> None:
    """Write run.json."""
    content = {"format": "tidegate-run", "format_version": FORMAT_VERSION, **dataclasses.asdict(record)}
    # a file's name may not be UTF-8: what stands in Python's place for its bytes is written as JSON escapes it
    written = json.dumps(with_digest(content), ensure_ascii=False, indent=2) + "\n"
    write_atomically(path, written.encode("utf-8", "backslashreplace"))


def read_record(path: Path) -> RunRecord:
    """Read run.json. TidegateError where it is missing, broken, or of another version."""
    if not is_file(path):
        raise TidegateError(
            f"{path.parent.parent} is no run of tidegate train (no {path.parent.name}/{path.name} in it): "
            "give the folder that the training printed when it began."
        )
    try:
        content = parse_json(read_at_most(path, LIMITS.size), LIMITS, surrogates=True)
        if DIGEST in content and not digest_fits(content):
            raise TidegateError(
                f"{path} was changed after it was written (its digest does not fit its content): undo the change, or "
                "restore the file from a copy. What may differ in a resumed run, such as the place of its text, is "
                "given by options."
            )
        if content.pop("format") != "tidegate-run":
            raise ValueError("its format is not tidegate-run")
        version = content.pop("format_version")
        if version == FORMAT_VERSION:
            content.pop(DIGEST)
        elif version not in (1, 2, 3, 4):
            raise TidegateError(
                f"{path} is of version {version!r}, but this Tidegate reads {FORMAT_VERSION}: "
                "use the version of Tidegate that wrote it, or a newer one."
            )
        if version == 1:  # which counted dropout among the model's settings
            content["training"]["dropout"] = content["model"].pop("dropout")
        tuning, labels = content.pop("tuning", None), content.pop("labels", None)
        record = RunRecord(
            tuning=None if tuning is None else from_dict(TuningConfig, _tuples(tuning), str(path)),
            labels=None if labels is None else from_dict(LabelConfig, _tuples(labels), str(path)),
            data=from_dict(DataConfig, _tuples(content.pop("data")), str(path)),
            model=from_dict(ModelConfig, content.pop("model"), str(path)),
            training=from_dict(TrainingConfig, content.pop("training"), str(path)),
            **content,
        )
        if wrong := wrong_field(record):
            raise ValueError(wrong)
        return record
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise TidegateError(
            f"{path} cannot be read as the record of a run ({error}): restore it or start a new run."
        ) from error


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def settle(given: Any, recorded: Any, kind: type, named: Collection[str] = ()) -> Any:
    """Return the recorded settings of a run that is resumed; one that asks for something else is an error.

    named: the fields that a person gave, which count where they are the defaults too.
    """
    default = kind()
    for field in dataclasses.fields(kind):
        value, was = getattr(given, field.name), getattr(recorded, field.name)
        if value != was and (field.name in named or value != getattr(default, field.name)):
            raise TidegateError(
                f"{field.name} is {value}, but the run was started with {was}, and a resumed run keeps its settings: "
                f"omit the flag, or start a new run."
            )
    return recorded


def announce_differences(recorded: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return a sentence for each thing that the last bits depend on and that has changed."""
    return [
        f"{name} was {recorded.get(name, 'not recorded')}, is now {value}: its last bits may differ."
        for name, value in now.items()
        if recorded.get(name) != value
    ]


def absolute(data: DataConfig) -> DataConfig:
    """Make the paths absolute, so that a run can be resumed from any folder."""
    return dataclasses.replace(
        data,
        data=tuple(map(_absolute, data.data)),
        validation_data=None if data.validation_data is None else _absolute(data.validation_data),
    )


def absolute_labels(labels: LabelConfig) -> LabelConfig:
    """Make the paths of labelled texts absolute; the name of a base model stays."""
    test, backward = labels.test_data, labels.backward
    return dataclasses.replace(
        labels,
        unlabelled=tuple(map(_absolute, labels.unlabelled)),
        test_data=None if test is None else _absolute(test),
        backward=_absolute(backward) if backward is not None and Path(backward).exists() else backward,
    )


def absolute_tuning(tuning: TuningConfig | None) -> TuningConfig | None:
    """Make the paths of a fine-tuning absolute; the name of a base model, and the word training, stay."""
    if tuning is None:
        return None
    model = _absolute(tuning.model) if Path(tuning.model).exists() else tuning.model
    old = tuning.old if tuning.old in (None, TRAINING) else _absolute(tuning.old or "")
    return dataclasses.replace(tuning, model=model, old=old)


def _absolute(path: str) -> str:
    path = os.path.expanduser(path)
    if glob.has_magic(path) and not os.path.exists(path):  # a pattern, which the name of this folder is not
        return os.path.normpath(os.path.join(glob.escape(os.getcwd()), path))
    return os.path.abspath(path)
