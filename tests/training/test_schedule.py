"""Warm-up, cosine, and where a run ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.config import TrainingConfig
from tidegate.training.schedule import Horizon, learning_rate


@pytest.mark.parametrize(("schedule", "quarter"), [("linear", 0.775), ("cosine", 0.868)])
def test_the_rate_rises_then_falls_to_its_end(schedule, quarter):
    config = TrainingConfig(learning_rate=1.0, warmup=10, schedule=schedule, final_rate=0.1)
    assert learning_rate(config, 0, 0.0) == pytest.approx(0.1)
    assert learning_rate(config, 9, 0.0) == pytest.approx(1.0)
    assert learning_rate(config, 500, 0.5) == pytest.approx(0.55)
    assert learning_rate(config, 1000, 1.0) == pytest.approx(0.1)
    assert learning_rate(config, 500, 0.25) == pytest.approx(quarter, abs=1e-3)


@given(st.integers(1, 400), st.integers(0, 10_000), st.sampled_from(["linear", "cosine"]))
def test_the_warm_up_takes_a_tenth_of_the_run_at_most(steps, warmup, schedule):
    config = TrainingConfig(learning_rate=1.0, warmup=warmup, schedule=schedule)
    horizon = Horizon(steps, None)
    rates = [learning_rate(config, step, horizon.progress(step, 0.0)) for step in range(steps)]
    highest = rates.index(max(rates))
    assert highest <= steps / 10 + 1
    if steps >= 10:
        assert rates[highest] >= 0.7  # it falls from the first step on


@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_after_the_warm_up_it_never_rises(step, a, b):
    config = TrainingConfig(warmup=0)
    low, high = sorted((a, b))
    assert learning_rate(config, step, high) <= learning_rate(config, step, low) <= config.learning_rate


@pytest.mark.parametrize(
    ("settings", "steps", "seconds"),
    [
        ({"steps": 12}, 12, None),
        ({"tokens": 1000}, 16, None),
        ({"epochs": 2.5}, 25, None),
        ({"minutes": 0.5}, None, 30.0),
        ({"minutes": 0.5, "final_seconds": 4.0}, None, 26.0),
        ({"minutes": 0.5, "final_seconds": 29.0}, None, 15.0),
        ({}, 50, None),
    ],
)
def test_the_horizon(settings, steps, seconds):
    horizon = Horizon.of(TrainingConfig(**settings), windows=10, tokens_a_step=64)
    assert (horizon.steps, horizon.seconds) == (steps, seconds)
    assert horizon.progress(0, 0.0) == 0
    assert horizon.progress(10**9, 10.0**9) == 1
