"""The core as a library in a process: instruction sets forced, forks, several threads, arrays that it refuses."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tidegate import native

ROOT = Path(__file__).parents[1]
needs_core = pytest.mark.skipif(native.core() is None, reason="the native core is not here")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork: not on this system")
SIZE = 7, 5, 24, 40
RESULTS = f"""
import sys, numpy as np
from tests.native.cases import CELLS, by_core, random_case
from tidegate import native
found = {{"isa": native.isa()}}
for cell in CELLS:
    for name, array in by_core(native.core(), random_case(cell, *{SIZE}, fresh=True), threads=2).items():
        found[f"{{cell}}.{{name}}"] = array
np.savez(sys.argv[1], **found)
"""
"""forward and backward of all cells, into a file"""
REPORT = "from tidegate import native; print(native.isa(), '|', native.reason())"


def report(**changes):
    """The instruction set of a process with a changed environment, and why."""
    done = subprocess.run(
        [sys.executable, "-c", REPORT], capture_output=True, text=True, check=True, timeout=60,
        env=environment(**changes),
    )  # fmt: skip
    isa, reason = done.stdout.strip().split(" | ")
    return isa, reason


def environment(**changes):
    """This process's environment, but for what chooses an instruction set."""
    return {name: value for name, value in os.environ.items() if name != "TIDEGATE_ISA"} | changes


def inputs(seed=3, T=9, B=5, I=24, H=40):
    """All arguments of an LSTM's forward by name, outputs full of NaN."""
    rng, core, cell = np.random.default_rng(seed), native.core(), native.CELLS["lstm"]
    shapes = {"x": (T, B, I), "h_0": (B, H), "c_0": (B, H)}
    shapes |= {"weight_ih": (4 * H, I), "weight_hh": (4 * H, H), "bias_ih": (4 * H,), "bias_hh": (4 * H,)}
    given = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    outputs = {"h": (T, B, H), "h_T": (B, H), "c_T": (B, H), "saved": core.saved_size(cell, T, B, I, H)}
    found = {name: np.full(shape, np.nan, np.float32) for name, shape in outputs.items()}
    return {"cell": cell, **given, "fresh": None, "lengths": None, **found, "threads": 1}


def forward(threads=2, seed=3):
    """Run an LSTM over random numbers; returns h, h_T and c_T."""
    given = inputs(seed) | {"threads": threads}
    native.core().sequence_forward(**given)
    return [given[name] for name in ("h", "h_T", "c_T")]


def same(found, wanted):
    return all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


def check_fork():
    """Compute, fork, compute in the child and here: the parent's threads are not in the child, which must not wait."""
    wanted = forward()
    child = os.fork()
    if child == 0:
        code = 2
        try:
            code = 0 if same(forward(), wanted) and same(forward(), wanted) else 1
        finally:
            os._exit(code)  # whatever happened: the tests go on in the parent alone
    end = time.monotonic() + 30
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < end:
        time.sleep(0.01)
    if ended[0] == 0:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert ended[0] == child, "the child hangs"
    assert os.waitstatus_to_exitcode(ended[1]) == 0
    assert same(forward(), wanted)


# ---- Instruction sets ------------------------------------------------------------------------------------------------


@needs_core
@pytest.mark.parametrize("isa", native.isas())
def test_a_lower_instruction_set_can_be_forced(isa):
    forced, reason = report(TIDEGATE_ISA=isa)
    assert forced == isa
    assert reason.startswith(f"{isa} is forced by TIDEGATE_ISA")


@needs_core
def test_all_instruction_sets_give_the_same_but_for_rounding(tmp_path):
    """Each is within the case's tolerance of the truth, so two are within twice that of each other."""
    found = {}
    for isa in native.isas():
        path = str(tmp_path / f"{isa}.npz")
        subprocess.run(
            [sys.executable, "-c", RESULTS, path], check=True, timeout=120, cwd=ROOT, env=environment(TIDEGATE_ISA=isa)
        )
        with np.load(path, allow_pickle=False) as arrays:
            found[isa] = dict(arrays)
        assert found[isa].pop("isa") == isa
    from .native.cases import check, random_case  # imports torch, which a process that imports this file may do without

    best = found[native.isas()[0]]
    assert {name.split(".")[0] for name in best} == set(native.CELLS)
    for others in found.values():
        assert others.keys() == best.keys()
        for cell in native.CELLS:
            part = {name: array for name, array in others.items() if name.startswith(f"{cell}.")}
            check(part, best, 2 * random_case(cell, *SIZE).tolerance)


@needs_core
def test_an_unknown_instruction_set_gives_the_best_and_says_so():
    isa, reason = report(TIDEGATE_ISA="abacus")
    assert isa == native.isas()[0]
    assert reason.startswith("TIDEGATE_ISA is 'abacus', but this CPU and this build have: ")
    assert reason.endswith(f"; {isa} runs instead.")
    assert all(name in reason for name in native.isas())


@needs_core
def test_an_empty_instruction_set_forces_nothing():
    assert report(TIDEGATE_ISA="") == (native.isas()[0], f"{native.isas()[0]} is the best that this CPU has.")


def test_nothing_is_tuned_to_the_machine_that_builds():
    assert "march=native" not in (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")


# ---- Processes and threads -------------------------------------------------------------------------------------------


@needs_core
@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # that other threads are here is what is tested
def test_a_forked_child_computes_the_same():
    """After the OpenMP runtime of PyTorch, which the tests have loaded, has run threads."""
    check_fork()


@needs_core
@needs_fork
def test_a_forked_child_computes_the_same_without_torch():
    """After threads of the core's own pool."""
    code = (
        "import sys; from tests.test_native import check_fork, native; check_fork();"
        "assert native.core().threads_name() == 'own pool' and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=ROOT, env=environment())


EARLY_FORK = """
import os, sys, torch
from tidegate import native
torch.set_num_threads(2)
torch.ones(500, 500) @ torch.ones(500, 500)  # PyTorch's threads are here, and will not be in the child
if sys.argv[1] == "loaded":
    native.core()
child = os.fork()
if child == 0:
    from tests.test_native import forward
    forward()
    forward()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@needs_core
@needs_fork
@pytest.mark.parametrize("core", ["loaded", "not loaded"])
def test_a_child_computes_whose_parent_had_not_yet(core):
    pytest.importorskip("torch")
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", EARLY_FORK, core]
    subprocess.run(command, check=True, timeout=60, cwd=ROOT, env=environment())


@needs_core
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_calls_from_several_threads_at_once_do_not_meet(threads):
    """Each call has numbers of its own, so that another's in its buffers would show."""
    wanted = [forward(threads, seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for number, found in enumerate(pool.map(lambda n: forward(threads, n % 8), range(40))):
            assert same(found, wanted[number % 8])


# ---- What the binding refuses ----------------------------------------------------------------------------------------


def read_only(array):
    array.flags.writeable = False
    return array


REFUSED = {
    "an axis too few": ("x", lambda a: a[0], ValueError, "has 2 axes, but 3 are wanted"),
    "too few rows": ("weight_ih", lambda a: a[1:].copy(), ValueError, "has the shape (159, 24), but (160, 24)"),
    "two axes for one": ("bias_hh", lambda a: a[None], ValueError, "has the shape (1, 160), but (160,) is wanted"),
    "float64": ("h_0", lambda a: a.astype(np.float64), TypeError, "has the dtype float64, but float32 is wanted"),
    "integers": ("weight_hh", lambda a: a.astype(np.int32), TypeError, "has the dtype int32, but float32 is wanted"),
    "int32 lengths": ("lengths", lambda _: np.ones(5, np.int32), TypeError, "has the dtype int32, but int64 is"),
    "float flags": ("fresh", lambda _: np.ones((9, 5), np.float32), TypeError, "but bool or uint8 is wanted"),
    "other strides": ("weight_hh", np.asfortranarray, ValueError, "has a stride of 160 on axis 1, but 1 is wanted"),
    "every other one": ("c_0", lambda a: np.repeat(a, 2, 1)[:, ::2], ValueError, "numpy.ascontiguousarray"),
    "strides of an output": ("h_T", np.asfortranarray, ValueError, "has a stride of"),
    "float64 output": ("h", lambda a: a.astype(np.float64), TypeError, "has the dtype float64, but float32"),
    "saved too small": ("saved", lambda a: a[:-1].copy(), ValueError, "has the shape"),
    "read-only output": ("c_T", read_only, ValueError, "is read-only"),
    "a list": ("bias_ih", lambda a: a.tolist(), TypeError, "is a list, but a NumPy array is wanted"),
}


@needs_core
@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_array_is_refused_by_name_and_nothing_is_written(case):
    name, change, error, words = REFUSED[case]
    given = inputs()
    given[name] = change(given[name])
    with pytest.raises(error, match=rf"^{name} .*{re.escape(words)}"):
        native.core().sequence_forward(**given)
    assert all(np.isnan(given[output]).all() for output in ("h", "h_T", "c_T", "saved"))


@needs_core
def test_an_output_that_is_an_input_is_refused():
    given = inputs()
    given["h_T"] = given["h_0"]
    with pytest.raises(ValueError, match=r"^h_T shares memory with h_0"):
        native.core().sequence_forward(**given)


@needs_core
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cell": 99}, "There is no cell 99"),
        ({"lengths": np.array([1, 2, 3, 4, 10])}, "Each length must be from 0 to T"),
        ({"lengths": np.array([1, 2, 3, 4, -1])}, "Each length must be from 0 to T"),
        ({"c_T": None}, "for the LSTM alone, c_T must be given"),
    ],
)
def test_a_wrong_value_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        native.core().sequence_forward(**(inputs() | change))


@needs_core
def test_the_other_functions_refuse_by_name_too():
    core, cell = native.core(), native.CELLS["gru"]
    x, W, losses = (np.zeros(shape, np.float32) for shape in ((4, 3), (5, 3), 4))
    rest = {"b": None, "weight": None, "ignore_index": -100, "label_smoothing": 0.0, "losses": losses}
    rest |= {"d_x": None, "d_W": None, "d_b": None, "threads": 1}
    with pytest.raises(TypeError, match=r"^targets has the dtype int32, but int64 is wanted"):
        core.linear_cross_entropy(x=x, W=W, targets=np.zeros(4, np.int32), **rest)
    with pytest.raises(ValueError, match=r"^W has the shape \(5, 2\), but \(5, 3\) is wanted"):
        core.linear_cross_entropy(x=x, W=W[:, :2].copy(), targets=np.zeros(4, np.int64), **rest)
    layer = [np.zeros(shape, np.float32) for shape in ((6, 3), (6, 2), 6, 6, 3)]
    with pytest.raises(ValueError, match=r"^A layer has 4 arrays, but five are wanted"):
        core.Decoder(cell, [tuple(layer[:4])], False, 1e-6)
    with pytest.raises(ValueError, match=r"^norm has the shape \(2,\), but \(3,\) is wanted"):
        core.Decoder(cell, [(*layer[:4], layer[4][:2])], False, 1e-6)
    decoder = core.Decoder(cell, [tuple(layer)], False, 1e-6)
    with pytest.raises(ValueError, match=r"^h has the shape \(1, 2, 2\), but \(1, 4, 2\) is wanted"):
        decoder.step(x, np.zeros((1, 2, 2), np.float32), None, x, x, None, 1)
