"""A package that is missing or broken, an environment with odd numbers, a model given for a text: a sentence each."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import pytest

from tests.training.run_folders import write_run
from tidegate import cli, native
from tidegate.cli import main

from ..conftest import subprocess_environment
from .strangers import write_strangers


@pytest.mark.parametrize(
    ("module", "package"),
    [("torch", "torch"), ("yaml", "PyYAML"), ("sklearn.metrics", "scikit-learn")],
)
@pytest.mark.parametrize("broken", [False, True])
def test_a_package(mistake, monkeypatch, module, package, broken):
    def fail(name: str) -> None:
        top = module.split(".")[0]
        if broken:
            raise ImportError("cannot import name 'x' from partially initialized module", name=module)
        raise ModuleNotFoundError(f"No module named {top!r}", name=top)

    monkeypatch.setattr(cli.importlib, "import_module", fail)
    said = mistake("runs", ".")
    assert f"The package {package} " in said
    assert "pip install" in said


def test_our_own_module_is_no_package(monkeypatch):
    def fail(name: str) -> None:
        raise ModuleNotFoundError("No module named 'tidegate.nowhere'", name="tidegate.nowhere")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(ModuleNotFoundError):
        main(["runs", "."])


@pytest.mark.parametrize("package", ["matplotlib", "torch"])
def test_the_command_itself(tmp_path, package):
    """matplotlib where a picture is asked for, torch where one trains: modules that are imported late as well."""
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("from . import _nowhere", encoding="utf-8")
    write_run(tmp_path / "runs/one")
    (tmp_path / "a.txt").write_text("the tide comes in\n" * 99, encoding="utf-8")
    words = ["runs", "--plot", "a.png"] if package == "matplotlib" else ["train", "a.txt", "--steps", "1"]
    environment = {**subprocess_environment(tmp_path), "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "tidegate", *words],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"tidegate: The package {package} cannot be loaded")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("asked", ["99999999999", "²", "9" * 5000, "-1", "0", "1e3", "", "x", "٣", "4097"])
def test_threads_that_none_has(monkeypatch, asked):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert 1 <= native.default_threads() < 4096


@pytest.mark.parametrize("verb", ["train", "prepare"])
def test_a_folder_that_is_no_text(here, mistake, verb):
    write_run(here / "runs/one")
    write_strangers(here)
    said = mistake(verb, "runs/one")
    assert "tidegate train --resume " in said
    assert "runs/one" in said
    for kind in ("model", "classifier", "tagger", "adapter"):
        assert f"{kind} is a model, not a text" in mistake(verb, kind)
    assert "model is a model" in mistake("classify", "classifier", "--data", "model")


def test_cards_of_models_within_a_folder_are_no_text(here, capsys):
    write_strangers(here / "texts")
    for kind in ("model", "classifier", "tagger", "adapter"):
        (here / "texts" / kind / "README.md").write_text("THE CARD\n" * 99, encoding="utf-8")
    assert main(["prepare", "texts"]) == 0
    capsys.readouterr()
    assert main(["prepare", "texts", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == 1
