"""A run that was killed and resumed leaves the folder of one that was not, byte for byte, for every task.

It is killed at writes of files, above all between the last checkpoint and the end.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from safetensors import safe_open

from tidegate.cli import main
from tidegate.folder import atomic
from tidegate.text.digested import without_digest
from tidegate.training import curves

SMALL = "--lanes 4 --threads 1 --evaluations 3 --patience 0 --log-every 1 --save-seconds 1000".split()
TEXT = "海上生明月，天涯共此时。the tide goes out.\n"


class Killed(BaseException):
    """Ends a run at once, as SIGKILL does."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Texts of every kind, and a model to start from."""
    place = tmp_path_factory.mktemp("same")
    (place / "text.txt").write_text(TEXT * 40, encoding="utf-8")
    rows = [f"{'好' if i % 2 else '坏'},{'很好' if i % 2 else '又脏'}{i}\n" for i in range(40)]
    (place / "reviews.csv").write_text("label,review\n" + "".join(rows), encoding="utf-8")
    sentences = [f"Anna B-PER\nsees O\n{'Rome' if i % 2 else 'Bern'} B-LOC\n{i} O\n" for i in range(40)]
    (place / "tags.conll").write_text("\n".join(sentences), encoding="utf-8")
    turns = [{"instruction": f"问 {i}", "output": f"答 {i % 3}"} for i in range(30)]
    lines = [json.dumps(turn, ensure_ascii=False) for turn in turns]
    (place / "dialogues.jsonl").write_text("\n".join(lines), encoding="utf-8")
    words = ["--hidden-size", "8", "--window", "8", "--steps", "3", "--out", place / "base", *SMALL]
    assert run(["train", place / "text.txt", *words, "--cache", place / "cache"]) == 0
    return place


def run(words):
    return main([str(word) for word in words])


def settings_of(task, place):
    words = {
        "train": ["train", "text.txt", "--hidden-size", "8", "--layers", "1", "--window", "8"],
        "finetune": ["finetune", "base", "text.txt", "--window", "8"],
        "adapter": ["finetune", "base", "text.txt", "--window", "8", "--lora-rank", "2"],
        "chat": ["finetune", "base", "dialogues.jsonl", "--task", "chat", "--window", "8"],
        "classify": ["finetune", "base", "reviews.csv", "--task", "classify", "--recipe", "direct"],
        "tag": ["finetune", "base", "tags.conll", "--task", "tag", "--recipe", "direct", "--tag-units", "8"],
    }[task]
    words = [place / word if (place / word).exists() else word for word in words]
    return [*words, "--steps", "9", *SMALL, "--cache", place / "cache"]


def watched(monkeypatch, words, kill_at=None):
    """Run a command; return the names of the files that it wrote. kill_at: the number of the write that kills it."""
    names, write = [], atomic._write

    def written(path, content):
        if len(names) == kill_at:
            raise Killed
        names.append(path.name)
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "_write", written)
        if kill_at is None:
            assert run(words) == 0
        else:
            with pytest.raises(Killed):
                run(words)
    return names


def content_of(file: Path):
    """What must be the same: all bytes, without what tells the time."""
    if file.name == "README.md":
        return re.sub(r"^\| time \| \d+ s \|$", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    if file.name == "log.jsonl":
        events = map(json.loads, file.read_text(encoding="utf-8").splitlines())
        timed = ("elapsed", "tokens_a_second", "crc32")
        return [{name: value for name, value in event.items() if name not in timed} for event in events]
    if file.name == "run.json":
        return {**without_digest(json.loads(file.read_text(encoding="utf-8"))), "started": None}
    if file.name == "checkpoint.safetensors":
        with safe_open(file, framework="np") as opened:
            progress = {**json.loads(opened.metadata()["progress"]), "elapsed": None}
            return progress, {name: opened.get_tensor(name).tobytes() for name in opened.keys()}  # noqa: SIM118
    return file.read_bytes()


def folder_of(path: Path):
    """Every file but TensorBoard's, which are named by the time, and the lock."""
    files = [p for p in sorted(path.rglob("*")) if p.is_file() and p.name != "lock" and p.parent.name != "tensorboard"]
    return {str(file.relative_to(path)): content_of(file) for file in files}


def plain_curves(path, events, title):
    """Takes the place of the picture, which takes longer to draw than all else: what it shows."""
    shown = [{name: e.get(name) for name in ("step", "tokens", "loss", "rate", "validation")} for e in events]
    atomic.write_atomically(path, json.dumps(shown).encode())


@pytest.mark.parametrize("task", ["train", "finetune", "adapter", "chat", "classify", "tag"])
def test_killed_and_resumed_it_leaves_the_same_folder(place, tmp_path, monkeypatch, task, capsys):
    words = settings_of(task, place)
    if task != "train":
        monkeypatch.setattr(curves, "draw_curves", plain_curves)
    names = watched(monkeypatch, [*words, "--out", tmp_path / "whole" / "run"])
    whole = folder_of(tmp_path / "whole" / "run")
    saves = [number for number, name in enumerate(names) if name == "checkpoint.safetensors"]
    assert len(saves) == 3
    # amid a save, and between the last checkpoint and the end
    for kill_at in (saves[0], saves[1] + 1, saves[2] + 1, len(names) - 1) if task == "train" else (
        saves[1] + 1, saves[2] + 2,
    ):  # fmt: skip
        folder = tmp_path / str(kill_at) / "run"
        watched(monkeypatch, [*words, "--out", folder], kill_at)
        assert run(["train", "--resume", folder, "--cache", place / "cache"]) == 0
        found = folder_of(folder)
        assert found.keys() == whole.keys()
        for name, content in whole.items():
            assert found[name] == content, f"{name}, killed at the write of {names[kill_at]}"
    assert run(["train", "--resume", folder, "--cache", place / "cache"]) == 0
    assert "nothing is left to do" in capsys.readouterr().out
    assert folder_of(folder) == found
