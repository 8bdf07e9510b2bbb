"""State: what a layer remembers between two steps; one NamedTuple a layer, an argument and a result, kept nowhere."""

from __future__ import annotations

from typing import Any, NamedTuple


class HiddenState(NamedTuple):
    """State of one RNN or GRU layer: h ``(B, H)``."""

    h: Any


class LSTMState(NamedTuple):
    """State of one LSTM layer: h ``(B, H)`` and c ``(B, H)``, in this order everywhere."""

    h: Any
    c: Any
