"""RMS normalization, which stands before each residual block and before the output layer; forward and backward.

    s = 1 / sqrt(mean(x²) + eps)               one number for each vector of H values              (1)
    u = x · s                                                                                      (2)
    y = u ⊙ weight                                                                                 (3)

Zhang & Sennrich, "Root Mean Square Layer Normalization", 2019, arXiv 1910.07467v1, with eps under the root as PyTorch
has it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tidegate.theory.state import Array

EPS = 1e-6
"""Added to the mean square: a vector of zeros stays one."""


class Saved(NamedTuple):
    """What forward hands to backward: ``u (…, H)``, ``s (…, 1)`` and ``weight (H,)``."""

    u: Array
    s: Array
    weight: Array


def rms_norm(x: Array, weight: Array) -> Array:
    """Return y ``(…, H)`` from ``x (…, H)`` and ``weight (H,)``, in the dtype of x."""
    # as `forward`, without what backward needs: a third of its passes over memory
    y = x / np.sqrt(np.einsum("...h,...h->...", x, x) / x.dtype.type(x.shape[-1]) + EPS)[..., None]
    y *= weight
    return y


def forward(x: Array, weight: Array) -> tuple[Array, Saved]:
    """Return y ``(…, H)`` and what backward needs, from ``x (…, H)`` and ``weight (H,)``."""
    s = 1 / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + EPS)  # (1)
    u = x * s  # (2)
    return u * weight, Saved(u, s, weight)  # (3)


def backward(d_y: Array, saved: Saved) -> tuple[Array, Array]:
    """Return ``d_x (…, H)`` and ``d_weight (H,)`` from ``d_y (…, H)``."""
    u, s, weight = saved
    d_weight = (d_y * u).reshape(-1, weight.size).sum(axis=0)  # undoes (3)
    d_u = d_y * weight  # undoes (3)
    # undoes (2) and (1) at once: x moves u directly, by s, and through s, by ∂s/∂x = -s³ x / H = -s² u / H
    d_x = s * (d_u - u * np.mean(d_u * u, axis=-1, keepdims=True))
    return d_x, d_weight
