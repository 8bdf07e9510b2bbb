"""The example that trains an LSTM by the equations alone reaches what its docstring states, within its 80 lines."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

PATH = Path(__file__).parents[2] / "examples" / "lstm_from_scratch.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    specification = importlib.util.spec_from_file_location("lstm_from_scratch", PATH)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_loss_falls_to_the_stated_value(example: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    stated = re.search(r"within (\d+) steps.* nats/character, to below (\d\.\d+)\.", str(example.__doc__), re.DOTALL)
    assert stated is not None
    loss, text = example.train(int(stated[1]))
    assert loss < float(stated[2])
    assert text.startswith(example.TEXT[:20])
    assert set(text) <= set(example.TEXT)
    first = float(capsys.readouterr().out.splitlines()[0].split()[2])
    assert abs(first - np.log(example.V)) < 0.2


def test_the_stated_start_is_ln_v(example: ModuleType) -> None:
    assert f"{np.log(example.V):.2f} nats/character" in str(example.__doc__)


def test_it_runs_as_a_command() -> None:
    command = [sys.executable, str(PATH), "--steps", "3"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
    assert "nats/character; knowing nothing costs ln V" in done.stdout


def test_it_is_short_and_needs_the_theory_alone() -> None:
    source = PATH.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 80
    imported = re.findall(r"^(?:import|from) ([\w.]+)(?: as \w+| import .*)?$", source, re.MULTILINE)
    assert set(imported) == {"argparse", "numpy", "tidegate.theory"}
