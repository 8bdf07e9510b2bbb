"""The spec's names and PyTorch's stacked tensors, both ways."""

from __future__ import annotations

import numpy as np
import pytest

from tidegate.errors import TidegateError
from tidegate.theory.cells import CELLS, cell_named
from tidegate.theory.finite_differences import random_parameters
from tidegate.theory.layout import GATES, from_stacked, stack_gradients

I, H = 3, 5


def stacked(cell: str) -> dict[str, np.ndarray]:
    """Row r of every tensor holds r, and bias_hh a thousand times that: each gate shows where it came from."""
    rows = np.arange(len(GATES[cell]) * H, dtype=float)
    return {
        "weight_ih": np.repeat(rows[:, None], I, axis=1),
        "weight_hh": np.repeat(rows[:, None], H, axis=1),
        "bias_ih": rows,
        "bias_hh": 1000 * rows,
    }


@pytest.mark.parametrize("cell", CELLS)
def test_each_gate_is_its_own_rows(cell: str) -> None:
    p = from_stacked(cell, **stacked(cell))
    for k, gate in enumerate(GATES[cell]):
        rows = np.arange(k * H, (k + 1) * H)
        np.testing.assert_array_equal(getattr(p, f"W_x{gate}"), np.repeat(rows[:, None], I, axis=1))
        np.testing.assert_array_equal(getattr(p, f"W_h{gate}"), np.repeat(rows[:, None], H, axis=1))
        if (cell, gate) == ("gru", "n"):
            np.testing.assert_array_equal(p.b_xn, rows)
            np.testing.assert_array_equal(p.b_hn, 1000 * rows)
        else:
            np.testing.assert_array_equal(getattr(p, f"b_{gate}"), 1001 * rows)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_stack_in_the_same_order(cell: str) -> None:
    d_p = random_parameters(cell, I, H, np.random.default_rng(0))
    d = stack_gradients(cell, d_p)
    assert list(d) == ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    again = from_stacked(cell, d["weight_ih"], d["weight_hh"], d["bias_ih"], d["bias_hh"])
    for name, value in again._asdict().items():
        twice = 1 if name[0] == "W" or name in ("b_xn", "b_hn") else 2  # a summed bias gives its gradient to both
        np.testing.assert_array_equal(value, twice * getattr(d_p, name))


def test_every_cell_has_its_gates() -> None:
    assert GATES.keys() == CELLS.keys()


@pytest.mark.parametrize(("cell", "gates"), [("rnn", 1), ("lstm", 4), ("gru", 3), ("gru_reset_before", 3)])
def test_the_number_of_parameters_is_the_documented_one(cell: str, gates: int) -> None:
    p = random_parameters(cell, I, H, np.random.default_rng(0))
    assert sum(value.size for value in p) == gates * (H * I + H * H + H) + (H if cell == "gru" else 0)


@pytest.mark.parametrize("name", ["weight_ih", "bias_ih", "bias_hh"])
def test_a_tensor_of_the_wrong_size_is_named(name: str) -> None:
    tensors = stacked("lstm")
    tensors[name] = tensors[name][:-1]
    with pytest.raises(TidegateError, match=f"{name} of lstm has 19 rows, but 4 gates of 5 units need 20"):
        from_stacked("lstm", **tensors)


def test_a_cell_of_other_gates_is_refused() -> None:
    with pytest.raises(TidegateError, match="3 gates of 5 units need 15"):
        from_stacked("gru", **stacked("lstm"))


@pytest.mark.parametrize("cell", CELLS)
def test_float32_stays_float32(cell: str) -> None:
    p = from_stacked(cell, **{name: value.astype(np.float32) for name, value in stacked(cell).items()})
    assert isinstance(p, cell_named(cell).Parameters)
    assert {value.dtype for value in p} == {np.dtype(np.float32)}
