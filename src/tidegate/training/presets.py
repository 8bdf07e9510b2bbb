"""Presets: the size is named; what follows from size, time, text and this machine is chosen here.

    size ─▶ a few real steps ─▶ tokens a second ─▶ tokens in the time ─▶ passes over the text ─▶ dropout, decay, rate

What the user gave is never touched. The outcome is plain settings: a run that is resumed or repeated measures nothing.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from tidegate.config import HORIZONS, ModelConfig, PresetName, TrainingConfig
from tidegate.models.language_model import LanguageModel
from tidegate.text.prepare import Prepared
from tidegate.training.begin import begin
from tidegate.training.forecast import Forecast, amount, evaluation_speed
from tidegate.training.optimize import train_step

DEFAULT_MINUTES = 10.0
MEASURED_SECONDS = 6.0
"""seconds of real steps from which the speed is known"""
EVALUATION_SHARE = 0.05
"""largest share of the time that evaluations may take"""
LANE_WINDOWS = 8
"""windows that each lane has at least: in a short text more lanes would be fresh starts for the most part"""
TIED_FROM = 2000
"""tokens in a vocabulary from which one matrix serves as embedding and output: two would outweigh the cells"""


@dataclass(frozen=True)
class Size:
    """One preset: a model and the rate that suits it."""

    layers: int
    hidden_size: int
    learning_rate: float


SIZES: dict[PresetName, Size] = {
    "tiny": Size(1, 128, 0.02),
    "small": Size(2, 256, 0.01),
    "medium": Size(2, 512, 0.005),
    "large": Size(3, 1024, 0.002),
}


@dataclass(frozen=True)
class Choice:
    """The settings of a run, and what they rest on."""

    model: ModelConfig
    training: TrainingConfig
    forecast: Forecast
    kept: tuple[str, ...]
    """the fields that a preset would have chosen, had the user not"""


class Weights(NamedTuple):
    """How many weights a model has."""

    cells: int
    multiplied: int
    """those that each token is multiplied with: its work"""
    all: int


def choose(
    preset: PresetName,
    model: ModelConfig,
    training: TrainingConfig,
    given: frozenset[str],
    prepared: Prepared,
    pace: Callable[[Prepared, ModelConfig, TrainingConfig], float] | None = None,
) -> Choice:
    """Choose whatever is not given; `pace` measures tokens a second, by default with `measured_pace`."""
    kept: set[str] = set()

    def fill(settings: Any, **values: Any) -> Any:
        kept.update(given & set(values))
        return dataclasses.replace(settings, **{name: v for name, v in values.items() if name not in given})

    size, text = SIZES[preset], len(prepared.train)
    tied = prepared.tokenizer.vocabulary_size >= TIED_FROM
    model = fill(model, layers=size.layers, hidden_size=size.hidden_size, tied=tied)
    if all(getattr(training, horizon) is None for horizon in HORIZONS):
        training = dataclasses.replace(training, minutes=DEFAULT_MINUTES)
    training = fill(training, lanes=fitting_lanes(text, training))
    speed = (pace or measured_pace)(prepared, model, training)
    rough = Forecast.of(training, prepared, speed)
    training = fill(training, evaluation_tokens=fitting_evaluation(rough, training))
    forecast = Forecast.of(training, prepared, speed)
    steps = forecast.tokens / (training.lanes * training.window)
    dropout, decay = regularisation(forecast.passes, _weights(model, prepared.tokenizer.vocabulary_size).all, text)
    training = fill(
        training,
        dropout=dropout,
        weight_decay=decay,
        learning_rate=size.learning_rate,
        warmup=min(50, max(1, round(steps / 20))),
    )
    return Choice(model, training, forecast, tuple(sorted(kept)))


def measured_pace(prepared: Prepared, model: ModelConfig, training: TrainingConfig) -> float:
    """Return the tokens a second that exactly this model reads here, by some seconds of real steps of a throw-away."""
    entered = time.perf_counter()
    feed, state = begin(prepared, model, training)
    started = time.perf_counter()
    train_step(state, feed.read(state.progress.cursor), training, training.learning_rate)
    first = time.perf_counter() - started  # slower than the others: memory is handed out, threads start
    began = now = time.perf_counter()
    steps = 0
    while now - entered < MEASURED_SECONDS:
        train_step(state, feed.read(state.progress.cursor), training, training.learning_rate)
        steps += 1
        now = time.perf_counter()
    tokens = feed.lanes * feed.window
    return tokens * steps / (now - began) if steps else tokens / first


def fitting_lanes(tokens: int, training: TrainingConfig) -> int:
    """Return the lanes for a text: those of the settings, fewer where it is short."""
    return max(1, min(training.lanes, tokens // (LANE_WINDOWS * training.window)))


def fitting_evaluation(forecast: Forecast, training: TrainingConfig) -> int:
    """Return the tokens of an evaluation: those of the settings, fewer where they would eat the training's time."""
    affordable = EVALUATION_SHARE * forecast.seconds * evaluation_speed(training) * forecast.tokens_a_second
    return max(1000, min(training.evaluation_tokens, int(affordable / training.evaluations) // 1000 * 1000))


def regularisation(passes: float, weights: int, text: int) -> tuple[float, float]:
    """Return dropout and decay for so many passes of a model with `weights` in all over `text` tokens.

    None and 0.4 as long as a pass still teaches more than it makes the model remember; the more weights for each token,
    the sooner that ends. Drawn through what `docs/log.md` has measured from 4 to 20 passes, 1 to 19 weights a token.
    """
    bearable = 24 / math.sqrt(max(weights / text, 1.0))
    doublings = max(0.0, math.log2(passes / bearable))
    return round(min(0.5, 0.3 * doublings), 2), round(min(3.0, 0.4 + 1.5 * doublings), 2)


def advice(preset: PresetName, choice: Choice, prepared: Prepared) -> str | None:
    """Return what to say where the text is far too small for the model, or far too large, or the time too short."""
    V, text = prepared.tokenizer.vocabulary_size, len(prepared.train)
    cells = _weights(choice.model, V).cells
    read = choice.forecast.tokens
    fitting = _fitting(choice, V, text)
    better = f" --preset {fitting} would fit better." if fitting != preset else ""
    if cells > 10 * text:
        return f"The text is small for this model: {text:,} tokens for {cells:,} weights in its cells.{better}"
    if read < cells / 2:
        enough = choice.forecast.seconds * cells / read / 60
        return (
            f"The time is short for this model: {amount(read)} tokens for {cells:,} weights in its cells; "
            f"some {enough:,.0f} minutes would be enough.{better}"
        )
    if read > 100 * cells and choice.forecast.passes < 8 and list(SIZES).index(fitting) > list(SIZES).index(preset):
        return f"The time and the text are enough for a larger model.{better}"
    return None


def _fitting(choice: Choice, V: int, text: int) -> PresetName:
    """Return the largest preset whose weights have text enough and time enough, or the smallest."""
    work = _weights(choice.model, V).multiplied
    fits: PresetName = "tiny"
    for name, size in SIZES.items():
        other = dataclasses.replace(choice.model, layers=size.layers, hidden_size=size.hidden_size)
        weights = _weights(other, V)
        read = choice.forecast.tokens * work / weights.multiplied  # a token takes as long as it has multiplications
        if weights.cells <= 4 * text and weights.cells <= read:
            fits = name
    return fits


def _weights(model: ModelConfig, V: int) -> Weights:
    with torch.device("meta"):  # shapes alone
        shape = LanguageModel(model, V)
    cells = sum(p.numel() for p in shape.blocks.parameters())
    return Weights(cells, cells + V * shape.output.weight.shape[1], sum(p.numel() for p in shape.parameters()))
