"""What a run will come to: tokens, passes over the text, and when it is done.

Before it starts from a speed that was measured (`Forecast`), and once it runs from its own steps (`forecast`). The
speed of a machine varies, so whatever depends on it is given as a range.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple

from tidegate.config import TrainingConfig
from tidegate.training.schedule import Horizon

SPREAD = 0.15
"""the speed of a run may be so much higher or lower than that of its first steps"""
EVALUATIONS = 0.1
"""largest fraction of a run that evaluations take"""


@dataclass
class Pace:
    """The speed of a run's steps, apart from its evaluations, since this process began or resumed it."""

    first_tokens: int
    first_elapsed: float
    evaluation_seconds: float = 0.0

    def evaluated(self, seconds: float) -> None:
        """Count an evaluation."""
        self.evaluation_seconds += seconds

    def seconds(self, elapsed: float) -> float:
        """Return the seconds that steps took."""
        return elapsed - self.first_elapsed - self.evaluation_seconds

    def tokens_per_second(self, tokens: int, elapsed: float) -> float:
        """Return the tokens per second of training."""
        return (tokens - self.first_tokens) / max(self.seconds(elapsed), 1e-9)

    def evaluation_fraction(self, elapsed: float) -> float:
        """Return the fraction of the time that evaluations took."""
        return self.evaluation_seconds / max(elapsed - self.first_elapsed, 1e-9)


class Ahead(NamedTuple):
    """What is left of a run: lower and upper bounds."""

    seconds: tuple[float, float]
    """to the end of the training"""
    tokens: tuple[float, float]
    """read at the end, from the first step on"""

    def sentence(self, final_seconds: float) -> str:
        """Say it; the clock is the local one. final_seconds: what comes after the training, where that is known."""
        low, high = (clock(bound + final_seconds) for bound in self.seconds)
        when = f"at about {low}" if low == high else f"between {low} and {high}"
        few, many = map(amount, self.tokens)
        return f"At this speed the run ends {when}, after {few if few == many else f'{few} to {many}'} tokens."


def forecast(horizon: Horizon, step: int, tokens: int, elapsed: float, tokens_per_second: float) -> Ahead:
    """Forecast the rest of a run from the speed of its steps so far."""
    if horizon.seconds is not None:
        left = max(0.0, horizon.seconds - elapsed)
        low, high = ((1 - EVALUATIONS - SPREAD) * left, (1 + SPREAD) * left)
        return Ahead((left, left), (tokens + low * tokens_per_second, tokens + high * tokens_per_second))
    total = tokens * (horizon.steps or step) / step
    left = (total - tokens) / tokens_per_second
    return Ahead((left * (1 - SPREAD), left * (1 + EVALUATIONS + SPREAD)), (total, total))


@dataclass(frozen=True)
class Forecast:
    """A run at the speed that was measured before it."""

    tokens_per_second: float
    seconds: float
    """of the run, its evaluations included"""
    tokens: float
    """read in these seconds, at this speed"""
    passes: float
    """over the training text"""

    @classmethod
    def of(cls, training: TrainingConfig, text: int, tokens: float, tokens_per_second: float) -> Forecast:
        """Forecast the run with these settings on a text of so many tokens; `tokens`: what it reads without
        evaluations."""
        if training.minutes is None:
            seconds = tokens / tokens_per_second / (1 - EVALUATIONS)
        else:
            seconds = training.minutes * 60
            of_steps = (Horizon.of(training, 1, 1).seconds or seconds) * (1 - EVALUATIONS)
            tokens = of_steps * tokens_per_second
        return cls(tokens_per_second, seconds, tokens, tokens / text)

    def sentence(self, evaluations: int) -> str:
        """Say it in two lines; the clock is the local one."""
        low, high = ((1 - SPREAD) * self.tokens, (1 + SPREAD) * self.tokens)
        passes = f"{self.passes:,.{1 if self.passes >= 1 else 2}f} passes over the text"
        return (
            f"This machine trains on about {self.tokens_per_second:,.0f} tokens per second: "
            f"in {duration(self.seconds)} on {amount(low)} to {amount(high)} tokens, {passes}.\n"
            f"First sample after about {duration(self.seconds / evaluations)}; "
            f"done at about {clock(self.seconds)}."
        )


def amount(count: float) -> str:
    """Say a large number in the unit that suits it."""
    return f"{count / 1e6:,.1f} million" if count >= 1e6 else f"{round(count, -3):,.0f}"


def duration(seconds: float) -> str:
    """Say a time span in the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 120 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"


def clock(ahead: float) -> str:
    """Return the local time so many seconds from now, with the day where it is not today."""
    now = time.time()
    then = time.localtime(now + ahead)
    today = time.localtime(now)[:3] == then[:3]
    return time.strftime("%H:%M" if today else "%A %d %B, %H:%M", then)
