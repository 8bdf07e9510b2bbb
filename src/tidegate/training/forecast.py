"""What a run will come to, said before it starts: tokens, passes over the text, and when it is done."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tidegate.config import TrainingConfig
from tidegate.text.prepare import Prepared
from tidegate.training.batches import Feed
from tidegate.training.schedule import Horizon


@dataclass(frozen=True)
class Forecast:
    """A run at the speed that was measured."""

    tokens_a_second: float
    seconds: float
    """of the training, its evaluations included"""
    tokens: float
    """read in these seconds"""
    passes: float
    """over the training text"""
    last_seconds: float
    """of the last figures, on the validation text"""

    @classmethod
    def of(cls, training: TrainingConfig, prepared: Prepared, tokens_a_second: float) -> Forecast:
        """Foretell the run with these settings on this text."""
        feed = Feed(prepared.train, prepared.tokenizer.document_id, training.lanes, training.window, training.seed)
        horizon = Horizon.of(training, feed.windows, feed.lanes * feed.window)
        validation = len(prepared.validation) if prepared.validation is not None else 0
        measured = training.evaluations * min(training.evaluation_tokens, validation)
        measured_a_second = evaluation_speed(training) * tokens_a_second
        evaluations = measured / measured_a_second
        if horizon.steps is None:
            seconds = horizon.seconds or 0.0
            tokens = max(seconds - evaluations, seconds / 10) * tokens_a_second
        else:
            tokens = float(horizon.steps * feed.lanes * feed.window)
            seconds = tokens / tokens_a_second + evaluations
        last = 2 * min(training.final_tokens, validation) / measured_a_second
        return cls(tokens_a_second, seconds, tokens, tokens / len(prepared.train), last)

    def sentence(self, evaluations: int) -> str:
        """Say it in two lines; the clock is the local one."""
        return (
            f"Here it reads about {self.tokens_a_second:,.0f} tokens a second: in {duration(self.seconds)} "
            f"{amount(self.tokens)} tokens, {self.passes:,.{1 if self.passes >= 1 else 2}f} passes over the text.\n"
            f"First sample after about {duration(self.seconds / evaluations)}; "
            f"done at about {clock(self.seconds + self.last_seconds)}."
        )


def evaluation_speed(training: TrainingConfig) -> int:
    """Return how many tokens are measured in the time in which one is trained: 3, for the backward pass takes two
    thirds, but about 1 where only the training has a sample of the vocabulary."""
    return 3 if training.output_sample is None else 1


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
