"""``tidegate finetune``: a model goes on learning, from a text of one's own."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from tidegate.config import DataConfig, ModelConfig, RunConfig, TrainingConfig
from tidegate.errors import TidegateError
from tidegate.training.launch import RunSettings, launch
from tidegate.tuning import DEFAULTS, TuningConfig


def finetune(tuning: TuningConfig, data: DataConfig, training: TrainingConfig, run: RunConfig) -> int:
    """Fine-tune a model into a folder of its own; returns the exit code."""
    if run.resume is None:
        if not tuning.model:
            raise TidegateError("No model is named: give the folder of one, or the name of a base model.")
        chosen = {name: value for name, value in tuning.defaults.items() if name not in run.given}
        training = dataclasses.replace(training, **chosen)
        if run.out is None:
            run = dataclasses.replace(run, out=_new_folder(tuning, data))
    else:  # what was not given is the run's own to say, as where train goes on with it
        plain = {name: getattr(TrainingConfig(), name) for name in DEFAULTS if name not in run.given}
        training = dataclasses.replace(training, **plain)
        if tuning.model and not data.data and not _is_model(tuning.model):  # of what is optional, the text was given
            tuning, data = dataclasses.replace(tuning, model=""), dataclasses.replace(data, data=(tuning.model,))
    return launch(RunSettings(data, ModelConfig(), training, tuning), run)


def _is_model(name: str) -> bool:
    return (Path(name) / "config.json").is_file() or not Path(name).exists()


def _new_folder(tuning: TuningConfig, data: DataConfig) -> str:
    text = Path(data.data[0]).stem if data.data else data.corpus
    name = re.sub(r"[^\w.-]+", "-", f"{Path(tuning.model).resolve().name}-{text}").strip("-.") or "tuned"
    number, path = 1, Path("runs") / name
    while path.exists():
        number += 1
        path = Path("runs") / f"{name}-{number}"
    return str(path)
