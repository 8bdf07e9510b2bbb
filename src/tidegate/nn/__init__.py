"""Layers: the recurrent cells as PyTorch modules, their regularizers and the loss.

`RNN`, `GRU` and `LSTM` take the place of those of `torch.nn`, and `to_torch` gives a model with those again;
`linear_cross_entropy` is an output layer with its loss.
"""

from __future__ import annotations

import importlib
from typing import Any

# resolved on first use: whoever needs one file of this package does not load them all
_HOMES = {
    "GRU": "tidegate.nn.layers",
    "LSTM": "tidegate.nn.layers",
    "RNN": "tidegate.nn.layers",
    "linear_cross_entropy": "tidegate.nn.loss",
    "to_torch": "tidegate.nn.twin",
}
__all__ = ["GRU", "LSTM", "RNN", "linear_cross_entropy", "to_torch"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tidegate.nn' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
