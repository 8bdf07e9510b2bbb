"""Settings that follow from the number of labelled samples, and from the speed of this machine where the horizon is in
minutes: steps enough, and smaller ones where few samples fine-tune a whole model."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence

import numpy as np

from tidegate.config import HORIZONS, ModelConfig, TrainingConfig
from tidegate.folder.model_folder import ModelFolder
from tidegate.labelling import FEW_TEXTS, LEAST_STEPS, LabelConfig
from tidegate.training.optimize import train_step
from tidegate.training.sizing import (
    EVALUATION_FRACTION,
    FEWEST_EVALUATIONS,
    FEWEST_STREAMS,
    PACE_FRACTION,
    PACE_SECONDS,
)
from tidegate.training.task_run import Task
from tidegate.tuning import TuningConfig

PACE_STREAMS = 8
BASELINE_CHARACTERS = 150_000
"""characters per second that the baseline of a classifier, TF-IDF and a logistic regression, takes"""
FINAL_SECONDS = 2.0
"""seconds that the final report takes besides"""


def for_few(
    training: TrainingConfig,
    labels: LabelConfig,
    task: str,
    samples: int,
    given: frozenset[str],
    samples_per_second: float | None = None,
) -> TrainingConfig:
    """Return the settings of the training as few samples, or little time, want them, where they are not given: smaller
    batches and more passes, and, where a classifier that has read before learns as a whole, smaller steps, so that it
    keeps what it knows."""
    if training.minutes is not None and samples_per_second is not None and "lanes" not in given:
        affordable = int(samples_per_second * 60 * training.minutes // LEAST_STEPS)
        training = dataclasses.replace(training, lanes=max(FEWEST_STREAMS, min(training.lanes, affordable)))
    if training.epochs is not None and not given & set(HORIZONS):
        steps_an_epoch = math.ceil(samples / training.lanes)
        training = dataclasses.replace(training, epochs=max(training.epochs, LEAST_STEPS / steps_an_epoch))
    if task == "classify" and labels.recipe in ("ulmfit", "direct") and "learning_rate" not in given:
        rate = training.learning_rate * math.sqrt(min(1.0, samples / FEW_TEXTS))
        training = dataclasses.replace(training, learning_rate=float(f"{rate:.2g}"))
    return training


def in_minutes(
    training: TrainingConfig,
    given: frozenset[str],
    samples_per_second: float,
    held_out: int,
    tested: int,
    characters: int,
) -> TrainingConfig:
    """Return the settings of a run by the clock, with the number of evaluations and the seconds of the final report.

    held_out, tested: samples of validation and test; characters: of the training texts where a baseline learns from
    them, or 0.
    """
    seconds, speed = 60 * (training.minutes or 0), 3 * samples_per_second
    if "evaluations" not in given and held_out:
        affordable = int(EVALUATION_FRACTION * seconds / (held_out / speed + 1))
        count = max(FEWEST_EVALUATIONS, min(training.evaluations, affordable))
        training = dataclasses.replace(training, evaluations=count)
    if "final_seconds" not in given:
        last = (2 * held_out + tested) / speed + characters / BASELINE_CHARACTERS + FINAL_SECONDS
        training = dataclasses.replace(training, final_seconds=min(round(last, 1), seconds / 2))
    return training


def measured_samples(
    task: Task, model: ModelConfig, bases: Sequence[ModelFolder], training: TrainingConfig, tuning: TuningConfig
) -> float:
    """Return the samples per second that the task is trained on here, by a few real steps of a throw-away copy."""
    seconds = min(PACE_SECONDS, PACE_FRACTION * 60 * (training.minutes or math.inf))
    feed, state = task.begin(model, bases, dataclasses.replace(training, lanes=PACE_STREAMS), tuning)
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        began = time.perf_counter()
        train_step(state, feed.read(state.progress.cursor), training, 1e-6, objective=task.objective)
        times.append(time.perf_counter() - began)
    return feed.lanes / float(np.mean(times[1:]))
