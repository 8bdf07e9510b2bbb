"""Every backward is the derivative of its forward, over every input, state, weight and bias."""

from __future__ import annotations

import numpy as np
import pytest

from tidegate.theory.cells import CELLS, cell_named
from tidegate.theory.finite_differences import (
    Row,
    central_differences,
    check_cell,
    check_output,
    check_rms_norm,
    random_fresh,
    random_parameters,
    random_state,
)

SHAPES = [(1, 1, 1, 1), (3, 1, 7, 3), (7, 3, 1, 3), (3, 7, 3, 1), (3, 2, 3, 7)]


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell", CELLS)
def test_cells(cell: str, shape: tuple[int, int, int, int], fresh: bool) -> None:
    rows = check_cell(cell, *shape, seed=1, fresh=fresh)
    states = [f"{name}_0" for name in cell_named(cell).State._fields]
    assert [row.name for row in rows] == ["x", *states, *cell_named(cell).Parameters._fields]
    assert [row for row in rows if not row.passed] == []


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 7, 1, 3), (3, 2, 7, 7)])
def test_output_layer(shape: tuple[int, int, int, int]) -> None:
    rows = check_output(*shape, seed=2)
    assert [row.name for row in rows] == ["h", "W_hy", "b_y"]
    assert [row for row in rows if not row.passed] == []


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 7, 3), (3, 1, 7)])
def test_rms_norm(shape: tuple[int, int, int]) -> None:
    rows = check_rms_norm(*shape, seed=3)
    assert [row.name for row in rows] == ["x", "weight"]
    assert [row for row in rows if not row.passed] == []


def test_central_differences_of_a_known_function() -> None:
    theta = np.array([[-1.0, 0.5, 2.0]])
    np.testing.assert_allclose(central_differences(lambda v: float((v**3).sum()), theta), 3 * theta**2, atol=1e-9)
    np.testing.assert_array_equal(theta, [[-1.0, 0.5, 2.0]])


def test_a_row_passes_only_within_both_tolerances() -> None:
    def row(absolute: float, relative: float) -> Row:
        return Row("x", (1,), absolute, relative, tolerance=1e-8)

    assert row(1e-9, 1e-4).passed
    assert not row(1e-7, 1e-4).passed
    assert not row(1e-9, 0.5).passed
    assert not row(float("nan"), float("nan")).passed


@pytest.mark.parametrize("cell", CELLS)
def test_what_is_drawn_hides_nothing(cell: str) -> None:
    rng = np.random.default_rng(0)
    drawn = [*random_parameters(cell, 3, 5, rng), *random_state(cell, 3, 5, rng)]
    assert all((np.abs(values) > 0.1).all() for values in drawn)
    assert len({values.tobytes() for values in drawn}) == len(drawn)


def test_fresh_starts_lanes_but_leaves_the_first_state_in_one() -> None:
    for T, B in ((1, 1), (2, 1), (1, 3), (7, 3)):
        fresh = random_fresh(T, B, np.random.default_rng(0))
        assert fresh.shape == (T, B)
        assert not fresh[0, 0]
        assert fresh.any() == (T * B > 1)
