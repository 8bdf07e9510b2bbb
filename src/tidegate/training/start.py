"""A good start without knowing how, as the terminal shows it: what a preset chose, what a range test found."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from rich.text import Text

from tidegate.config import ModelConfig, PresetName, TrainingConfig
from tidegate.text.console import Console
from tidegate.text.prepare import Prepared
from tidegate.training.begin import begin
from tidegate.training.find_rate import HIGHEST, LOWEST, STEPS, draw_range_test, range_test, table
from tidegate.training.presets import advice, choose
from tidegate.training.sizing import MEASURING, Amounts, measured_pace, sized
from tidegate.training.tuned_start import TunedStart
from tidegate.training.waiting import waiting


def fitted(
    model: ModelConfig,
    training: TrainingConfig,
    given: frozenset[str],
    prepared: Prepared,
    console: Console,
    start: TunedStart | None,
) -> TrainingConfig:
    """Return the settings with what is not given chosen for this text, and, where the horizon is in minutes, for this
    machine, whose speed is then measured."""
    pace = None
    if training.minutes is not None:
        _say(console, MEASURING)
        pace = measured_pace(prepared, model, training, start)
    return sized(training, given, Amounts.of(prepared), pace)


def chosen(
    preset: PresetName,
    model: ModelConfig,
    training: TrainingConfig,
    given: frozenset[str],
    prepared: Prepared,
    console: Console,
) -> tuple[ModelConfig, TrainingConfig]:
    """Return the settings that the preset chooses, having said which, and what will come of them when."""
    _say(console, MEASURING)
    choice = choose(preset, model, training, given, prepared)
    model, training = choice.model, choice.training
    _say(
        console,
        f"Preset {preset}: {model.layers}×{model.hidden_size} {model.cell}, {'tied, ' if model.tied else ''}"
        f"dropout {training.dropout:g}, weight decay {training.weight_decay:g}, "
        f"learning rate {training.learning_rate:g}, batch size {training.lanes}, sequence length {training.window}",
    )
    if choice.kept:
        _say(console, f"As given, not as the preset has it: {', '.join(choice.kept)}.")
    _say(console, choice.forecast.sentence(training.evaluations))
    if (sentence := advice(preset, choice, prepared)) is not None:
        _say(console, sentence)
    return model, training


def find_rate(
    folder: Path,
    command: Callable[[TrainingConfig], str],
    prepared: Prepared,
    model: ModelConfig,
    training: TrainingConfig,
    console: Console,
    start: TunedStart | None = None,
) -> int:
    """Make the range test of a run that would go into `folder`, which is not made: print the curve, draw it beside the
    folder, say how to go on, by the `command` of the settings. Returns the exit code: 1 where nothing is proposed."""
    feed, state = begin(prepared, model, training, start)
    _say(console, f"Trying {STEPS} learning rates from {LOWEST:g} to {HIGHEST:g}, one per step, on a temporary model …")
    with waiting(console, "trying learning rates") as progress:
        found = range_test(state, feed, training, progress)
    _say(console, table(found))
    if found.ended is not None:
        _say(console, f"Ended at a learning rate of {found.points[-1].rate:.1e}: {found.ended}.")
    picture = folder.with_name(f"{folder.name}-rates.png")
    draw_range_test(picture, found, f"{model.layers}×{model.hidden_size} {model.cell}, {prepared.tokenizer.kind}")
    _say(console, f"Picture: {picture}")
    rate = found.proposal
    if rate is None:
        first, lowest = found.points[0].smoothed, found.lowest.smoothed
        _say(console, f"The loss hardly fell ({first:.3f} → {lowest:.3f}) at any learning rate, so none is proposed.")
        return 1
    _say(
        console, f"Learning rate {rate:g}. Train with:\n  {command(dataclasses.replace(training, learning_rate=rate))}"
    )
    return 0


def _say(console: Console, sentence: str) -> None:
    console.print(Text(sentence), soft_wrap=True)
