"""A linear layer that runs, y = x Wᵀ + b: in the native core, or in NumPy where that is not.

NumPy's own products would run on threads that go on spinning for tens of milliseconds after each, and take the CPUs of
the core's.
"""

from __future__ import annotations

from typing import Any, final

import numpy as np

from tidegate import native
from tidegate.folder.tensors import Tensors
from tidegate.runtime.stack import Array


@final
class Linear:
    """Maps vectors to vectors."""

    def __init__(self, weight: Array, bias: Array | None = None) -> None:
        """Take weight ``(O, I)`` and bias ``(O,)`` where they lie."""
        self._weight = np.ascontiguousarray(weight, np.float32)
        self._bias = None if bias is None else np.ascontiguousarray(bias, np.float32)
        self._core: Any = native.core()
        self._threads = native.team()

    def __reduce__(self) -> tuple[Any, ...]:
        return Linear, (self._weight, self._bias)  # a copy finds the core anew

    def __call__(self, x: Array) -> Array:
        """Map x ``(N, I)`` to ``(N, O)``, float32."""
        if self._core is None or len(x) == 0:
            y = x @ self._weight.T
            return np.asarray(y if self._bias is None else y + self._bias, np.float32)
        y = np.empty((len(x), len(self._weight)), np.float32)
        self._core.linear(np.ascontiguousarray(x, np.float32), self._weight, self._bias, y, self._threads)
        return y


def optional_linear(tensors: Tensors, name: str) -> Linear | None:
    """Return the layer of a tensor, None where the model has no such tensor."""
    return Linear(tensors[name]) if name in tensors else None
