"""The record of a run: the command that starts it anew, and its paths, made absolute."""

from __future__ import annotations

import shlex

from tidegate.cli import parse
from tidegate.config import DataConfig, ModelConfig, TrainingConfig
from tidegate.text.sources import find_sources
from tidegate.training.record import absolute, command_of


def test_the_command_of_a_run_gives_its_settings_again():
    data = DataConfig(data=("a b.csv", "c.csv"), columns=("title", "it's"), keep_duplicates=True)
    model, training = ModelConfig(hidden_size=8, tied=True), TrainingConfig(steps=3, learning_rate=1e-3)
    words = shlex.split(command_of(data, model, training, out="runs/new"))
    assert words[:2] == ["tidegate", "train"]
    *settings, run = parse("train", words[2:])
    assert settings == [data, model, training]
    assert run.out == "runs/new"


def test_paths_are_found_from_any_folder(tmp_path, monkeypatch):
    """``~`` is the home folder; a pattern is one where the folder's own name looks like one."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("text")
    strange = tmp_path / "[data]"
    strange.mkdir()
    (strange / "b.txt").write_text("text")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(strange)
    found = absolute(DataConfig(data=("~/texts/*.txt", "*.txt", "b.txt"), validation_data="~/texts"))
    assert found.validation_data == str(tmp_path / "texts")
    monkeypatch.chdir(tmp_path)
    assert [source.resource for source in find_sources(found.data)] == [tmp_path / "texts/a.txt", strange / "b.txt"]
