"""The verb doctor: what it finds is what there is, and it warns where two runtimes take each other's cores."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tidegate import doctor, native
from tidegate.cli import main

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
    code = (
        "import sys; from tidegate.cli import main; main(['doctor', '--json']);"
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    kept = {name: value for name, value in os.environ.items() if name not in doctor.VARIABLES}
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
    assert found["environment"] == {}
    assert set(found["kernels"]) == set(native.CELLS)
    if native.core() is not None:
        assert found["core"]["peak_gflops"] > 1
        assert found["kernels"]["lstm"]["train float32"] == "native"
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


def test_the_table_is_for_people(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for word in ("CPU", "core", "with PyTorch", "versions", "gru_reset_before", "train float32"):
        assert word in out


def test_openmp_runtimes_are_told_from_their_like():
    found = doctor.openmp_runtimes(MAPS)
    assert found == [
        "/opt/libiomp5.so",
        "/opt/libomp.so",
        "/site packages/numpy.libs/libgomp-a49a47f9.so.1.0.0",
        "/usr/lib/libgomp.so.1",
    ]


@pytest.mark.parametrize(("runtimes", "count"), [(None, 0), ([], 0), (["/a/libgomp.so.1"], 0), (["/a", "/b"], 1)])
def test_two_runtimes_are_warned_of(runtimes, count):
    warnings = doctor.openmp_warnings(runtimes, "here")
    assert len(warnings) == count
    assert all("/a, /b" in warning and "Import torch before" in warning for warning in warnings)


def test_a_torch_that_does_not_import_is_told(monkeypatch):
    monkeypatch.setattr(doctor, "BESIDE_TORCH", "raise ImportError('broken')")
    assert doctor._beside_torch() == {"missing": "PyTorch cannot be imported: ImportError: broken"}
    assert doctor.kernels(False, False)["lstm"]["train float32"] == "none: PyTorch is not here"
