"""YAML of any kind: a recipe of a newer version, a bomb, a program, a picture."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest

from tidegate.cli import main, parse

from .conftest import tree

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)
RECURSION = "data: &a [*a]\n"

BAD = [
    ("bomb", BOMB + "data: *h\n", "alias"),
    ("recursion", RECURSION, "alias"),
    ("merged bomb", "x: &x {a: 1}\ny: {<<: *x}\n", "alias"),
    ("newer", "format_version: 3\n", "format_version"),
    ("newer field", "attention: true\n", "attention"),
    ("nested", "model: {cell: lstm}\n", "model"),
    ("list for a number", "hidden_size: [3]\n", "--hidden-size: expected a whole number, but found '[3]'"),
    ("object for a number", "hidden_size: {a: 3}\n", "--hidden-size"),
    ("list for a word", "cell: [lstm]\n", "--cell"),
    ("list for a name", "out: [a]\n", "--out"),
    ("word for a list", "data: text.txt\n", "--data: expected a list"),
    ("lists in a list", "data: [[a]]\n", "--data"),
    ("null in a list", "data: [null]\n", "--data"),
    ("number in a list", "columns: [3]\n", "--columns"),
    ("no date", "seed: 2020-13-45\n", "YAML"),
    ("no number", "seed: 0b_\n", "YAML"),
    ("a long number", "seed: " + "9" * 5000 + "\n", "YAML"),
    ("a number too large", "learning_rate: " + "9" * 400 + "\n", "too large"),
    ("not a number", "learning_rate: .nan\n", "learning"),
    ("infinite", "learning_rate: .inf\n", "learning_rate is inf"),
    ("number as a key", "3: 4\n", "unknown field 3"),
    ("null as a key", "null: 4\n", "unknown field None"),
    ("list as a key", "[a]: 4\n", "YAML"),
    ("a config in a config", "config: c.yaml\n", "'config'"),
    ("python", "seed: !!python/object/apply:os.system ['touch hacked']\n", "python/object"),
    ("python name", "seed: !!python/name:os.system\n", "python/name"),
    ("binary value", "seed: !!binary aGVsbG8=\n", "--seed"),
    ("own tag", "seed: !seed 3\n", "!seed"),
    ("two documents", "seed: 3\n---\nseed: 4\n", "single document"),
    ("nothing", "", "holds no settings"),
    ("comment", "# seed: 3\n", "holds no settings"),
    ("list", "- seed\n", "holds no settings"),
    ("word", "seed\n", "holds no settings"),
    ("newer YAML", "%YAML 9.9\n---\nseed: 3\n", "YAML"),
    ("tabs", "\tseed: 3\n", "YAML"),
    ("deep", "[" * 50_000, "YAML"),
    ("deep in a value", "seed: " + "[" * 5000 + "]" * 5000, "YAML"),
    ("NUL in a name", 'out: "a\\0b"\n', "out is"),
    ("NUL in the cache's name", 'cache: "a\\0b"\n', "cache is"),
    ("NUL in a list", 'data: ["a\\0b"]\n', "data is"),
    ("empty name", "out: ''\n", "out is ''"),
    ("two megabytes", "#" + "x" * (2 << 20) + "\nseed: 3\n", "bytes, but a config has at most"),
    ("two horizons", "steps: 3\nepochs: 1\n", "2 horizons"),
    ("control characters", 'cell: "\\e[31m\\a"\n', "--cell"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "wanted"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD])
def test_bad_yaml(here, mistake, content, wanted):
    (here / "c.yaml").write_text(content, encoding="utf-8")
    before, began = tree(here), time.monotonic()
    said = mistake("train", *(["text.txt"] if "data" not in content else []), "--config", "c.yaml")
    assert wanted in said
    assert "\x1b" not in said
    assert time.monotonic() - began < 20
    assert tree(here) == before


@pytest.mark.parametrize(
    "content",
    [b"\x00\x01\xff" * 100, "seed: 3\n".encode("utf-16"), b"# \xff\nseed: 3\n", b"\x89PNG\r\n\x1a\n" * 9],
    ids=["binary", "utf-16", "latin", "picture"],
)
def test_files_that_are_no_text(here, mistake, content):
    (here / "c.yaml").write_bytes(content)
    assert "is no YAML" in mistake("train", "text.txt", "--config", "c.yaml")


def test_a_mark_at_the_beginning_is_no_part_of_it(here):
    (here / "c.yaml").write_text("\ufeffseed: 3\n", encoding="utf-8")
    assert parse("train", ["text.txt", "--config", "c.yaml"])[2].seed == 3


def test_a_bomb_takes_no_memory(here, mistake):
    (here / "c.yaml").write_text(BOMB + "data: *h\n", encoding="utf-8")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    mistake("train", "--config", "c.yaml")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


@pytest.mark.parametrize(
    "name", ["", ".", "folder", "nowhere.yaml", "x" * 5000, "a\0b", "/dev/null", "text.txt/c.yaml"]
)
def test_names_of_no_config(here, mistake, name):
    (here / "folder").mkdir()
    said = mistake("train", "text.txt", "--config", name)
    assert "config" in said or "File name too long" in said


def test_a_config_for_another_verb(here, mistake):
    (here / "c.yaml").write_text("temperature: 0.5\n", encoding="utf-8")
    assert main(["train", "text.txt", "--config", "c.yaml"]) == 2
    assert "temperature" in mistake("train", "text.txt", "--config", str(Path("c.yaml")))
