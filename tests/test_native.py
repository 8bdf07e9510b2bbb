"""The core as a library in a process: instruction sets forced, forks, several threads."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tidegate import native

ROOT = Path(__file__).parents[1]
needs_core = pytest.mark.skipif(native.core() is None, reason="the native core is not here")
REPORT = "from tidegate import native; print(native.isa(), '|', native.reason())"


def report(**environment):
    done = subprocess.run(
        [sys.executable, "-c", REPORT], capture_output=True, text=True, check=True, env=os.environ | environment
    )
    isa, reason = done.stdout.strip().split(" | ")
    return isa, reason


def forward(threads=2, T=9, B=5, I=24, H=40):
    """Run an LSTM over fixed numbers; returns h, h_T, c_T and what is saved."""
    rng = np.random.default_rng(3)
    x, h_0, c_0, *weights = (
        rng.normal(size=shape).astype(np.float32)
        for shape in ((T, B, I), (B, H), (B, H), (4 * H, I), (4 * H, H), (4 * H,), (4 * H,))
    )
    core, cell = native.core(), native.CELLS["lstm"]
    assert core is not None
    outputs = [np.empty(s, np.float32) for s in ((T, B, H), (B, H), (B, H), core.saved_size(cell, T, B, I, H))]
    core.sequence_forward(cell, x, h_0, c_0, *weights, None, None, *outputs, threads)
    return outputs[:3]


@needs_core
@pytest.mark.parametrize("isa", native.isas())
def test_a_lower_instruction_set_can_be_forced(isa):
    forced, reason = report(TIDEGATE_ISA=isa)
    assert forced == isa
    assert reason.startswith(f"{isa} is forced by TIDEGATE_ISA")


@needs_core
def test_an_unknown_instruction_set_gives_the_best_and_says_so():
    isa, reason = report(TIDEGATE_ISA="abacus")
    assert isa == native.isas()[0]
    assert "abacus" in reason
    assert all(name in reason for name in native.isas())


def test_nothing_is_tuned_to_the_machine_that_builds():
    assert "march=native" not in (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")


@needs_core
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_computes_the_same():
    wanted = forward()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # threads of the parent are not here: the core must not wait for them
        same = all(np.array_equal(a, b) for a, b in zip(forward(), wanted, strict=True))
        os.write(writing, b"same" if same else b"other")
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"same"
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert all(np.array_equal(a, b) for a, b in zip(forward(), wanted, strict=True))


@needs_core
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_calls_from_several_threads_at_once_do_not_meet(threads):
    wanted = forward(threads)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: forward(threads), range(40)):
            assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))
