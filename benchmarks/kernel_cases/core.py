"""What the benchmark asks of the native core beside the public modules: its peak, its instruction set, its decoder."""

from __future__ import annotations

import importlib
from typing import Any


def core() -> Any:
    """Return the module ``tidegate._core``; ends the benchmark where it cannot be used."""
    try:
        native = importlib.import_module("tidegate.native")
    except ImportError as error:
        raise SystemExit(f"The native core is not there ({error}): build it with ./run setup.") from None
    loaded = native.core()
    if loaded is None:
        raise SystemExit(f"The native core cannot be used here: {native.reason()}")
    return loaded


def module(cell: str) -> Any:
    """Return the drop-in module of a cell: tidegate.nn.LSTM, GRU or RNN."""
    return getattr(importlib.import_module("tidegate.nn"), cell.upper())


def described() -> dict[str, str]:
    """Return which kernels run, and why, for the result file."""
    loaded, found = core(), {}
    for name in ("isa", "isas", "isa_reason"):
        value = getattr(loaded, name, None)
        found[name] = str(value() if callable(value) else value)
    return found
