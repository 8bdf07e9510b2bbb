"""The one table between the spec's names and PyTorch's stacked tensors.

| stacked, as PyTorch and the model folder hold it | rnn  | lstm                | gru            | gru_reset_before |
| ------------------------------------------------ | ---- | ------------------- | -------------- | ---------------- |
| ``weight_ih (G·H, I)``, rows of gates            | W_xh | W_xi W_xf W_xg W_xo | W_xr W_xz W_xn | W_xr W_xz W_xn   |
| ``weight_hh (G·H, H)``, rows of gates            | W_hh | W_hi W_hf W_hg W_ho | W_hr W_hz W_hn | W_hr W_hz W_hn   |
| ``bias_ih + bias_hh (G·H,)``                     | b_h  | b_i b_f b_g b_o     | b_r b_z        | b_r b_z b_n      |
| ``bias_ih``, ``bias_hh``, each for itself        |      |                     | b_xn, b_hn     |                  |

PyTorch keeps two biases a gate where the equations have one, their sum; a summed bias gives its gradient to both. Only
n of `gru` truly has two, since the reset gate scales b_hn and not b_xn.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tidegate.errors import TidegateError
from tidegate.theory.cells import cell_named
from tidegate.theory.state import Array

GATES: dict[str, tuple[str, ...]] = {
    "rnn": ("h",),
    "lstm": ("i", "f", "g", "o"),
    "gru": ("r", "z", "n"),
    "gru_reset_before": ("r", "z", "n"),
}
"""The order in which gates are stacked; PyTorch's."""


def from_stacked(cell: str, weight_ih: Array, weight_hh: Array, bias_ih: Array, bias_hh: Array) -> Any:
    """Return the cell's `Parameters` from stacked tensors; weights are views of them, summed biases are new.

    Shapes ``(G·H, I)``, ``(G·H, H)``, ``(G·H,)``, ``(G·H,)`` with G gates; a `TidegateError` names a wrong one.
    """
    kind, gates = cell_named(cell).Parameters, GATES[cell]
    rows, H = len(gates) * weight_hh.shape[1], weight_hh.shape[1]
    for name, found in (("weight_ih", weight_ih), ("weight_hh", weight_hh), ("bias_ih", bias_ih), ("bias_hh", bias_hh)):
        if found.shape[0] != rows:
            raise TidegateError(
                f"{name} of {cell} has {found.shape[0]} rows, but {len(gates)} gates of {H} units need {rows}."
            )
    values = {}
    for k, gate in enumerate(gates):
        at = slice(k * H, (k + 1) * H)
        values[f"W_x{gate}"], values[f"W_h{gate}"] = weight_ih[at], weight_hh[at]
        if f"b_x{gate}" in kind._fields:
            values[f"b_x{gate}"], values[f"b_h{gate}"] = bias_ih[at], bias_hh[at]
        else:
            values[f"b_{gate}"] = bias_ih[at] + bias_hh[at]
    return kind(**values)


def stack_gradients(cell: str, d_p: Any) -> dict[str, Array]:
    """Return the gradients ``d_p`` as ``weight_ih``, ``weight_hh``, ``bias_ih``, ``bias_hh``, as autograd does."""
    d, gates = d_p._asdict(), GATES[cell]
    return {
        "weight_ih": np.concatenate([d[f"W_x{gate}"] for gate in gates]),
        "weight_hh": np.concatenate([d[f"W_h{gate}"] for gate in gates]),
        "bias_ih": np.concatenate([d.get(f"b_x{gate}", d.get(f"b_{gate}")) for gate in gates]),
        "bias_hh": np.concatenate([d[f"b_h{gate}"] if f"b_x{gate}" in d else d[f"b_{gate}"] for gate in gates]),
    }
