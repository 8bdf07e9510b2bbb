"""What validation texts settle: the temperature, the n-grams' weight, and that they must be worth it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tidegate.models.classifier import label_loss
from tidegate.training.calibration import fitted_calibration, fitted_ngrams
from tidegate.training.label_report import nats_a_text, probabilities_of


def drawn(z, several, rng):
    """Labels as these logits have them."""
    p = probabilities_of(z, several)
    if several:
        return (rng.random(p.shape) < p).astype(np.float32)
    return (p.cumsum(1) > rng.random((len(p), 1))).argmax(1)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("true", [0.5, 2.0])
def test_the_temperature_is_found_again(several, true):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20000, 3)) * 2
    found = fitted_calibration(logits, drawn(logits / true, several, rng))
    assert found.temperature == pytest.approx(true, rel=0.05)
    assert found.weight == 0


@pytest.mark.parametrize("several", [False, True])
def test_temperature_and_weight_are_found_again(several):
    rng = np.random.default_rng(0)
    logits, scores = rng.normal(size=(2, 20000, 3)) * 2
    found = fitted_calibration(logits, drawn(logits / 1.5 + 0.7 * scores, several, rng), scores)
    assert found == pytest.approx((1.5, 0.7), rel=0.05)


def test_scores_that_say_nothing_are_left_out():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(20):
        logits, scores = rng.normal(size=(2, 300, 2))
        found.append(fitted_calibration(logits, drawn(logits, False, rng), scores).weight > 0)
    assert sum(found) <= 4
    logits, scores = rng.normal(size=(2, 300, 2))
    assert (
        fitted_calibration(logits, drawn(logits - scores, False, rng), scores).weight == 0
    )  # nor those that are wrong


def test_class_weights_are_not_undone():
    """Of a rare label: n-grams that say of every text alike how rare it is gain nats, but tell nothing apart."""
    rng = np.random.default_rng(0)
    targets = (rng.random(600) < 0.05).astype(np.int64)
    logits = np.outer(rng.normal(size=600) + 2 * targets - 1, [-1, 1])  # as a balanced loss has them
    scores = rng.normal(size=(600, 2)) * 0.1 + [1.5, -1.5]
    weights = len(targets) / (2 * np.bincount(targets))
    assert fitted_calibration(logits, targets, scores).weight > 0.5
    assert fitted_calibration(logits, targets, scores, weights).weight == 0
    several = np.eye(2)[targets]
    factors = (600 - several.sum(0)) / several.sum(0)
    assert fitted_calibration(logits, several, scores).weight > 0.5
    assert fitted_calibration(logits, several, scores, factors).weight == 0


def test_the_loss_is_that_of_the_training():
    rng = np.random.default_rng(0)
    logits, weights = rng.normal(size=(8, 3)), np.array([0.5, 1, 3])
    for targets in (rng.integers(0, 3, 8), rng.integers(0, 2, (8, 3)).astype(np.float64)):
        found = nats_a_text(targets, probabilities_of(logits, targets.ndim > 1), weights)
        expected = label_loss(*(torch.from_numpy(one) for one in (logits, targets, weights)))
        assert found == pytest.approx(expected.item())


def test_numbers_of_float32_are_as_good():
    rng = np.random.default_rng(0)
    logits, scores = rng.normal(size=(2, 2000, 3)).astype(np.float32) * 2
    targets = drawn(logits / 1.5 + 0.7 * scores, False, rng)
    expected = fitted_calibration(logits.astype(np.float64), targets, scores.astype(np.float64))
    assert fitted_calibration(logits, targets, scores) == pytest.approx(expected, rel=1e-4)


def test_few_texts_say_little():
    sure, unsure = np.array([[1.0, 0.0]] * 4), np.zeros((4, 2))
    right = np.zeros(4, np.int64)
    assert 0.4 < fitted_calibration(sure, right).temperature < 1
    assert fitted_calibration(unsure, right).temperature == pytest.approx(1, abs=1e-3)
    assert 0.5 < fitted_calibration(unsure, right, sure).weight < 1
    assert fitted_calibration(unsure, right, -sure).weight < 0.5
    assert fitted_calibration(np.zeros((0, 2)), np.zeros(0, np.int64)) == (1.0, 0.0)


TEXTS = ["good film", "very good", "bad film", "very bad", "so so film", "just so so"] * 5


def test_ngrams_of_two_and_of_three_labels():
    two = np.array([0, 0, 1, 1, 0, 0] * 5)
    scores = fitted_ngrams(TEXTS, two, 2, "none")
    found = scores.of(["good", "bad"])
    assert (found.argmax(1) == [0, 1]).all()
    np.testing.assert_allclose(found.sum(1), 0, atol=1e-5)  # nothing is said of both at once
    three = np.array([0, 0, 1, 1, 2, 2] * 5)
    assert (fitted_ngrams(TEXTS, three, 3, "none").of(["good", "bad", "so so"]).argmax(1) == [0, 1, 2]).all()


def test_ngrams_give_the_probabilities_of_the_regression():
    """Of two labels only the difference is there: the softmax must give what the logistic function gave."""
    two = np.array([0, 0, 0, 1, 1, 0] * 5)
    balanced, plain = (fitted_ngrams(TEXTS, two, 2, how).of(["film", "very bad"]) for how in ("balanced", "none"))
    p = probabilities_of(plain, False)
    assert p[1, 1] > 0.5 > p[0, 1]
    assert probabilities_of(balanced, False)[0, 1] > p[0, 1]  # the rarer label counts for more
    found = fitted_ngrams(TEXTS, two, 2, "none")
    wrong = two - probabilities_of(found.of(TEXTS), False)[:, 1]
    # where the loss C Σ nats + |w|² / 2 + b² / 2 is lowest, b = C Σ (y - p)
    assert found.bias[1] - found.bias[0] == pytest.approx(10 * wrong.sum(), abs=2e-3)


def test_ngrams_of_several_labels_a_text():
    targets = np.array([[1, 0, 1], [1, 1, 1], [0, 0, 1], [0, 1, 1], [0, 0, 1], [0, 0, 1]] * 5, np.float32)
    found = fitted_ngrams(TEXTS, targets, 3, "none").of(["good film", "very bad"])
    assert ((found[:, :2] > 0) == [[True, False], [False, True]]).all()
    np.testing.assert_array_equal(found[:, 2], 0)  # all have it: there is nothing to tell apart


def test_texts_without_a_word_have_no_ngrams():
    assert fitted_ngrams(["! ?", "?"], np.array([0, 1]), 2, "none") is None
