"""The learning-rate range test (Smith, arXiv 1506.01186): how a run's loss answers while the rate grows.

A throw-away model with the run's own settings and text takes the steps that the run would, at a rate that grows by one
factor from each to the next: the loss falls, lies in a wide valley, and rises where the rate is too high. Proposed is
its near edge, where 95% of the fall is done; `docs/log.md` has the evidence, and what other rules propose.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tidegate.config import TrainingConfig
from tidegate.errors import TidegateError
from tidegate.folder.atomic import write_atomically
from tidegate.training.batches import Feed
from tidegate.training.curves import BLUE, GREY, ORANGE
from tidegate.training.optimize import train_step
from tidegate.training.state import TrainState
from tidegate.training.tuned_start import ReplayFeed

LOWEST, HIGHEST = 1e-5, 1.0
STEPS = 150
MEMORY = 0.8
"""how much of the smoothed loss each step keeps: more would lag behind a rate that grows by 8% a step"""
FALLEN = 0.95
"""share of the loss's whole fall that is done at the rate proposed"""
LEAST_FALL = 0.05
"""share of the first loss by which it must fall; less is noise, and proposes nothing"""
ROWS = 16
"""lines of the table"""


class Point(NamedTuple):
    """One step of the test."""

    rate: float
    loss: float
    """of the window, nats/token"""
    smoothed: float
    """running mean of the losses up to here, without its bias towards the start"""


@dataclass(frozen=True)
class RangeTest:
    """What the test found."""

    points: tuple[Point, ...]
    ended: str | None = None
    """why it ended before the highest rate; None if it did not"""

    @property
    def lowest(self) -> Point:
        """The point of the lowest smoothed loss."""
        return min(self.points, key=lambda point: point.smoothed)

    @property
    def proposal(self) -> float | None:
        """The lowest rate at which FALLEN of the fall is done, to two digits; None where the loss hardly fell."""
        first, lowest = self.points[0].smoothed, self.lowest.smoothed
        if first - lowest < LEAST_FALL * first:
            return None
        enough = first - FALLEN * (first - lowest)
        return float(f"{next(point.rate for point in self.points if point.smoothed <= enough):.1e}")


def range_test(
    state: TrainState,
    feed: Feed | ReplayFeed,
    config: TrainingConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> RangeTest:
    """Take STEPS steps from LOWEST to HIGHEST; the state is spent. It ends early where the loss is high again, or not
    finite; TidegateError if no step at all could be taken."""
    points: list[Point] = []
    losses = _losses(state, feed, config, np.geomspace(LOWEST, HIGHEST, STEPS))
    for point in _smoothed(losses):
        if not np.isfinite(point.smoothed):
            break
        points.append(point)
        progress(len(points), STEPS)
        if _diverged(points):
            return RangeTest(tuple(points), f"the loss rose to {point.loss:.2f}")
    if not points:
        raise TidegateError(
            "The loss is not finite at the first step, at any rate: choose a smaller --hidden-size or fewer --layers."
        )
    return RangeTest(tuple(points), "the loss was not finite any more" if len(points) < STEPS else None)


def _losses(
    state: TrainState, feed: Feed | ReplayFeed, config: TrainingConfig, rates: Sequence[float] | np.ndarray
) -> Iterator[tuple[float, float]]:
    """Yield (rate, loss) of a step at each rate; the loss is NaN, the last one, where a step could not be taken."""
    for rate in rates:
        step = train_step(state, feed.read(state.progress.cursor), config, float(rate))
        yield float(rate), step.loss if step.finite else float("nan")
        if not step.finite:
            return


def _smoothed(losses: Iterator[tuple[float, float]]) -> Iterator[Point]:
    mean, weight = 0.0, 0.0
    for rate, loss in losses:
        mean, weight = MEMORY * mean + (1 - MEMORY) * loss, MEMORY * weight + (1 - MEMORY)
        yield Point(rate, loss, mean / weight)


def _diverged(points: Sequence[Point]) -> bool:
    """Whether half of the fall is lost again, and a third more than the lowest."""
    lowest = min(point.smoothed for point in points)
    return points[-1].smoothed > max((points[0].smoothed + lowest) / 2, 1.33 * lowest)


def table(found: RangeTest) -> str:
    """Return the curve as lines of text, one a rate, with bars as long as the loss is high."""
    every = max(1, round(len(found.points) / ROWS))
    rows = list(found.points[::every])
    low, high = found.lowest.smoothed, max(point.smoothed for point in rows)
    marked = None
    if (proposal := found.proposal) is not None:
        marked = min(rows, key=lambda point: abs(np.log(point.rate / proposal)))
    lines = [f"{'rate':>8}   loss, nats/token (smoothed)"]
    for point in rows:
        bar = "█" * (1 + round(30 * (point.smoothed - low) / max(high - low, 1e-9)))
        lines.append(f"{point.rate:8.1e}  {point.smoothed:7.3f} {bar}{'  ← about here' if point is marked else ''}")
    return "\n".join(lines)


def draw_range_test(path: Path, found: RangeTest, title: str) -> None:
    """Draw the loss over the rate, and where the proposal lies, as a PNG."""
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    rates = [point.rate for point in found.points]
    axis.semilogx(rates, [p.loss for p in found.points], color=BLUE, alpha=0.3, linewidth=0.8, label="loss of a step")
    axis.semilogx(rates, [point.smoothed for point in found.points], color=BLUE, label="smoothed")
    if (proposal := found.proposal) is not None:
        axis.axvline(proposal, color=ORANGE, label=f"proposed: {proposal:g}, where {FALLEN:.0%} of the fall is done")
    lowest = found.lowest
    axis.plot(
        [lowest.rate], [lowest.smoothed], "o", color=GREY, label=f"lowest: {lowest.smoothed:.2f} at {lowest.rate:.2g}"
    )
    # what comes after the valley may be a hundred times as high
    highest = max(point.smoothed for point in found.points[: found.points.index(lowest) + 1])
    axis.set_ylim(lowest.smoothed - 0.1 * (highest - lowest.smoothed) - 0.05, 1.15 * highest)
    axis.set_title(title, loc="left")
    axis.set_xlabel("learning rate of the step")
    axis.set_ylabel("loss, nats/token")
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(framealpha=0.9, edgecolor="none")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": "tidegate"})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, picture.getvalue())
