"""The learning-rate range test (Smith, arXiv 1506.01186): how a run's loss answers while the rate grows.

A throw-away model with the run's own settings and text takes the steps that the run would, at a rate that grows by the
same factor from each to the next. Where the loss falls fastest the rate serves well; where it rises it is too high.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tidegate.config import TrainingConfig
from tidegate.training.batches import Feed
from tidegate.training.optimize import train_step
from tidegate.training.state import TrainState

LOWEST, HIGHEST = 1e-5, 1.0
STEPS = 150
MEMORY = 0.9
"""how much of the smoothed loss each step keeps"""


class Point(NamedTuple):
    """One step of the test."""

    rate: float
    loss: float
    """of the window, nats a token"""
    smoothed: float
    """running mean of the losses up to here, its bias towards the start corrected"""


def rates(steps: int = STEPS) -> np.ndarray:
    """Return the rate of each step: LOWEST to HIGHEST, each larger than the last by one factor."""
    return np.geomspace(LOWEST, HIGHEST, steps)


def range_test(
    state: TrainState,
    feed: Feed,
    config: TrainingConfig,
    steps: int = STEPS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Point]:
    """Take `steps` steps while the rate grows; ends early where the loss has diverged or is not finite."""
    points: list[Point] = []
    mean = 0.0
    for index, rate in enumerate(rates(steps)):
        step = train_step(state, feed.read(state.progress.cursor), config, float(rate))
        if not step.finite:
            break
        mean = MEMORY * mean + (1 - MEMORY) * step.loss
        points.append(Point(float(rate), step.loss, mean / (1 - MEMORY ** (index + 1))))
        progress(index + 1, steps)
    return points
