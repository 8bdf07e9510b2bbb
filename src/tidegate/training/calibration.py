"""What the validation texts settle: how sure a classifier is, and how much n-grams count beside what it has read.

z = logits / temperature + weight · s
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from tidegate.labelling import ClassWeights
from tidegate.text.ngrams import BUCKETS, Counts, NgramScores, counted, telling, unit_of, weighted
from tidegate.training.label_report import nats_a_text, probabilities_of

PRIOR = 2.0
"""of the temperature and the weight"""
USUAL, LEAST = 0.5, 0.1
"""the weight where few validation texts say little of it: with a thousand it came out between 0.5 and 1, of reviews in
Chinese and of film sentences in English; and that below which n-grams are left out"""


class Calibration(NamedTuple):
    """What the logits are divided by, and what the n-grams' scores are multiplied by."""

    temperature: float
    weight: float


def fitted_calibration(
    logits: NDArray[Any],
    targets: NDArray[Any],
    scores: NDArray[Any] | None = None,
    class_weights: NDArray[Any] | None = None,
) -> Calibration:
    """Return the temperature and weight of the lowest loss on validation texts (Guo et al. 2017, arXiv 1706.04599).

    logits, scores: ``(N, K)``; targets: ``(N,)`` or ``(N, K)``; class_weights: ``(K,)``, those of the loss that the
    logits come from: n-grams that say no more than that a label is frequent would undo them. Few texts say little: the
    squares of the temperature's logarithm and of the weight's distance from USUAL count as much as the nats of PRIOR
    texts; a weight below LEAST is 0. Without texts the temperature is 1.
    """
    if not len(logits):
        return Calibration(1.0, 0.0)
    # the optimizer's differences are too small for float32
    logits, scores = logits.astype(np.float64), None if scores is None else scores.astype(np.float64)

    def loss(values: NDArray[Any]) -> float:
        z, prior = logits / np.exp(values[0]), values[0] ** 2
        if len(values) > 1:
            z, prior = z + values[1] * scores, prior + (values[1] - USUAL) ** 2
        nats = nats_a_text(targets, probabilities_of(z, targets.ndim > 1), class_weights)
        return len(logits) * nats + PRIOR * float(prior)

    bounds = [(np.log(0.1), np.log(10.0)), (0.0, 10.0)]
    if scores is not None:
        temperature, weight = minimize(loss, [0.0, USUAL], bounds=bounds).x
        if weight >= LEAST:
            return Calibration(float(np.exp(temperature)), float(weight))
    return Calibration(float(np.exp(minimize(loss, [0.0], bounds=bounds[:1]).x[0])), 0.0)


def fitted_ngrams(
    texts: Sequence[str], targets: NDArray[Any], labels: int, class_weights: ClassWeights
) -> NgramScores | None:
    """Fit logistic regressions on texts' n-grams, each label against the others; None where there is nothing to count.

    targets: ``(N,)`` numbers of labels, all of them met, or ``(N, K)``, 1 for each label that a text has; a label that
    all texts have, or none, has the score 0.
    """
    unit = unit_of(texts)
    counts = [counted(text, unit) for text in texts]
    one_label, balanced = targets.ndim == 1, class_weights == "balanced"
    of_each = targets[:, None] == np.arange(labels) if one_label else targets
    factors = telling(counts, of_each)
    if not factors.any():
        return None
    matrix, met = _matrix(counts, factors), np.flatnonzero(factors)
    del counts
    # a regression for each label; of two the second's says all
    columns = of_each.T[1:] if one_label and labels == 2 else of_each.T
    importance = _importance(targets, labels) if one_label and balanced else None
    weight, bias = np.zeros((len(columns), BUCKETS), np.float32), np.zeros(len(columns), np.float32)
    for k, column in enumerate(columns):
        if len(np.unique(column)) > 1:
            # by the dual's coordinates: ten labels of 56,000 texts take one minute, by the gradient of all five
            regression = LogisticRegression(
                C=10.0,
                solver="liblinear",
                dual=True,
                max_iter=1000,
                class_weight="balanced" if balanced and not one_label else None,
                random_state=0,
            ).fit(matrix, column, importance)
            weight[k, met], bias[k] = regression.coef_[0], regression.intercept_[0]
    if one_label and labels == 2:
        half = np.float32(0.5)
        return NgramScores(
            unit, factors, np.concatenate([-half * weight, half * weight]), bias * np.array([-half, half])
        )
    return NgramScores(unit, factors, weight, bias)


def _importance(targets: NDArray[Any], labels: int) -> NDArray[np.float64]:
    """Return the factor on each text that has each label count alike, ``(N,)``."""
    counts = np.bincount(targets, minlength=labels)
    return np.asarray(len(targets) / (labels * counts[targets]))


def _matrix(counts: Sequence[Counts], factors: NDArray[np.float32]) -> csr_matrix:
    """Return φ of all texts, ``(N, n)``, of the n buckets that are met: all others would have the weight 0."""
    place = (np.cumsum(factors > 0) - 1).astype(np.int32)
    rows = [weighted(one, factors) for one in counts]
    borders = np.cumsum([0, *(len(buckets) for buckets, _ in rows)], dtype=np.int32)
    buckets, values = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    return csr_matrix((values, place[buckets], borders), shape=(len(rows), int(place[-1]) + 1))
