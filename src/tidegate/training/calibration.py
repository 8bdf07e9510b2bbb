"""What the validation texts settle: how sure a classifier is, and how much n-grams count beside what it has read.

z = logits / temperature + weight · s
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression

from tidegate.labelling import ClassWeights
from tidegate.text.ngrams import BUCKETS, Counts, NgramScores, counted, rarity, unit_of, weighted
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
    """Fit a logistic regression on texts' n-grams; None where there is nothing to count.

    targets: ``(N,)`` numbers of labels, all of them met, or ``(N, K)``, 1 for each label that a text has; a label that
    all texts have, or none, has the score 0.
    """
    unit = unit_of(texts)
    counts = [counted(text, unit) for text in texts]
    factors = rarity(counts)
    if not factors.any():
        return None
    met = np.flatnonzero(factors)  # of a few texts it is a few thousand buckets: all the others would have the weight 0
    matrix = _matrix(counts, factors)[:, met]
    del counts
    weight, bias = np.zeros((labels, BUCKETS), np.float32), np.zeros(labels, np.float32)
    for k, target in enumerate(targets.T if targets.ndim > 1 else [targets]):
        if len(np.unique(target)) < 2:
            continue
        regression = LogisticRegression(
            C=10.0, max_iter=1000, class_weight="balanced" if class_weights == "balanced" else None
        ).fit(matrix, target)
        found, constant = regression.coef_, regression.intercept_
        if targets.ndim > 1:
            weight[k, met], bias[k] = found[0], constant[0]
        elif len(found) == 1:  # of two labels it has the difference
            weight[:, met], bias[:] = np.outer([-0.5, 0.5], found[0]), np.array([-0.5, 0.5]) * constant[0]
        else:
            weight[:, met], bias[:] = found, constant
    return NgramScores(unit, factors, weight, bias)


def _matrix(counts: Sequence[Counts], factors: NDArray[np.float32]) -> csr_array:
    """Return φ of all texts, ``(N, BUCKETS)``."""
    rows = [weighted(one, factors) for one in counts]
    borders = np.cumsum([0, *(len(buckets) for buckets, _ in rows)])
    values, buckets = (np.concatenate(parts) for parts in zip(*((v, b) for b, v in rows), strict=True))
    return csr_array((values, buckets, borders), shape=(len(rows), BUCKETS))
