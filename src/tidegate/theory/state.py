"""State: what a layer remembers between two steps; one NamedTuple a layer, an argument and a result, kept nowhere."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.floating[Any]]
"""An array of floating numbers; whatever dtype comes in goes out."""


class HiddenState(NamedTuple):
    """State of one RNN or GRU layer: h ``(B, H)``."""

    h: Any


class LSTMState(NamedTuple):
    """State of one LSTM layer: h ``(B, H)`` and c ``(B, H)``, in this order everywhere."""

    h: Any
    c: Any


S = TypeVar("S", HiddenState, LSTMState)


def start_fresh(state: S, fresh: NDArray[np.bool_] | None, t: int) -> S:
    """Return the state ``(B, H)`` before step t with the lanes of ``fresh (T, B)`` at zero; ``fresh=None`` starts none.

    It also undoes itself: given the gradient of the replaced state, it returns that of the state before, since nothing
    flows back through a lane that starts afresh. Lanes are chosen, not multiplied by 0: 0 x inf would be NaN.
    """
    if fresh is None:
        return state
    lanes = fresh[t][:, None]
    return type(state)(*(np.where(lanes, values.dtype.type(0), values) for values in state))
