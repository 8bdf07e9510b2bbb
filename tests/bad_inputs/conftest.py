"""What tests of bad inputs share: a folder with a small text, a small run, a command that must end in a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate.cli import main

SMALL = "--hidden-size 4 --lanes 2 --window 4 --steps 4 --evaluations 2 --log-every 1 --save-seconds 0".split()
Mistake = Callable[..., str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "text.txt").write_text("潮起潮落 the tide comes in, the tide goes out.\n" * 20, encoding="utf-8")
    return folder


@pytest.fixture
def run(here: Path) -> Path:
    assert main(["train", "text.txt", "--out", "run", *SMALL]) == 0
    return here / "run"


@pytest.fixture
def mistake(capsys: pytest.CaptureFixture[str]) -> Mistake:
    """Run a command that must fail; returns what it said on standard error."""

    def run_command(*words: str) -> str:
        capsys.readouterr()
        assert main(list(words)) == 2
        said = capsys.readouterr().err
        assert re.search("^tidegate: .", said, re.MULTILINE), said
        assert "Traceback" not in said
        assert len(said) < 2000, "a sentence is wanted"
        return said

    return run_command


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
