"""The verb doctor: what it finds is what there is, and it warns where two runtimes take each other's cores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata

import pytest

from tidegate import doctor, native
from tidegate.cli import main

needs_core = pytest.mark.skipif(native.core() is None, reason="the native core is not here")
MAPS = """\
7f00-7f10 r-xp 00000000 08:01 11   /usr/lib/libgomp.so.1
7f10-7f20 r--p 00000000 08:01 11   /usr/lib/libgomp.so.1
7f20-7f30 r-xp 00000000 08:01 12   /site packages/numpy.libs/libgomp-a49a47f9.so.1.0.0
7f30-7f40 rw-p 00000000 00:00 0
7f40-7f50 r-xp 00000000 08:01 13   /usr/lib/libgompress.so
7f50-7f60 r-xp 00000000 08:01 14   /opt/libomp.so
7f60-7f70 r-xp 00000000 08:01 15   /opt/libiomp5.so
"""


def run(**environment):
    """What doctor finds in a process of its own, in which TIDEGATE_NATIVE alone is as it is here."""
    code = (
        "import sys; from tidegate.cli import main; code = main(['doctor', '--json']);"
        "print('torch' in sys.modules, file=sys.stderr); sys.exit(code)"
    )
    kept = {name: value for name, value in os.environ.items() if name not in ("TIDEGATE_ISA", "OMP_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120, env=kept | environment
    )
    assert done.stderr.splitlines()[-1] == "False", "the running half imports no torch"
    return json.loads(done.stdout)


def test_json_says_what_the_core_says():
    found = run()
    assert found["core"]["loaded"] is (native.core() is not None)
    assert found["core"]["isas"] == native.isas()
    assert found["versions"]["torch"] == __import__("torch").__version__
    assert found["environment"] == {k: v for k, v in os.environ.items() if k == "TIDEGATE_NATIVE"}
    assert set(found["kernels"]) == set(native.CELLS)
    if native.core() is not None:
        assert found["core"]["peak_gflops"] > 1
        assert found["kernels"]["lstm"]["train float32"] == "native"
        assert found["core"]["reason"] == f"{native.isas()[0]} is the best that this CPU has."
        assert found["alone"]["run_by"]
        assert found["beside_torch"]["run_by"]
    assert found["kernels"]["lstm"]["train float64"] == "PyTorch's operators"
    assert found["beside_torch"]["threads"] >= 1


def test_without_the_core_it_says_why():
    found = run(TIDEGATE_NATIVE="0", OMP_NUM_THREADS="1")
    assert found["core"] == {
        "loaded": False, "isa": None, "reason": "TIDEGATE_NATIVE=0 turns it off", "isas": [], "peak_gflops": None,
    }  # fmt: skip
    assert found["environment"] == {"TIDEGATE_NATIVE": "0", "OMP_NUM_THREADS": "1"}
    assert found["alone"]["threads"] == 1
    assert found["kernels"]["gru"]["train float32"] == "PyTorch's operators"
    assert found["kernels"]["gru_reset_before"]["train float32"] == "elementary operators"
    assert {by["generate"] for by in found["kernels"].values()} == {"NumPy"}
    assert found["kernels_reason"] == "The core is not here: TIDEGATE_NATIVE=0 turns it off"


@needs_core
def test_an_instruction_set_that_is_not_here_is_warned_of():
    found = run(TIDEGATE_ISA="abacus")
    assert found["core"]["isa"] == native.isas()[0]
    (warning,) = (w for w in found["warnings"] if "TIDEGATE_ISA" in w)
    assert "abacus" in warning
    assert not any("TIDEGATE_ISA" in w for w in run(TIDEGATE_ISA=native.isas()[-1])["warnings"])


@pytest.mark.parametrize("there", [pytest.param(True, marks=needs_core), False])
def test_the_table_is_for_people(capsys, monkeypatch, there):
    """In a terminal of 80 columns, with the core and without."""
    monkeypatch.setenv("COLUMNS", "80")
    if not there:
        monkeypatch.setattr(native, "_found", (None, "it is away"))
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for word in ("CPU", "core", "with PyTorch", "versions", "gru_reset_before", "float32", "bfloat16", "generate"):
        assert word in out
    assert all(len(line) <= 80 for line in out.splitlines() if not line.startswith("Warning: "))
    assert ("not here: it is away" in out) is not there
    assert ("GFLOP/s" in out) is there


def test_a_warning_is_shown_and_is_no_failure(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_beside_torch", lambda: {
        "threads": 2, "run_by": "GOMP in libgomp.so.1", "openmp": doctor.openmp_runtimes(MAPS),
    })  # fmt: skip
    assert main(["doctor"]) == 0
    # "here" there may be several as well: other tests have loaded libraries that bring their own
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Warning: ")]
    (warning,) = (line for line in shown if "with PyTorch" in line)
    assert "4 OpenMP runtimes are in one process with PyTorch" in warning
    assert "OMP_WAIT_POLICY=PASSIVE" in warning


def test_openmp_runtimes_are_told_from_their_like():
    found = doctor.openmp_runtimes(MAPS)
    assert found == [
        "/opt/libiomp5.so",
        "/opt/libomp.so",
        "/site packages/numpy.libs/libgomp-a49a47f9.so.1.0.0",
        "/usr/lib/libgomp.so.1",
    ]
    assert doctor.openmp_runtimes("") == []


@pytest.mark.parametrize(("runtimes", "count"), [(None, 0), ([], 0), (["/a/libgomp.so.1"], 0), (["/a", "/b"], 1)])
def test_two_runtimes_are_warned_of(runtimes, count):
    warnings = doctor.openmp_warnings(runtimes, "here")
    assert len(warnings) == count
    assert all("/a, /b" in warning and "OMP_WAIT_POLICY=PASSIVE" in warning for warning in warnings)


def test_a_torch_that_does_not_import_is_told(monkeypatch):
    monkeypatch.setattr(doctor, "BESIDE_TORCH", "raise ImportError('broken')")
    assert doctor._beside_torch() == {"missing": "PyTorch cannot be imported: ImportError: broken"}
    assert doctor.kernels(False, False)["lstm"]["train float32"] == "none: PyTorch is not here"
    monkeypatch.setattr(doctor, "BESIDE_TORCH", "import os; os._exit(3)")
    assert doctor._beside_torch() == {"missing": "PyTorch cannot be imported: Python ended with exit code 3"}


def test_a_torch_that_takes_for_ever_is_given_up(monkeypatch):
    monkeypatch.setattr(doctor, "BESIDE_TORCH", "import time; time.sleep(60)")
    monkeypatch.setattr(doctor, "PATIENCE", 0.2)
    assert doctor._beside_torch() == {"missing": "PyTorch took more than 0.2 s to import"}


def test_a_missing_torch_is_told(monkeypatch):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert doctor._beside_torch() == {"missing": "PyTorch is not installed: install it to train"}
    assert doctor._versions()["torch"] is None
