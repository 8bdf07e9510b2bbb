"""The table of cells: a name to the file that holds its equations."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tidegate.errors import TidegateError, nearest
from tidegate.theory import gru, gru_reset_before, lstm, rnn

CELLS: dict[str, ModuleType] = {"rnn": rnn, "lstm": lstm, "gru": gru, "gru_reset_before": gru_reset_before}
"""Each file holds `Parameters`, `State`, `step`, `forward` and `backward`."""


def cell_named(name: str) -> ModuleType:
    """Return the file of a cell, or say which cells there are."""
    if name not in CELLS:
        raise TidegateError(f"There is no cell {name!r}; choose one of {', '.join(CELLS)}{nearest(name, CELLS)}.")
    return CELLS[name]


def zero_state(cell: str, B: int, H: int, dtype: DTypeLike) -> Any:
    """Return the state before the first step: a `HiddenState`, or an `LSTMState`, of zeros ``(B, H)``."""
    state = cell_named(cell).State
    return state(*(np.zeros((B, H), dtype) for _ in state._fields))
