"""What a finished run says of itself."""

from __future__ import annotations

import re

import pytest

from tidegate.config import TrainingConfig
from tidegate.training.outcome import outcome


def evaluations(*losses, until=1.0):
    count = len(losses)
    return [
        {"event": "evaluation", "step": 100 * k, "progress": until * k / count, "validation": loss}
        for k, loss in enumerate(losses, 1)
    ]


@pytest.mark.parametrize(
    ("settings", "losses", "advice"),
    [
        ({"minutes": 2.5}, (5.0, 4.0, 3.0), "--minutes 5"),
        ({"epochs": 5.0}, (5.0, 4.0, 3.9, 3.8, 3.7, 3.6), "--epochs 10"),
        ({"steps": 300}, (5.0, 4.0, 3.5), "--steps 600"),
        ({}, (5.0, 4.0, 3.5), "--epochs 10"),
        ({}, (5.0, 4.0, 3.99, 3.98, 3.97, 3.96), None),  # flat
        ({}, (5.0, 3.0, 3.5), None),  # it rose
        ({}, (5.0,), None),
        ({}, (), None),
    ],
)
def test_a_loss_that_still_falls_asks_for_a_longer_run(settings, losses, advice):
    said = outcome(TrainingConfig(**settings), evaluations(*losses), True)
    if advice is None:
        assert said == []
    else:
        assert len(said) == 1
        assert re.search(rf"still falling .*such as {advice}\.$", said[0])


@pytest.mark.parametrize(
    ("schedule", "until", "rising"), [("linear", 0.05, True), ("linear", 0.2, False), ("triangular", 0.05, True)]
)
def test_a_rate_that_never_reached_its_height_is_said(schedule, until, rising):
    training = TrainingConfig(schedule=schedule, warmup=100_000)
    said = outcome(training, evaluations(3.0, 3.1, until=until), True)
    assert any("still rising" in sentence for sentence in said) == rising


def test_where_the_last_step_is_kept_the_best_is_named():
    (said,) = outcome(TrainingConfig(keep="last"), evaluations(4.0, 5.0, 6.0), False)
    assert "last step are kept, with a validation loss of 6.0000; it was lowest at step 100, 4.0000" in said
