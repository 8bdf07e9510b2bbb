"""What must hold for every recurrent cell, whatever the values: carrying, resetting, lanes, steps, dtypes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.errors import TidegateError
from tidegate.theory.cells import CELLS, cell_named, zero_state
from tidegate.theory.finite_differences import random_fresh, random_parameters, random_state, random_values
from tidegate.theory.state import HiddenState, LSTMState


class Case(NamedTuple):
    """One cell with random values of one random shape."""

    cell: str
    equations: Any
    x: Any
    state_0: Any
    p: Any
    d_h: Any
    d_state_T: Any
    fresh: Any


def case(cell: str, T: int, B: int, I: int, H: int, seed: int) -> Case:
    rng = np.random.default_rng(seed)
    x, state_0, p = random_values(rng, T, B, I), random_state(cell, B, H, rng), random_parameters(cell, I, H, rng)
    d_h, d_state_T = random_values(rng, T, B, H), random_state(cell, B, H, rng)
    return Case(cell, cell_named(cell), x, state_0, p, d_h, d_state_T, random_fresh(T, B, rng))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    T, B, I, H = (draw(st.integers(1, 7), label=name) for name in "TBIH")
    return case(draw(st.sampled_from(sorted(CELLS))), T, B, I, H, seed=draw(st.integers(0, 2**32)))


properties = settings(max_examples=30, deadline=None)
each_cell = pytest.mark.parametrize("cell", CELLS)


def run(c: Case, **changed: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Return h, the last state, d_x, d_state_0 and d_p."""
    c = c._replace(**changed)
    h, state_T, saved = c.equations.forward(c.x, c.state_0, c.p, fresh=c.fresh)
    return h, state_T, *c.equations.backward(c.d_h, c.d_state_T, saved, c.p)


def assert_equal(found: Any, wanted: Any) -> None:
    """Compare arrays, or tuples of arrays, to rounding."""
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)


@properties
@given(cases(), st.data())
def test_two_windows_with_carried_state_are_one_long_window(c: Case, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(c.x)))
    h, state_T, d_x, d_state_0, d_p = run(c)

    h_1, state, saved_1 = c.equations.forward(c.x[:cut], c.state_0, c.p, fresh=c.fresh[:cut])
    h_2, last, saved_2 = c.equations.forward(c.x[cut:], state, c.p, fresh=c.fresh[cut:])
    d_x_2, d_state, d_p_2 = c.equations.backward(c.d_h[cut:], c.d_state_T, saved_2, c.p)
    d_x_1, d_first, d_p_1 = c.equations.backward(c.d_h[:cut], d_state, saved_1, c.p)

    assert_equal(np.concatenate([h_1, h_2]), h)
    assert_equal(last, state_T)
    assert_equal(np.concatenate([d_x_1, d_x_2]), d_x)
    assert_equal(d_first, d_state_0)
    assert_equal([one + two for one, two in zip(d_p_1, d_p_2, strict=True)], d_p)


@properties
@given(cases(), st.randoms(use_true_random=False))
def test_lanes_permute(c: Case, random: Any) -> None:
    order = list(range(c.x.shape[1]))
    random.shuffle(order)
    h, state_T, d_x, d_state_0, d_p = run(c)
    permuted = run(
        c,
        x=c.x[:, order],
        state_0=type(c.state_0)(*(s[order] for s in c.state_0)),
        d_h=c.d_h[:, order],
        d_state_T=type(c.state_0)(*(d[order] for d in c.d_state_T)),
        fresh=c.fresh[:, order],
    )
    assert_equal(permuted[0], h[:, order])
    assert_equal(permuted[1], [s[order] for s in state_T])
    assert_equal(permuted[2], d_x[:, order])
    assert_equal(permuted[3], [d[order] for d in d_state_0])
    assert_equal(permuted[4], d_p)


@properties
@given(cases())
def test_step_by_step_is_forward(c: Case) -> None:
    h, state_T, _ = c.equations.forward(c.x, c.state_0, c.p)
    state = c.state_0
    for t, x_t in enumerate(c.x):
        state = c.equations.step(x_t, state, c.p)
        np.testing.assert_array_equal(state.h, h[t])
    assert_equal(state, state_T)


@properties
@given(cases(), st.data())
def test_a_fresh_lane_is_a_sequence_of_its_own(c: Case, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(c.x) - 1))
    lane = data.draw(st.integers(0, c.x.shape[1] - 1))
    fresh = c.fresh.copy()
    fresh[at, lane] = True
    fresh[at + 1 :, lane] = False
    h, _, d_x, _, _ = run(c, fresh=fresh)

    zero = zero_state(c.cell, 1, c.d_h.shape[2], np.float64)
    one = slice(lane, lane + 1)
    last = type(c.state_0)(*(d[one] for d in c.d_state_T))
    alone = run(c, x=c.x[at:, one], state_0=zero, fresh=None, d_h=c.d_h[at:, one], d_state_T=last)
    assert_equal(alone[0], h[at:, one])
    assert_equal(alone[2], d_x[at:, one])


@each_cell
def test_nothing_of_the_state_before_passes_a_fresh_start_not_even_nan(cell: str) -> None:
    c = case(cell, 3, 2, 3, 3, seed=0)
    spoilt = type(c.state_0)(*(np.full_like(s, np.nan) for s in c.state_0))
    zero = zero_state(cell, 2, 3, np.float64)
    fresh = np.zeros((3, 2), bool)
    fresh[0] = True
    found, wanted = run(c, state_0=spoilt, fresh=fresh), run(c, state_0=zero, fresh=None)
    np.testing.assert_array_equal(found[0], wanted[0])
    assert_equal(found[4], wanted[4])
    assert all((d == 0).all() for d in found[3])
    assert all((d != 0).any() for d in wanted[3])


@each_cell
def test_no_fresh_is_fresh_nowhere(cell: str) -> None:
    c = case(cell, 5, 3, 3, 7, seed=1)
    none, nowhere = run(c, fresh=None), run(c, fresh=np.zeros((5, 3), bool))
    np.testing.assert_array_equal(none[0], nowhere[0])
    for one, other in zip(none[1] + none[3] + none[4], nowhere[1] + nowhere[3] + nowhere[4], strict=True):
        np.testing.assert_array_equal(one, other)


@each_cell
def test_float32_stays_float32_and_is_near_float64(cell: str) -> None:
    c = case(cell, 5, 3, 3, 7, seed=2)
    arrays = {name: getattr(c, name).astype(np.float32) for name in ("x", "d_h")}
    tuples = {name: [a.astype(np.float32) for a in getattr(c, name)] for name in ("state_0", "p", "d_state_T")}
    single = run(c, **arrays, **{name: type(getattr(c, name))(*values) for name, values in tuples.items()})
    for found, wanted in zip(single, run(c), strict=True):
        found, wanted = (found, wanted) if isinstance(found, tuple) else ((found,), (wanted,))
        for one, other in zip(found, wanted, strict=True):
            assert one.dtype == np.float32
            np.testing.assert_allclose(one, other, atol=2e-5)
    state = type(c.state_0)(*tuples["state_0"])
    stepped = c.equations.step(arrays["x"][0], state, type(c.p)(*tuples["p"]))
    assert {values.dtype for values in stepped} == {np.dtype(np.float32)}


@each_cell
def test_nothing_given_is_changed_and_backward_twice_gives_the_same(cell: str) -> None:
    c = case(cell, 5, 3, 3, 7, seed=3)
    given_arrays = [c.x, c.d_h, c.fresh, *c.state_0, *c.p, *c.d_state_T]
    copies = [values.copy() for values in given_arrays]
    _, _, saved = c.equations.forward(c.x, c.state_0, c.p, fresh=c.fresh)
    once = c.equations.backward(c.d_h, c.d_state_T, saved, c.p)
    twice = c.equations.backward(c.d_h, c.d_state_T, saved, c.p)
    for one, other in zip((once[0], *once[1], *once[2]), (twice[0], *twice[1], *twice[2]), strict=True):
        np.testing.assert_array_equal(one, other)
    for values, copy in zip(given_arrays, copies, strict=True):
        np.testing.assert_array_equal(values, copy)


@each_cell
def test_no_steps_leave_the_state(cell: str) -> None:
    c = case(cell, 3, 2, 3, 3, seed=4)
    h, state_T, d_x, d_state_0, d_p = run(c, x=c.x[:0], d_h=c.d_h[:0], fresh=c.fresh[:0])
    assert h.shape == (0, 2, 3)
    assert d_x.shape == (0, 2, 3)
    assert_equal(state_T, c.state_0)
    assert_equal(d_state_0, c.d_state_T)
    assert not any(d.any() for d in d_p)


@each_cell
def test_large_values_saturate_without_overflow(cell: str) -> None:
    c = case(cell, 3, 2, 3, 3, seed=5)
    for found in run(c, x=c.x * 1e6)[:2]:
        assert all(np.isfinite(values).all() for values in found)


@each_cell
def test_every_bias_counts_from_a_zero_state_on(cell: str) -> None:
    c = case(cell, 1, 2, 3, 3, seed=6)
    zero = zero_state(cell, 2, 3, np.float64)
    h = c.equations.forward(c.x, zero, c.p)[0]
    # from c = 0 the forget gate has nothing to forget, and from h = 0 gru_reset_before nothing to reset
    idle = {"lstm": "b_f", "gru_reset_before": "b_r"}.get(cell)
    for name in c.p._fields:
        if name.startswith("b_"):
            other = c.equations.forward(c.x, zero, c.p._replace(**{name: getattr(c.p, name) + 0.5}))[0]
            assert (np.abs(other - h).max() > 1e-3) == (name != idle), name


def test_the_two_grus_are_two_functions_of_the_same_weights() -> None:
    c = case("gru_reset_before", 3, 2, 3, 3, seed=7)
    shared = {name: value for name, value in c.p._asdict().items() if name != "b_n"}
    after = cell_named("gru").Parameters(**shared, b_xn=c.p.b_n, b_hn=np.zeros(3))
    other = cell_named("gru").forward(c.x, c.state_0, after)[0]
    assert np.abs(other - c.equations.forward(c.x, c.state_0, c.p)[0]).max() > 1e-2


def test_the_states_of_an_lstm_are_not_swapped() -> None:
    c = case("lstm", 1, 2, 3, 3, seed=8)
    swapped = LSTMState(c.state_0.c, c.state_0.h)
    assert np.abs(c.equations.step(c.x[0], swapped, c.p).h - run(c, fresh=None)[0][0]).max() > 1e-2


@each_cell
def test_zero_state(cell: str) -> None:
    state = zero_state(cell, 3, 5, np.float32)
    assert isinstance(state, LSTMState if cell == "lstm" else HiddenState)
    assert all(s.shape == (3, 5) and s.dtype == np.float32 and not s.any() for s in state)


def test_an_unknown_cell_is_answered_with_the_nearest() -> None:
    with pytest.raises(TidegateError, match="did you mean 'lstm'"):
        zero_state("lstn", 1, 1, np.float64)
