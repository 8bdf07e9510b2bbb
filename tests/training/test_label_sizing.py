"""What few texts want of a training, where it is not given."""

from __future__ import annotations

import pytest

from tidegate.config import TrainingConfig
from tidegate.labelling import FEW_TEXTS, LEAST_STEPS, LabelConfig
from tidegate.training.label_sizing import for_few, in_minutes

TRAINING = TrainingConfig(epochs=3.0, learning_rate=3e-3, lanes=32)


@pytest.mark.parametrize(("texts", "steps", "rate"), [(100, 150, 7.5e-4), (400, 150, 1.5e-3), (6400, 600, 3e-3)])
def test_few_texts_are_read_more_often_in_smaller_steps(texts, steps, rate):
    found = for_few(TRAINING, LabelConfig("direct"), "classify", texts, frozenset())
    assert found.epochs * -(-texts // 32) == pytest.approx(steps)
    assert found.learning_rate == pytest.approx(rate)
    assert steps >= LEAST_STEPS
    assert (rate < 3e-3) == (texts < FEW_TEXTS)


@pytest.mark.parametrize(
    ("labels", "task"),
    [(LabelConfig("fast"), "classify"), (LabelConfig("scratch"), "classify"), (LabelConfig(), "tag")],
)
def test_what_has_nothing_to_forget_keeps_its_rate(labels, task):
    assert for_few(TRAINING, labels, task, 100, frozenset()).learning_rate == 3e-3


def test_what_is_given_stays():
    assert for_few(TRAINING, LabelConfig(), "classify", 100, frozenset({"epochs", "learning_rate"})) == TRAINING
    assert for_few(TRAINING, LabelConfig(), "classify", 100, frozenset({"minutes"})).epochs == 3


@pytest.mark.parametrize(("speed", "lanes"), [(0.1, 4), (25.0, 10), (1000.0, 32)])
def test_little_time_has_smaller_batches_so_that_there_are_steps_enough(speed, lanes):
    training = TrainingConfig(minutes=1.0)
    assert for_few(training, LabelConfig(), "tag", 600, frozenset({"minutes"}), speed).lanes == lanes
    assert for_few(training, LabelConfig(), "tag", 600, frozenset({"minutes", "lanes"}), speed).lanes == 32


def test_time_is_kept_for_the_report():
    training = TrainingConfig(minutes=2.0)
    found = in_minutes(training, frozenset(), 10.0, held_out=90, tested=120, characters=300_000)
    assert found.final_seconds == 2 * 90 / 30 + 120 / 30 + 2 + 2
    assert found.evaluations == 3  # each takes 4 seconds of 120
    assert in_minutes(training, frozenset({"final_seconds", "evaluations"}), 10.0, 90, 0, 0) == training
