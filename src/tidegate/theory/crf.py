"""The linear-chain conditional random field (Lafferty et al. 2001): scores of whole sequences of tags.

    s(y) = start[y_1] + Σ_t e_t[y_t] + Σ_{t>1} A[y_{t-1}, y_t] + end[y_T]                                      (1)
    log Z = log Σ_y exp s(y):   a_1 = start + e_1,   a_t[k] = e_t[k] + log Σ_j exp(a_{t-1}[j] + A[j, k]),
            log Z = log Σ_k exp(a_T[k] + end[k])                                                               (2)
    -log p(y) = log Z - s(y)                                                                                   (3)
    the likeliest y: the same recursion with max for log Σ exp (Viterbi 1967)                                  (4)

e: emissions ``(T, K)``; A: transitions ``(K, K)``, from row to column; start, end: ``(K,)``. Numbers of -inf forbid.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tidegate.theory.state import Array


class Chain(NamedTuple):
    """The scores that do not depend on the text."""

    transitions: Array
    """``(K, K)``, from row to column"""
    start: Array
    """``(K,)``"""
    end: Array
    """``(K,)``"""


def score(emissions: Array, tags: Array, chain: Chain) -> float:
    """Return s(y) of emissions ``(T, K)``, T ≥ 1, and tags ``(T,)``: equation (1)."""
    inner = chain.transitions[tags[:-1], tags[1:]].sum()
    return float(chain.start[tags[0]] + emissions[np.arange(len(tags)), tags].sum() + inner + chain.end[tags[-1]])


def log_partition(emissions: Array, chain: Chain) -> float:
    """Return log Z of emissions ``(T, K)``, T ≥ 1: equation (2)."""
    a = chain.start + emissions[0]
    for e in emissions[1:]:
        a = e + _log_sum_exp(a[:, None] + chain.transitions)
    return float(_log_sum_exp((a + chain.end)[:, None])[0])


def best(emissions: Array, chain: Chain) -> Array:
    """Return the likeliest tags ``(T,)`` int64 of emissions ``(T, K)``, T ≥ 1: equation (4)."""
    a, came_from = chain.start + emissions[0], []
    for e in emissions[1:]:
        paths = a[:, None] + chain.transitions
        came_from.append(paths.argmax(axis=0))
        a = e + paths.max(axis=0)
    tags = [int((a + chain.end).argmax())]
    for back in reversed(came_from):
        tags.append(int(back[tags[-1]]))
    return np.array(tags[::-1], np.int64)


def _log_sum_exp(x: Array) -> Array:
    """Return the log of the sum of exp over the first axis; -inf where all of it is."""
    top = x.max(axis=0)
    top = np.where(np.isfinite(top), top, 0)
    with np.errstate(divide="ignore"):
        return np.asarray(top + np.log(np.exp(x - top).sum(axis=0)))
