"""The logistic function σ, written so that it neither overflows nor changes the dtype; tanh is NumPy's own."""

from __future__ import annotations

import numpy as np

from tidegate.theory.state import Array


def sigmoid(a: Array) -> Array:
    """Return σ(a) = 1 / (1 + exp(-a)) for an array of any shape, in its own dtype.

    Computed by the identity σ(a) = (1 + tanh(a / 2)) / 2: ``exp`` would overflow for large -a, ``tanh`` never does.
    The absolute error is at most about one eps of the dtype. Its derivative is σ'(a) = σ(a) (1 - σ(a)).
    """
    return 0.5 * (1 + np.tanh(0.5 * a))
