"""How the core chooses between one thread and several, by what calls took, told here by a clock of our own; and that
the choice changes no bit of any result."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate import native

from .cases import CELLS, by_core, random_case

pytestmark = pytest.mark.skipif(native.core() is None, reason="the native core is not here")


def run(choice, seconds, cost_one, cost_several):
    """Make calls for so many seconds; a call costs the one or the other. Return the work done, and the seconds spent
    with one thread and with several."""
    spent, work = {False: 0.0, True: 0.0}, 0.0
    while sum(spent.values()) < seconds:
        several = choice.several()
        cost = cost_several if several else cost_one
        choice.took(several, 1.0, cost)
        spent[several] += cost
        work += 1
    return work, spent


@settings(deadline=None)
@given(st.floats(2e-4, 0.05), st.floats(0.2, 20))
def test_at_most_a_tenth_is_lost_to_the_better_one(one, ratio):
    choice = native.core().Choice()
    run(choice, 3, one, one * ratio)
    work, _ = run(choice, 30, one, one * ratio)
    assert work >= 0.9 * 30 / (one * min(1, ratio))


@pytest.mark.parametrize("several_was_better", [True, False])
def test_it_follows_a_change_within_seconds(several_was_better):
    """Another process comes, or goes."""
    choice, fast, slow = native.core().Choice(), (2e-3, 1.2e-3), (2e-3, 9e-3)
    before, after = (fast, slow) if several_was_better else (slow, fast)
    run(choice, 30, *before)
    run(choice, 8, *after)
    _, spent = run(choice, 5, *after)
    assert spent[not several_was_better] > 0.9 * sum(spent.values())


def test_it_notices_at_once_that_what_runs_is_slowed():
    choice = native.core().Choice()
    run(choice, 60, 2e-3, 1.2e-3)
    _, spent = run(choice, 2, 2e-3, 20e-3)
    assert spent[True] < 0.4 * sum(spent.values())


def test_as_fast_is_not_enough_for_several():
    choice = native.core().Choice()
    _, spent = run(choice, 10, 1e-3, 0.99e-3)
    assert spent[True] < 1


def test_calls_of_microseconds_stay_on_one_thread():
    _, spent = run(native.core().Choice(), 3, 5e-6, 1e-6)
    assert spent[True] == 0


# ---- No bit depends on it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("sizes", [(5, 3, 7, 33), (33, 1, 5, 17), (9, 20, 40, 100), (40, 32, 63, 65), (64, 8, 48, 160)])
def test_layers_give_the_same_bits_on_any_number_of_threads(core, cell, sizes):
    case = random_case(cell, *sizes, fresh=True, lengths=True)
    one = by_core(core, case, 1)
    for threads in (2, 3, -2):
        found = by_core(core, case, threads)
        for name, array in one.items():
            assert array.tobytes() == found[name].tobytes(), f"{name}, {threads} threads"


@pytest.mark.parametrize("sizes", [(3, 7, 5), (70, 64, 600), (130, 33, 301), (300, 48, 2000)])
def test_losses_give_the_same_bits_on_any_number_of_threads(core, sizes):
    N, H, V = sizes
    rng = np.random.default_rng(N)
    x, W = rng.standard_normal((N, H)).astype(np.float32), rng.standard_normal((V, H)).astype(np.float32)
    targets, found = rng.integers(0, V, N), []
    for threads in (1, 2, 3, -2):
        out = [np.full(shape, np.nan, np.float32) for shape in ((N,), (N, H), (V, H), (V,))]
        core.linear_cross_entropy(x, W, None, targets, None, -100, 0.1, *out, threads)
        found.append([array.tobytes() for array in out])
    assert all(one == found[0] for one in found)


@pytest.mark.parametrize("cell", CELLS)
def test_steps_give_the_same_bits_on_any_number_of_threads(core, cell):
    rng, rows, found = np.random.default_rng(0), len(random_case(cell, 1, 1, 100, 100).weight_ih), []
    draw = lambda *shape: (rng.standard_normal(shape) * 0.1).astype(np.float32)  # noqa: E731
    stack = [(draw(rows, 100), draw(rows, 100), draw(rows), draw(rows), draw(100)) for _ in range(2)]
    decoder = core.Decoder(native.CELLS[cell], stack, True, 1e-5)
    x, h = draw(3, 100), draw(2, 3, 100)
    c = draw(2, 3, 100) if cell == "lstm" else None
    for threads in (1, 2, 3, -2):
        y, h_after = np.empty((3, 100), np.float32), np.empty_like(h)
        c_after = None if c is None else np.empty_like(c)
        decoder.step(x, h, c, y, h_after, c_after, threads)
        found.append((y.tobytes(), h_after.tobytes(), None if c_after is None else c_after.tobytes()))
    assert all(one == found[0] for one in found)
