"""The native core as a guest in a process: threads, forks, memory, wrong arguments."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from tidegate import native
from tidegate.nn.sequence import CellWeights, run_cell

from .cases import CELLS, by_core, random_case


def bits(found):
    return {name: array.tobytes() for name, array in found.items()}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_the_same_bits_twice(core, cell, threads):
    case = random_case(cell, 9, 17, 33, 40, fresh=True)
    first = bits(by_core(core, case, threads))
    assert all(bits(by_core(core, case, threads)) == first for _ in range(3))


def test_several_threads_at_once(core):
    cases = [random_case(cell, 9, 5, 17, 33, seed, fresh=True) for seed, cell in enumerate(CELLS * 4)]
    alone = [bits(by_core(core, case, 2)) for case in cases]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda case: bits(by_core(core, case, 2)), cases))
    assert together == alone


def _in_child(number, results):
    results.put((number, bits(by_core(native.core(), random_case("lstm", 5, 9, 17, 33, number), 2))))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork: not on this system")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_after_a_fork(core):
    """A child has none of its parent's threads; a core that counts on them would wait for ever."""
    expected = [bits(by_core(core, random_case("lstm", 5, 9, 17, 33, number), 2)) for number in range(2)]
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    children = [context.Process(target=_in_child, args=(number, results)) for number in range(2)]
    for child in children:
        child.start()
    found = dict(results.get(timeout=60) for _ in children)
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert [found[number] for number in range(2)] == expected


def resident():
    """Bytes in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
def test_memory_does_not_grow_with_the_number_of_shapes(core):
    """A cache of one plan a shape would."""

    def many(first):
        for k in range(150):
            T, B, I, H = 1 + k % 13, 1 + k % 11, 1 + (first + k) % 97, 1 + (first + 3 * k) % 89
            by_core(core, random_case(CELLS[k % len(CELLS)], T, B, I, H))

    many(0)
    before = resident()
    many(1000)
    many(2000)
    assert resident() - before < 8 << 20


def test_wrong_arguments_are_refused(core):
    case = random_case("lstm", 3, 2, 4, 5)
    for name, wrong in (
        ("x", case.x.astype(np.float64)),
        ("x", case.x[:, :, ::2]),
        ("x", case.x[0]),
        ("h_0", case.h_0[:1]),
        ("c_0", case.c_0[:, :3]),
        ("weight_ih", case.weight_ih[:-1]),
        ("weight_hh", case.weight_hh.T),
        ("bias_ih", case.bias_ih[1:]),
        ("fresh", np.zeros((2, 2), bool)),
        ("lengths", np.array([1, 4])),
        ("lengths", np.array([-1, 1])),
        ("lengths", np.array([1])),
    ):
        right, case.__dict__[name] = case.__dict__[name], wrong
        with pytest.raises((TypeError, ValueError)):
            by_core(core, case)
        case.__dict__[name] = right
    by_core(core, case)


def test_nan_flows_through_its_own_lane(core):
    """And stops where the lane starts afresh."""
    x = torch.randn(6, 3, 4)
    x[2, 1] = torch.nan
    fresh = torch.zeros(6, 3, dtype=torch.bool)
    fresh[4, 1] = True
    for cell in CELLS:
        case = random_case(cell, 6, 3, 4, 5)
        weights = [torch.from_numpy(w) for w in (case.weight_ih, case.weight_hh, case.bias_ih, case.bias_hh)]
        h, _ = run_cell(cell, x, None, CellWeights(*weights), fresh)
        found = torch.isnan(h).all(dim=2)
        expected = torch.zeros(6, 3, dtype=torch.bool)
        expected[2:4, 1] = True
        assert torch.equal(found, expected), cell


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != "rnn_relu"])
def test_large_inputs_saturate(core, cell):
    """Neither NaN nor a value out of range where the activations have long reached their ends."""
    case = random_case(cell, 3, 4, 5, 17)
    case.weight_ih[:] = np.sign(case.weight_ih) * 1e-3
    for size in (1e2, 1e6, 1e20, 3e38):
        case.x = (np.sign(case.x) * size).astype(np.float32)
        h = by_core(core, case)["h"]
        # a GRU's state lies between the candidate and the state before, which may be beyond one
        assert np.abs(h).max() <= max(1.0, np.abs(case.h_0).max()) + 1e-6


@pytest.mark.parametrize(
    ("shape", "said"), [([0] * 1000, "1000 axes"), ([1] * 33, "33 axes"), ([2**40, 2**40], None), ([-1], None)]
)
def test_arrays_that_cannot_be(core, shape, said):
    """The conversion of so many axes would end the process."""
    with pytest.raises((ValueError, MemoryError, TypeError), match=said):
        core.empty(shape)
    assert core.empty([1] * 32).shape == (1,) * 32
    assert core.empty([]).shape == ()
    assert core.empty([0, 3]).shape == (0, 3)


@pytest.mark.parametrize(
    ("seconds", "threads"),
    [(float("nan"), 1), (float("inf"), 1), (-1.0, 1), (1e9, 1), (0.0, 4097), (0.0, 2**31 - 1), (0.0, 2**40)],
)
def test_threads_and_seconds_that_none_has(core, seconds, threads):
    with pytest.raises((ValueError, TypeError)):
        core.peak_flops(seconds, threads)
