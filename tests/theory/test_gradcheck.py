"""The verb gradcheck: the table, its exit code, its settings, and that it needs no PyTorch."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tidegate.errors import TidegateError
from tidegate.gradcheck import GradcheckSettings, gradcheck
from tidegate.theory.cells import CELLS


def test_the_table_names_every_parameter_and_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert gradcheck(GradcheckSettings(steps=2, batch=1, inputs=2, hidden=2)) == 0
    printed = capsys.readouterr().out
    names = {name for equations in CELLS.values() for name in equations.Parameters._fields}
    for name in names | {*CELLS, "h_0", "c_0", "W_hy", "b_y", "weight", "All 48 gradients agree"}:
        assert name in printed
    assert "FAIL" not in printed


def test_a_wrong_gradient_is_shown_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rnn = CELLS["rnn"]

    def backward(*given: Any) -> Any:
        d_x, d_state_0, d_p = rnn.backward(*given)
        return d_x, d_state_0, d_p._replace(b_h=np.zeros_like(d_p.b_h))

    monkeypatch.setitem(CELLS, "rnn", SimpleNamespace(**{**vars(rnn), "backward": backward}))
    assert gradcheck(GradcheckSettings(cells=["rnn"], steps=2, batch=1, inputs=2, hidden=2)) == 1
    printed = capsys.readouterr().out
    assert printed.count("FAIL") == 1
    assert "1 of 10 gradients differ" in printed


@pytest.mark.parametrize(
    "changed", [{"steps": 3}, {"batch": 2}, {"inputs": 3}, {"hidden": 3}, {"seed": 1}, {"cells": ["gru"]}]
)
def test_every_field_changes_the_table(changed: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    settings: dict[str, Any] = {"cells": ["rnn"], "steps": 2, "batch": 1, "inputs": 2, "hidden": 2}
    gradcheck(GradcheckSettings(**settings))
    before = capsys.readouterr().out
    gradcheck(GradcheckSettings(**{**settings, **changed}))
    assert capsys.readouterr().out != before


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"cells": ["lstn"]}, "did you mean 'lstm'"),
        ({"cells": []}, "cells is empty"),
        ({"steps": 0}, "steps is 0, but it must be from 1 to 100"),
        ({"batch": 99}, "batch is 99"),
        ({"inputs": -1}, "inputs is -1"),
        ({"hidden": 4096}, "hidden is 4096"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_a_wrong_setting_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(TidegateError, match=said):
        GradcheckSettings(**wrong)


def test_pytorch_is_not_imported() -> None:
    code = "import sys, tidegate.gradcheck; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
