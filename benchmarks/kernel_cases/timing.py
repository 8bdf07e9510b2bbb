"""How everything is timed: in turn, round by round, and compared within each round."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Sample = Callable[[], float]
"""Takes one timed sample; returns seconds an operation."""


@dataclass(frozen=True)
class Plan:
    """How long and on how many threads is measured."""

    rounds: int = 7
    threads: int = 2
    shortest: float = 0.05
    """seconds that a sample lasts at least: a short operation is repeated until then"""
    rest: float = 0.06
    """seconds of sleep before a sample: the threads of the one before spin for a while, libgomp's 8 ms, ONNX Runtime's
    40 ms, and would take its cores"""
    peak_seconds: float = 0.2


def sampler(operation: Callable[[], object], plan: Plan) -> Sample:
    """Turn an operation into a sampler that repeats it for long enough."""

    def sample() -> float:
        time.sleep(plan.rest)
        operation()  # wakes the threads and brings the operation's own data back into the caches
        count, elapsed, began = 0, 0.0, time.perf_counter()
        while elapsed < plan.shortest:
            operation()
            count += 1
            elapsed = time.perf_counter() - began
        return elapsed / count

    return sample


@dataclass(frozen=True)
class Rounds:
    """What the rounds of one case found: seconds an operation by name, one a round."""

    seconds: dict[str, list[float]]

    def median(self, name: str) -> float | None:
        """Return the median seconds; None where it was not measured."""
        return statistics.median(self.seconds[name]) if name in self.seconds else None

    def ratio(self, peer: str, mine: str) -> float | None:
        """Return the median over rounds of peer's seconds / mine: how many times as fast mine is."""
        if peer not in self.seconds or mine not in self.seconds:
            return None
        return statistics.median(a / b for a, b in zip(self.seconds[peer], self.seconds[mine], strict=True))

    def milliseconds(self) -> dict[str, list[float]]:
        """Return every round, for the result file."""
        return {name: [round(1000 * s, 5) for s in seconds] for name, seconds in self.seconds.items()}


def in_turn(samples: Mapping[str, Sample], plan: Plan) -> Rounds:
    """Take each sample once a round: what slows the machine for a while slows all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in samples}
    for _ in range(plan.rounds):
        for name, sample in samples.items():
            seconds[name].append(sample())
    return Rounds(seconds)


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean, which is the mean for ratios."""
    return math.exp(statistics.fmean(math.log(value) for value in values))


def agree(what: str, mine: Any, theirs: Any, share: float = 1e-3) -> None:
    """Stop where two results are not the same computation: largest difference over largest value.

    A guard against timing different things, not a test of precision: rounding stays below a tenth of this share.
    """
    difference, size = float(abs(mine - theirs).max()), float(abs(theirs).max())
    if not difference <= share * size:
        raise SystemExit(f"{what}: the results differ by {difference:.3g} where the largest value is {size:.3g}.")


def number(value: float | None, digits: int = 2) -> str:
    """Write a number for a table; a dash for what was not measured."""
    return "–" if value is None else f"{value:,.{digits}f}"


def times(value: float | None) -> str:
    """Write a ratio."""
    return "–" if value is None else f"{value:.2f}×"


def share(value: float | None) -> str:
    """Write a share in percent."""
    return "–" if value is None else f"{100 * value:.0f}%"
