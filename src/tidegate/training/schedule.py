"""How far a run has come, and the learning rate there."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tidegate.config import TrainingConfig

DEFAULT_EPOCHS = 5.0
PEAK, FIRST = 0.1, 1 / 32
"""of the triangular schedule: where in the run the rate is highest, and the lowest fraction of it"""
LONGEST_WARMUP = 0.1
"""largest fraction of a run that the warm-up takes, however many steps were asked for"""


@dataclass(frozen=True)
class Horizon:
    """Where a run ends: after a number of steps, or when the clock has run for a number of seconds."""

    steps: int | None
    seconds: float | None

    @classmethod
    def of(cls, config: TrainingConfig, windows: int, tokens_a_step: int) -> Horizon:
        """Turn the one horizon that the settings give into steps or seconds; `windows` is the steps of one epoch."""
        if config.minutes is not None:
            return cls(None, max(config.minutes * 30, config.minutes * 60 - (config.final_seconds or 0)))
        if config.steps is not None:
            return cls(config.steps, None)
        if config.tokens is not None:
            return cls(math.ceil(config.tokens / tokens_a_step), None)
        epochs = DEFAULT_EPOCHS if config.epochs is None else config.epochs
        return cls(max(1, round(epochs * windows)), None)

    def progress(self, step: int, elapsed: float) -> float:
        """Return the share of the run that is done, from 0 to 1, after `step` steps or `elapsed` seconds."""
        done = step / self.steps if self.steps is not None else elapsed / (self.seconds or 1.0)
        return min(1.0, done)


def learning_rate(config: TrainingConfig, step: int, progress: float) -> float:
    """Return the rate of step `step`: a linear warm-up, then the schedule down to ``final_rate`` of the full rate.

    The warm-up takes ``warmup`` steps, but at most a tenth of the run: a short run would else end within it.
    """
    final = config.final_rate
    if config.schedule == "triangular":  # Howard & Ruder 2018, equation 3: from the final rate up, and down to it
        part = progress / PEAK if progress < PEAK else (1 - progress) / (1 - PEAK)
        # before the first step's share of the run is known, its rate must not be nothing
        return config.learning_rate * (final + (1 - final) * max(part, FIRST))
    warm = min(1.0, max((step + 1) / config.warmup, progress / LONGEST_WARMUP)) if config.warmup else 1.0
    fallen = 1 - progress if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    return config.learning_rate * warm * (final + (1 - final) * fallen)
