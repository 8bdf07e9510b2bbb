"""Texts that change, shrink, grow or vanish while they are read: said so, and nothing is kept of the mixture."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate.cli import main
from tidegate.errors import TidegateError
from tidegate.text import blocks as blocks_room
from tidegate.text import prepare as prepare_room
from tidegate.text.prepare import prepare
from tidegate.text.sources import find_sources

from .conftest import SMALL, tree

LINES = "".join(f"line {n} of the tide, 第{n}行潮水。\n" for n in range(3000))
KINDS = ["characters", "words", "bytes"]


def change(path: Path) -> None:
    path.write_text(LINES.replace("tide", "edit"), encoding="utf-8")


def shrink(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // 4 * 4)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def grow(path: Path) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(LINES * 3)


def vanish(path: Path) -> None:
    path.unlink()


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def become_binary(path: Path) -> None:
    path.write_bytes(b"\x00\x01" * 5000)


CHANGES = [change, shrink, empty, grow, vanish, become_a_folder, become_binary]


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A text of many blocks, so that much happens between the first and the last."""
    monkeypatch.setattr(blocks_room, "BLOCK_CHARACTERS", 5000)
    monkeypatch.setattr(blocks_room.read_blocks, "__kwdefaults__", {"limit": 5000})
    path = tmp_path / "text.txt"
    path.write_text(LINES, encoding="utf-8")
    return path


def at_pass(number: int, do: Callable[[], object], monkeypatch: pytest.MonkeyPatch, block: int = 0) -> None:
    """Do something when the reading numbered so comes to a block."""
    right, passes = blocks_room.read_blocks, []

    def read(sources, reading, **limit):
        passes.append(1)
        for n, found in enumerate(right(sources, reading, **limit)):
            if len(passes) == number and n == block:
                do()
            yield found

    monkeypatch.setattr(blocks_room, "read_blocks", read)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("happens", CHANGES)
@pytest.mark.parametrize(("number", "block"), [(3, 0), (3, 6), (5, 6)], ids=["before", "within", "encoding"])
def test_a_file_that_changes_between_and_within_the_readings(tmp_path, text, monkeypatch, kind, happens, number, block):
    """Each reading is two calls, one of them for the validation text. Either the text is found as it was, or not."""
    cache = tmp_path / "cache"
    at_pass(number, lambda: happens(text), monkeypatch, block)
    try:
        prepared = prepare([text], cache=cache, kind=kind)
    except TidegateError as error:
        said = str(error)
        assert re.search("changed|text.txt", said), said
        assert not [name for name in tree(cache) if name.endswith(".partial") or "train" in Path(name).name]
    else:  # what had been read before it changed, or what the change left alone: then it must be the old text
        ids = prepared.train.read(0, len(prepared.train))
        found = prepared.tokenizer.decode(ids) if kind != "words" else ""
        assert LINES.startswith(found)


@pytest.mark.parametrize("happens", [one for one in CHANGES if one is not grow])  # of which all is read
def test_a_file_that_changes_within_the_first_reading_is_not_taken_for_the_old_one(
    tmp_path, text, monkeypatch, happens
):
    at_pass(1, lambda: happens(text), monkeypatch, block=2)
    with pytest.raises(TidegateError, match=r"changed|text\.txt|too short"):
        prepare([text], cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*/train"))


def test_a_file_that_is_gone_when_it_is_looked_at(here, mistake, monkeypatch):
    from tidegate.text import split_text

    def found(*words):
        sources = find_sources(*words)
        if sources:
            (here / "text.txt").unlink()
        return sources

    monkeypatch.setattr(split_text, "find_sources", found)
    said = mistake("train", "text.txt", "--out", "run", *SMALL)
    assert "text.txt could not be read: No such file" in said
    assert not (here / "run").exists()


def test_a_folder_that_vanishes(here, mistake, monkeypatch):
    from tidegate.text import split_text

    (here / "texts").mkdir()
    for name in "ab":
        shutil.copy(here / "text.txt", here / "texts" / f"{name}.txt")

    def found(*words):
        sources = find_sources(*words)
        if sources:
            shutil.rmtree(here / "texts")
        return sources

    monkeypatch.setattr(split_text, "find_sources", found)
    assert "a.txt could not be read: No such file" in mistake("train", "texts", "--out", "run", *SMALL)


def test_a_file_put_back_with_its_old_time_is_read_again(tmp_path):
    """The same size and the same time, as a copy by cp -p or rsync has them, but another text."""
    path = tmp_path / "text.txt"
    old = "床前明月光，疑是地上霜。\n" * 50
    path.write_text(old, encoding="utf-8")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    first = prepare([path], cache=tmp_path / "cache")
    path.write_text(old.replace("明", "暗"), encoding="utf-8")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    assert prepare([path], cache=tmp_path / "cache").digest != first.digest


def test_a_cache_that_vanishes_while_the_text_is_prepared(tmp_path, text, monkeypatch):
    cache = tmp_path / "cache"
    at_pass(3, lambda: shutil.rmtree(cache), monkeypatch, block=6)
    monkeypatch.setattr(prepare_room, "SYNC_SECONDS", 0.0)
    with pytest.raises(TidegateError, match=r"could not be written to .*cache"):
        prepare([text], cache=cache)
    assert len(prepare([text], cache=cache).train)


def test_the_folder_of_a_run_that_vanishes_while_it_trains(here, mistake, monkeypatch):
    from tidegate.training import run as run_room

    right = run_room.checkpoint.save

    def save(path, captured):
        shutil.rmtree(here / "run", ignore_errors=True)
        right(path, captured)

    monkeypatch.setattr(run_room.checkpoint, "save", save)
    said = mistake("train", "text.txt", "--out", "run", *SMALL)
    assert "could not be written (No such file" in said
    assert "--resume" not in said, "there is nothing to resume"


def test_the_text_of_a_run_that_changed_is_refused_and_the_run_stays(run, here, mistake):
    before = {path: path.read_bytes() for path in run.rglob("*.safetensors")}
    (here / "text.txt").write_text("别的 another text altogether.\n" * 40, encoding="utf-8")
    assert "another text" in mistake("train", "--resume", "run")
    (here / "text.txt").unlink()
    assert "There is no file" in mistake("train", "--resume", "run")
    assert {path: path.read_bytes() for path in before} == before
    assert main(["generate", "run", "--max-tokens", "3"]) == 0
