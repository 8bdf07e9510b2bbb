"""What few texts want of a training, where it is not given."""

from __future__ import annotations

import pytest

from tidegate.config import TrainingConfig
from tidegate.labelling import FEW_TEXTS, LEAST_STEPS, LabelConfig
from tidegate.training.task_launch import for_few

TRAINING = TrainingConfig(epochs=3.0, learning_rate=3e-3, lanes=32)


@pytest.mark.parametrize(("texts", "steps", "rate"), [(100, 150, 7.5e-4), (400, 150, 1.5e-3), (6400, 600, 3e-3)])
def test_few_texts_are_read_more_often_in_smaller_steps(texts, steps, rate):
    found = for_few(TRAINING, LabelConfig("direct"), texts, frozenset())
    assert found.epochs * -(-texts // 32) == pytest.approx(steps)
    assert found.learning_rate == pytest.approx(rate)
    assert steps >= LEAST_STEPS
    assert (rate < 3e-3) == (texts < FEW_TEXTS)


@pytest.mark.parametrize("labels", [LabelConfig("fast"), LabelConfig("scratch"), None])
def test_what_has_nothing_to_forget_keeps_its_rate(labels):
    assert for_few(TRAINING, labels, 100, frozenset()).learning_rate == 3e-3


def test_what_is_given_stays():
    assert for_few(TRAINING, LabelConfig(), 100, frozenset({"epochs", "learning_rate"})) == TRAINING
    assert for_few(TRAINING, LabelConfig(), 100, frozenset({"minutes"})).epochs == 3
