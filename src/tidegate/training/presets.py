"""Presets: the size is named; what follows from size, time, text and this machine is chosen here.

    size ─▶ a few real steps ─▶ tokens a second ─▶ tokens in the time ─▶ passes over the text ─▶ dropout, decay, rate

What the user gave is never touched. The outcome is plain settings: a run that is resumed or repeated measures nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from tidegate.config import HORIZONS, ModelConfig, PresetName, TrainingConfig
from tidegate.models.language_model import LanguageModel
from tidegate.text.prepare import Prepared
from tidegate.training.forecast import Forecast, amount
from tidegate.training.sizing import BY_SIZE, Amounts, measured_pace, run_tokens, sized

DEFAULT_MINUTES = 10.0
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
    amounts = Amounts.of(prepared)
    speed = (pace or measured_pace)(prepared, model, training)
    kept |= given & BY_SIZE
    training = sized(training, given, amounts, speed)
    forecast = Forecast.of(training, text, run_tokens(training, text, speed), speed)
    dropout, decay = regularisation(forecast.passes, _weights(model, prepared.tokenizer.vocabulary_size).all, text)
    training = fill(
        training,
        dropout=dropout,
        weight_decay=decay,
        learning_rate=size.learning_rate,
    )
    return Choice(model, training, forecast, tuple(sorted(kept)))


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
