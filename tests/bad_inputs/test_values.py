"""Every value of every flag, drawn from the settings themselves, so that a new field is covered by itself."""

from __future__ import annotations

import dataclasses

import pytest

from tidegate.cli import VERBS, _resolve, main, parse
from tidegate.errors import TidegateError

from .conftest import tree

NUMBERS = [
    "0",
    "-1",
    "nan",
    "inf",
    "-.inf",
    "1e400",
    "9" * 30,
    "9" * 400,
    "0b_",
    "1.5",
    "",
    "x",
    "null",
    "[1",
    "{a: 1}",
]
WORDS = ["", "x", "null", "[]", "!!python/object:os.system []", "&a [*a]", "2020-13-45", "\0", "\udcff", "潮\n"]
REQUIRED = {verb: ["folder"] if spec.positional else [] for verb, spec in VERBS.items()}
REQUIRED["merge"] += ["--adapter=folder", "--out=new"]
REQUIRED["import"] += ["--vocabulary=file", "--out=new"]
FIELDS = [
    (verb, field.name, str(field.type))
    for verb, spec in VERBS.items()
    for home in spec.settings
    for field in dataclasses.fields(_resolve(home))
    if field.name not in (spec.positional, spec.texts, *spec.hidden)
]


@pytest.mark.parametrize(("verb", "name", "kind"), FIELDS, ids=[f"{verb}-{name}" for verb, name, _ in FIELDS])
def test_every_value_of_every_flag_is_taken_or_told(verb, name, kind):
    """What is taken fits the field's type; what is not ends in a sentence that names the flag."""
    flag = f"--{name.replace('_', '-')}"
    refused = 0
    for value in NUMBERS if "int" in kind or "float" in kind else WORDS:
        try:
            settings = parse(verb, [*REQUIRED[verb], f"{flag}={value}"])
        except TidegateError as error:
            said = str(error)
            assert name.rstrip("s") in said.replace("-", "_")
            assert len(said) < 800
            refused += 1
        else:
            (found,) = [getattr(each, name) for each in settings if hasattr(each, name)]
            assert not isinstance(found, float) or found == found
    # text that names nothing in particular, as a prompt, may be anything
    assert refused or kind in ("str", "tuple[str, ...]") or name == "system"
    if ("int" in kind or "float" in kind) and "str" not in kind:  # a column's number may be its name as well
        assert refused > len(NUMBERS) // 2


@pytest.mark.parametrize("verb", ["train", "finetune", "prepare", "generate", "chat", "evaluate", "runs"])
def test_an_empty_name_is_not_the_current_folder(verb, here, mistake):
    """As it comes of a shell's variable that has no value."""
    before = tree(here)
    said = mistake(verb, "")
    assert "empty" in said or "''" in said
    assert tree(here) == before


@pytest.mark.parametrize(
    "words",
    [
        ["train", "text.txt", "--out", ""],
        ["train", "--resume", ""],
        ["train", "text.txt", "--cache", ""],
        ["train", "text.txt", "--validation-data", ""],
        ["evaluate", "run", "--data", ""],
        ["runs", "--plot", ""],
        ["generate", "run", "--novelty", ""],
        ["train", "text.txt", "--out", "\0"],
        ["train", "text.txt", "--out", "\udcff"],
        ["train", "a\0b"],
    ],
    ids=ascii,
)
def test_names_that_name_nothing(here, mistake, words):
    before = tree(here)
    mistake(*words)
    assert tree(here) == before


def test_two_dashes_may_be_a_value():
    assert parse("generate", ["run", "--prompt", "--"])[0].prompt == "--"
    assert parse("generate", ["run", "--prompt=--"])[0].prompt == "--"


@pytest.mark.parametrize("words", [["train", "--out"], ["train", "--steps"], ["generate", "run", "--stop"]], ids=str)
def test_a_flag_without_its_value(here, mistake, words):
    mistake(*words)


def test_a_flag_given_twice_counts_the_last_time(here):
    assert parse("train", ["--steps", "3", "--steps", "4"])[2].steps == 4


def test_no_more_processes_than_there_is_work(here, monkeypatch):
    from tidegate.text import processes

    started = []
    right = processes._Process

    def start():
        started.append(1)
        return right()

    monkeypatch.setattr(processes, "_Process", start)
    assert main(["prepare", "text.txt", "--processes", "4000"]) == 0
    assert len(started) < 5, "one for each reading of the one block"
