"""The native core against the float64 theory and autograd: every input, odd sizes, every instruction set."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate import native

from .cases import CELLS, INPUTS, by_autograd, by_core, by_theory, check, integer_case, random_case
from .conftest import NOT_HERE

IN_THEORY = tuple(cell for cell in CELLS if cell != "rnn_relu")
ODD = [
    (1, 1, 1, 1), (1, 3, 7, 1), (3, 1, 1, 7), (7, 3, 3, 7), (3, 7, 63, 3), (2, 63, 7, 7), (7, 1, 7, 63), (3, 3, 63, 63),
    (63, 2, 3, 5), (5, 17, 20, 33), (4, 9, 65, 31),
]  # fmt: skip


@pytest.mark.parametrize("size", ODD, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_forward_and_backward(core, cell, size):
    """Plain, and with fresh lanes and lanes that end early."""
    for seed, extras in enumerate(({}, {"fresh": True}, {"lengths": True}, {"fresh": True, "lengths": True})):
        case = random_case(cell, *size, seed, **extras)
        found = by_core(core, case)
        check(found, by_autograd(case), case.tolerance, case)
        if cell in IN_THEORY:
            check(found, by_theory(case), case.tolerance, case)


@pytest.mark.parametrize("without", [
    ("h_0", "c_0"), ("bias_ih",), ("bias_hh",), ("bias_ih", "bias_hh"), ("h_0", "c_0", "bias_ih", "bias_hh"),
    ("d_h",), ("d_h_T", "d_c_T"), ("d_h", "d_h_T"), ("d_h", "d_c_T"), ("c_0",), ("h_0",),
], ids="-".join)  # fmt: skip
@pytest.mark.parametrize("cell", CELLS)
def test_what_is_left_out_counts_as_zeros(core, cell, without):
    """States, biases and gradients, each alone and together; B of three and more, where stale buffers show."""
    for size in ((5, 4, 7, 9), (3, 17, 3, 20)):
        case = random_case(cell, *size, without=without, fresh=True, lengths=True)
        if case.d_h is case.d_h_T is case.d_c_T is None:
            continue
        check(by_core(core, case), by_autograd(case), case.tolerance, case)


@pytest.mark.parametrize("size", [(9, 33, 20, 48), (6, 5, 63, 65), (4, 64, 32, 64)], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_two_threads(core, cell, size):
    case = random_case(cell, *size, fresh=True, lengths=True)
    found = by_core(core, case, threads=2)
    check(found, by_autograd(case), case.tolerance, case)
    again = by_core(core, case, threads=2)
    assert all(np.array_equal(found[name], again[name]) for name in found), "not the same bits twice"


@pytest.mark.parametrize(("cell", "size"), [("lstm", (32, 64, 128, 128)), ("gru", (32, 64, 128, 128)),
                                            ("lstm", (20, 35, 650, 650))], ids=str)  # fmt: skip
def test_sizes_of_real_models(core, cell, size):
    case = random_case(cell, *size, fresh=True)
    expected = by_autograd(case)
    for threads in (1, 2):
        check(by_core(core, case, threads), expected, case.tolerance, case)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [(2, 4, 2, 1), (3, 3, 5, 7), (2, 7, 17, 16), (2, 33, 9, 35), (2, 17, 70, 40)], ids=str)
@pytest.mark.parametrize("cell", IN_THEORY)
def test_small_integers_are_exact(core, cell, size, threads):
    """With the identity for activation nothing is rounded: a product too few, too many or in another's place shows."""
    case = integer_case(cell, *size)
    expected = by_autograd(case, identity=True)
    # all partial sums, not the results alone, must be integers that float32 holds; the results bound them but for signs
    assert all(np.abs(array).max(initial=0) < 2**20 for array in expected.values()), "choose a smaller case"
    for name, array in by_core(core, case, threads, identity=True).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cell=st.sampled_from(CELLS),
    size=st.tuples(*[st.integers(1, 9)] * 2, *[st.integers(1, 40)] * 2),
    fresh=st.booleans(),
    lengths=st.booleans(),
    without=st.sets(st.sampled_from(("h_0", "c_0", "bias_ih", "bias_hh", "d_h_T", "d_c_T"))),
    unwanted=st.sets(st.sampled_from([f"d_{name}" for name in INPUTS])),
    threads=st.integers(1, 2),
    seed=st.integers(0, 1000),
)
def test_any_mix(core, cell, size, fresh, lengths, without, unwanted, threads, seed):
    case = random_case(cell, *size, seed, without=without, fresh=fresh, lengths=lengths)
    check(by_core(core, case, threads, unwanted=unwanted), by_autograd(case), case.tolerance, case)


@pytest.mark.parametrize("cell", CELLS)
def test_what_is_not_wanted_changes_nothing_else(core, cell):
    case = random_case(cell, 5, 6, 7, 20, fresh=True)
    whole = by_core(core, case)
    for name in [name for name in whole if name.startswith("d_")]:
        part = by_core(core, case, unwanted=(name,))
        assert all(np.array_equal(whole[other], part[other]) for other in part)


def lower_isas():
    """The instruction sets beside the one that runs by itself."""
    return [isa for isa in native.isas() if isa != native.isa()] if native.core() is not None else []


@pytest.mark.parametrize("isa", lower_isas() or [None])
def test_every_instruction_set(isa):
    """The same tests, compact, in a process that is held to a lower instruction set."""
    if native.core() is None:
        pytest.skip(NOT_HERE)
    if isa is None:
        pytest.skip("no second instruction set: not on this system")
    chosen = "forward_and_backward or integers or two_threads or any_mix"
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-x", __file__, "-k", chosen],
        env={**os.environ, "TIDEGATE_ISA": isa, "OMP_NUM_THREADS": "1"}, check=True, timeout=300,
    )  # fmt: skip
