"""Settings that follow from the size of the data, and from the speed of this machine where the horizon is in minutes.

    tokens of the run ─▶ streams, so that there are some hundreds of steps ─▶ evaluations within a tenth of the run

What the user gave is never changed. The outcome is plain settings, which the run records: a run that is resumed or
repeated chooses nothing. How the numbers were chosen is in `docs/log.md`.
"""

from __future__ import annotations

import dataclasses
import math
import time
from typing import NamedTuple

from tidegate.config import HORIZONS, ModelConfig, TrainingConfig
from tidegate.text.prepare import Prepared
from tidegate.training.begin import begin
from tidegate.training.optimize import train_step
from tidegate.training.schedule import DEFAULT_EPOCHS
from tidegate.training.tuned_start import TunedStart

LEAST_STEPS = 300
"""steps that a run has, where its streams are not given"""
FEWEST_STREAMS, STREAM_WINDOWS = 4, 8
"""fewer streams make steps no faster; and each stream has so many windows of the text, or it would mostly start anew"""
SHORTEST_WINDOW = 16
EVALUATION_FRACTION, FINAL_FRACTION = 0.1, 0.1
"""largest fractions of a run that its evaluations with their samples, and the final evaluation, may take"""
FEWEST_EVALUATIONS = 3
ENOUGH_TOKENS = 20_000
"""tokens of an evaluation below which there are rather fewer evaluations"""
SAMPLE_WORK = 1000
"""training tokens that a sample takes as long as: 200 tokens, each alone, and the model made ready"""
EVALUATION_SECONDS = 0.7
"""seconds that an evaluation takes besides: the checkpoint and the folder are written"""
LEAST_FINAL_SECONDS = 1.0
PACE_FRACTION, PACE_SECONDS, PACE_STREAMS = 0.02, 3.0, 8
"""of the time given, at most, by how many seconds, and with how many streams the speed is measured"""


MEASURING = "Measuring the training speed of this machine …"
BY_SIZE = frozenset(("lanes", "window", "evaluations", "evaluation_tokens", "final_tokens", "final_seconds"))
"""the settings that are chosen here, beside the number of epochs"""


class Amounts(NamedTuple):
    """Of a text, in tokens."""

    training: int
    validation: int

    @classmethod
    def of(cls, prepared: Prepared) -> Amounts:
        """Count a prepared text."""
        return cls(len(prepared.train), 0 if prepared.validation is None else len(prepared.validation))


def sized(
    training: TrainingConfig, given: frozenset[str], text: Amounts, tokens_per_second: float | None = None
) -> TrainingConfig:
    """Return the settings with what is not given chosen for a text of this size.

    tokens_per_second: the training speed of this machine; needed where the horizon is in minutes.
    """
    window = training.window if "window" in given else _window(training.window, text.training)
    training = dataclasses.replace(training, window=window)
    if "lanes" not in given:
        training = _streamed(training, given, text.training, tokens_per_second)
    if all(getattr(training, name) is None for name in HORIZONS):
        step = training.lanes * training.window
        epochs = max(DEFAULT_EPOCHS, math.ceil(LEAST_STEPS * step / text.training))
        training = dataclasses.replace(training, epochs=float(epochs))
    training = _evaluated(training, given, text, tokens_per_second)
    if training.minutes is None or tokens_per_second is None:
        return training
    return _finished(training, given, text, tokens_per_second)


def run_tokens(training: TrainingConfig, text: int, tokens_per_second: float | None) -> float:
    """Return the tokens that a run reads: of a horizon in minutes what it could read without evaluations."""
    if training.minutes is not None:
        return training.minutes * 60 * (tokens_per_second or 0)
    if training.steps is not None:
        return float(training.steps * training.lanes * training.window)
    if training.tokens is not None:
        return float(training.tokens)
    return text * (DEFAULT_EPOCHS if training.epochs is None else training.epochs)


def evaluation_speed(training: TrainingConfig) -> int:
    """Return how many tokens are measured in the time in which one is trained: 3, for the backward pass takes two
    thirds, but about 1 where only the training has a sample of the vocabulary."""
    return 3 if training.output_sample is None else 1


def measured_pace(
    prepared: Prepared, model: ModelConfig, training: TrainingConfig, start: TunedStart | None = None
) -> float:
    """Return the tokens per second that this model is trained at here, by a few real steps of a throw-away copy."""
    seconds = min(PACE_SECONDS, PACE_FRACTION * 60 * (training.minutes or math.inf))
    lanes = min(training.lanes, PACE_STREAMS)
    window = _window(training.window, len(prepared.train))
    feed, state = begin(prepared, model, dataclasses.replace(training, lanes=lanes, window=window), start)
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        began = time.perf_counter()
        train_step(state, feed.read(state.progress.cursor), training, 1e-6)
        times.append(time.perf_counter() - began)
        if len(times) == 2 and sum(times) > 2 * seconds:
            break
    # the first is slower than the others: memory is handed out, threads start
    return feed.lanes * feed.window * (len(times) - 1) / sum(times[1:])


def _window(longest: int, text: int) -> int:
    """Return the sequence length: a short text has shorter ones, so that several streams have several."""
    while longest > SHORTEST_WINDOW and text < FEWEST_STREAMS * STREAM_WINDOWS * longest:
        longest = max(SHORTEST_WINDOW, longest // 2)
    return longest


def _streamed(
    training: TrainingConfig, given: frozenset[str], text: int, tokens_per_second: float | None
) -> TrainingConfig:
    """Choose the streams; of fewer than the settings have, each step is smaller, with the root of their number."""
    wanted = training.lanes
    if training.steps is None:
        wanted = int(run_tokens(training, text, tokens_per_second) // (training.window * LEAST_STEPS))
    fitting = text // (STREAM_WINDOWS * training.window)
    streams = max(1, min(training.lanes, max(FEWEST_STREAMS, wanted), fitting))
    if "learning_rate" not in given:
        rate = training.learning_rate * math.sqrt(streams / training.lanes)
        training = dataclasses.replace(training, learning_rate=float(f"{rate:.2g}"))
    return dataclasses.replace(training, lanes=streams)


def _evaluated(
    training: TrainingConfig, given: frozenset[str], text: Amounts, tokens_per_second: float | None
) -> TrainingConfig:
    """Choose how many evaluations there are, and of how many tokens, so that they take a tenth of the run at most."""
    bearable = EVALUATION_FRACTION * run_tokens(training, text.training, tokens_per_second)
    fixed = SAMPLE_WORK + EVALUATION_SECONDS * (tokens_per_second or 0)
    speed = evaluation_speed(training)
    longest = min(training.evaluation_tokens, text.validation)
    count = training.evaluations
    if "evaluations" not in given:
        enough = longest if "evaluation_tokens" in given else min(longest, ENOUGH_TOKENS)
        affordable = int(bearable / (fixed + enough / speed))
        count = min(count, max(FEWEST_EVALUATIONS, affordable))
    tokens = training.evaluation_tokens
    if "evaluation_tokens" not in given and longest:
        each = speed * (bearable / count - fixed)
        tokens = _round_down(max(1000, min(longest, each))) if each < longest else tokens
    return dataclasses.replace(training, evaluations=count, evaluation_tokens=tokens)


def _finished(
    training: TrainingConfig, given: frozenset[str], text: Amounts, tokens_per_second: float
) -> TrainingConfig:
    """Choose how many tokens the final evaluation reads, and keep the seconds for it."""
    seconds, speed = 60 * (training.minutes or 0), evaluation_speed(training) * tokens_per_second
    tokens = training.final_tokens
    # under two protocols
    if "final_tokens" not in given and 2 * min(tokens, text.validation) / speed > FINAL_FRACTION * seconds:
        tokens = _round_down(max(1000, FINAL_FRACTION * seconds * speed / 2))
    last = (2 * min(tokens, text.validation) + min(training.evaluation_tokens, text.validation)) / speed
    kept = max(LEAST_FINAL_SECONDS, last) + EVALUATION_SECONDS + SAMPLE_WORK / tokens_per_second
    if "final_seconds" not in given:
        training = dataclasses.replace(training, final_seconds=min(round(kept, 1), seconds / 2))
    return dataclasses.replace(training, final_tokens=tokens)


def _round_down(tokens: float) -> int:
    """Round to 1, 2 or 5 times a power of ten: runs of about the same speed then measure the same tokens."""
    unit = 10 ** int(math.log10(tokens))
    return int(max(step * unit for step in (1, 2, 5) if step * unit <= tokens))
