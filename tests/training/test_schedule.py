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
        ({}, 50, None),
    ],
)
def test_the_horizon(settings, steps, seconds):
    horizon = Horizon.of(TrainingConfig(**settings), windows=10, tokens_a_step=64)
    assert (horizon.steps, horizon.seconds) == (steps, seconds)
    assert horizon.progress(0, 0.0) == 0
    assert horizon.progress(10**9, 10.0**9) == 1
