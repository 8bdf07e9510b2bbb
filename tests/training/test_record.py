"""The record of a run: the command that starts it anew, and its paths, made absolute."""

from __future__ import annotations

import dataclasses
import shlex

import pytest

from tidegate.cli import parse
from tidegate.config import DataConfig, ModelConfig, TrainingConfig
from tidegate.labelling import LabelConfig
from tidegate.text.sources import find_sources
from tidegate.training.record import absolute, command_of
from tidegate.tuning import TuningConfig


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


@pytest.mark.parametrize(
    ("labels", "given", "recipe"),
    [
        (LabelConfig(recipe="fast"), (), None),
        (LabelConfig(recipe="ulmfit"), ("recipe",), "ulmfit"),
        (LabelConfig(unlabelled=("more.txt",)), ("unlabelled",), None),
        (LabelConfig(language_epochs=3.0), ("language_epochs",), None),
        (LabelConfig(recipe="direct"), ("recipe",), "direct"),
    ],
)
def test_the_command_of_a_tagger_means_its_recipe(labels, given, recipe):
    tuning = TuningConfig(model="base", task="tag")
    words = shlex.split(command_of(DataConfig(data=("a.txt",)), ModelConfig(), TrainingConfig(), None, tuning, labels))
    assert (words[words.index("--recipe") + 1] if "--recipe" in words else None) == recipe
    unset = dataclasses.replace(labels, recipe="ulmfit") if recipe is None else labels
    assert unset.chosen("tag", frozenset(given)) == labels
