"""The checks can fail: each cell is broken on purpose, in ways this field has seen, and the checks must go red."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tidegate.theory.cells import CELLS
from tidegate.theory.finite_differences import check_cell

from .pytorch_reference import largest_differences

each_cell = pytest.mark.parametrize("cell", CELLS)
Break = Callable[..., None]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that puts a broken forward or backward in the place of a cell's own."""

    def put(cell: str, **functions: Any) -> None:
        monkeypatch.setitem(CELLS, cell, SimpleNamespace(**{**vars(CELLS[cell]), **functions}))

    return put


def red(cell: str) -> set[str]:
    """Return the names whose gradients the finite differences refuse."""
    return {row.name for row in check_cell(cell, T=5, B=3, I=3, H=3, seed=0) if not row.passed}


@each_cell
def test_sound_cells_are_green(cell: str) -> None:
    assert red(cell) == set()


def test_h_0_and_c_0_swapped_in_forward(broken: Break) -> None:
    lstm = CELLS["lstm"]
    broken("lstm", forward=lambda x, s, p, *, fresh=None: lstm.forward(x, lstm.State(s.c, s.h), p, fresh=fresh))
    assert red("lstm") >= {"h_0", "c_0"}


def test_h_0_and_c_0_swapped_in_backward(broken: Break) -> None:
    lstm = CELLS["lstm"]

    def backward(*given: Any) -> Any:
        d_x, d_state_0, d_p = lstm.backward(*given)
        return d_x, lstm.State(d_state_0.c, d_state_0.h), d_p

    broken("lstm", backward=backward)
    assert red("lstm") == {"h_0", "c_0"}


def test_h_0_and_c_0_swapped_in_both_is_a_true_derivative_of_a_wrong_cell(broken: Break) -> None:
    lstm = CELLS["lstm"]

    def forward(x: Any, s: Any, p: Any, *, fresh: Any = None) -> Any:
        return lstm.forward(x, lstm.State(s.c, s.h), p, fresh=fresh)

    def backward(*given: Any) -> Any:
        d_x, d_state_0, d_p = lstm.backward(*given)
        return d_x, lstm.State(d_state_0.c, d_state_0.h), d_p

    broken("lstm", forward=forward, backward=backward)
    assert red("lstm") == set()
    assert largest_differences("lstm", 5, 3, 3, 3, seed=0)["h"] > 1e-3


@pytest.mark.parametrize(("cell", "one", "other"), [("lstm", "i", "f"), ("lstm", "g", "o"), ("gru", "r", "z")])
def test_two_gates_swapped(broken: Break, cell: str, one: str, other: str) -> None:
    equations = CELLS[cell]
    names = [name for name in equations.Parameters._fields if name.endswith((one, other))]
    exchange = {name: name[:-1] + (other if name.endswith(one) else one) for name in names}

    def forward(x: Any, state_0: Any, p: Any, *, fresh: Any = None) -> Any:
        swapped = p._replace(**{name: getattr(p, source) for name, source in exchange.items()})
        return equations.forward(x, state_0, swapped, fresh=fresh)

    broken(cell, forward=forward)
    assert red(cell) >= set(names)
    assert largest_differences(cell, 5, 3, 3, 3, seed=0)["h"] > 1e-3


@each_cell
def test_step_0_skipped_in_the_weight_gradients(broken: Break, cell: str) -> None:
    equations = CELLS[cell]

    def backward(d_h: Any, d_state_T: Any, saved: Any, p: Any) -> Any:
        later = saved._replace(steps=saved.steps[1:], fresh=saved.fresh[1:])
        d_x, d_state_0, _ = equations.backward(d_h, d_state_T, saved, p)
        return d_x, d_state_0, equations.backward(d_h[1:], d_state_T, later, p)[2]

    broken(cell, backward=backward)
    assert red(cell) == set(equations.Parameters._fields)


@pytest.mark.parametrize(
    ("cell", "name"),
    [(cell, name) for cell, equations in CELLS.items() for name in equations.Parameters._fields if name[0] == "b"],
)
def test_a_bias_dropped_from_forward(broken: Break, cell: str, name: str) -> None:
    equations = CELLS[cell]

    def forward(x: Any, state_0: Any, p: Any, *, fresh: Any = None) -> Any:
        return equations.forward(x, state_0, p._replace(**{name: np.zeros_like(getattr(p, name))}), fresh=fresh)

    broken(cell, forward=forward)
    assert name in red(cell)


@each_cell
def test_gradient_into_the_last_state_dropped(broken: Break, cell: str) -> None:
    equations = CELLS[cell]

    def backward(d_h: Any, d_state_T: Any, saved: Any, p: Any) -> Any:
        return equations.backward(d_h, type(d_state_T)(*map(np.zeros_like, d_state_T)), saved, p)

    broken(cell, backward=backward)
    assert "x" in red(cell)


@each_cell
def test_gradient_flowing_through_a_fresh_start(broken: Break, cell: str) -> None:
    equations = CELLS[cell]
    broken(cell, backward=lambda d_h, d_T, saved, p: equations.backward(d_h, d_T, saved._replace(fresh=None), p))
    assert "x" in red(cell)


@each_cell
def test_recurrent_weights_paired_with_the_state_after_the_step(broken: Break, cell: str) -> None:
    equations = CELLS[cell]

    def backward(d_h: Any, d_state_T: Any, saved: Any, p: Any) -> Any:
        h_after = [s.h_before for s in saved.steps[1:]] + [saved.steps[-1].h_before]
        shifted = [s._replace(h_before=h) for s, h in zip(saved.steps, h_after, strict=True)]
        return equations.backward(d_h, d_state_T, saved._replace(steps=shifted), p)

    broken(cell, backward=backward)
    assert any(name.startswith("W_h") for name in red(cell))
