"""``tidegate finetune``: a model goes on learning, from a text of one's own."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidegate.config import HORIZONS, DataConfig, ModelConfig, RunConfig, TrainingConfig
from tidegate.errors import TidegateError
from tidegate.labelling import OF_CLASSIFY, OF_RECIPES, OF_TAG, WITHOUT_EFFECT, LabelConfig
from tidegate.training.launch import RunSettings, launch
from tidegate.tuning import DEFAULTS, TALKS, TuningConfig


def finetune(
    tuning: TuningConfig, labels: LabelConfig, data: DataConfig, training: TrainingConfig, run: RunConfig
) -> int:
    """Fine-tune a model into a folder of its own; returns the exit code."""
    learns_labels = tuning.task in ("classify", "tag")
    asked = sorted(run.given & {field.name for field in dataclasses.fields(LabelConfig)})
    if run.resume is None:
        if not tuning.model:
            raise TidegateError("No model is named: give the folder of one, or the name of a base model.")
        if asked and not learns_labels:
            raise TidegateError(
                f"{asked[0]} is of the tasks classify and tag, but the task is {tuning.task}: omit one of them."
            )
        if learns_labels:
            if not data.data:
                raise TidegateError(
                    f"No labelled texts are named, and {tuning.model} was taken for the model: give the model, then "
                    "the texts."
                )
            foreign = {*WITHOUT_EFFECT[tuning.task], *(OF_TAG if tuning.task == "classify" else OF_CLASSIFY)}
            for name in sorted(run.given & foreign):
                raise TidegateError(f"{name} is nothing that the task {tuning.task} knows: omit it.")
        if tuning.task in TALKS:
            for name in sorted(run.given & {"corpus", "processes"}):
                raise TidegateError(f"{name} has no effect on the task {tuning.task}: omit it.")
        labels = labels.chosen(tuning.task, run.given)
        if learns_labels:
            _check_recipe(labels.recipe, data, run.given)
        chosen = labels.defaults(tuning.task) if learns_labels else tuning.defaults
        tuning, training = (_with(settings, chosen, run.given) for settings in (tuning, training))
        if run.out is None:
            run = dataclasses.replace(run, out=_new_folder(tuning, data))
        return launch(RunSettings(data, ModelConfig(), training, tuning, labels if learns_labels else None), run)
    # what was not given is the run's own to say, as where train goes on with it
    plain = {name: getattr(TrainingConfig(), name) for name in DEFAULTS if name not in run.given}
    training = dataclasses.replace(training, **plain)
    if tuning.model and not data.data and not _is_model(tuning.model):  # of what is optional, the text was given
        tuning, data = dataclasses.replace(tuning, model=""), dataclasses.replace(data, data=(tuning.model,))
    return launch(RunSettings(data, ModelConfig(), training, tuning, labels if asked else None), run)


def _check_recipe(recipe: str, data: DataConfig, given: frozenset[str]) -> None:
    """Refuse settings that would do nothing."""
    for name in sorted(given & {*OF_RECIPES["ulmfit"]}) if recipe != "ulmfit" else ():
        raise TidegateError(f"{name} is of the recipe ulmfit, but recipe is {recipe}: omit one of them.")
    for name in sorted(given & {*OF_RECIPES["fast"]}) if recipe == "fast" else ():
        raise TidegateError(
            f"{name} has no effect on the recipe fast, which does not change the model: omit one of them."
        )
    if data.validation_data is not None and "validation" in given:
        raise TidegateError(
            f"validation is {data.validation:g}, but validation_data is {data.validation_data}, which holds all texts "
            "to validate on: omit one of them."
        )


def _with(settings: Any, chosen: Mapping[str, Any], given: frozenset[str]) -> Any:
    """Return settings with what is chosen for those that are not given; of the horizons a given one goes before."""
    names = {field.name for field in dataclasses.fields(settings)}
    horizon = set(HORIZONS) if given & set(HORIZONS) else set()
    values = {name: value for name, value in chosen.items() if name in names - given - horizon}
    return dataclasses.replace(settings, **values)


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
