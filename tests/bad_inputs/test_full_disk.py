"""A disk that is full, at whatever moment: one sentence, whole files, and all goes on once there is room."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.numpy

from tidegate.cli import main
from tidegate.errors import TidegateError
from tidegate.folder.model_folder import ModelFolder
from tidegate.runtime.model import Model
from tidegate.text.prepare import prepare
from tidegate.training.run_folder import RunFolder

from ..conftest import subprocess_environment
from .conftest import SMALL, tree

TUNED = "--steps 4 --lanes 2 --window 4 --evaluations 2 --save-seconds 0".split()


class Disk:
    """Takes so many syncs; all after them find it full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room: float = float("inf")
        self.syncs = 0
        self._sync = os.fsync
        monkeypatch.setattr(os, "fsync", self.sync)

    def sync(self, number: int) -> None:
        self.syncs += 1
        if self.syncs > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._sync(number)

    def fill_after(self, syncs: float) -> None:
        self.room, self.syncs = syncs, 0


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def temporary_files(folder: Path) -> set[str]:
    return {name for name in tree(folder) if name.endswith((".tmp", ".partial"))}


def weights(folder: Path) -> dict[str, bytes]:
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    return {name: tensor.tobytes() for name, tensor in tensors.items()}


def adapter(folder: Path) -> dict[str, bytes]:
    tensors = safetensors.numpy.load_file(folder / "adapter.safetensors")
    return {name: tensor.tobytes() for name, tensor in tensors.items()}


def test_full_at_each_moment_of_a_run(here, disk, mistake, monkeypatch):
    """Wherever the disk becomes full, what is there is whole, and the run ends as if nothing had been."""
    assert main(["train", "text.txt", "--out", "whole", *SMALL]) == 0  # which prepares the text as well
    disk.fill_after(float("inf"))
    assert main(["train", "text.txt", "--out", "whole2", *SMALL]) == 0
    expected, syncs = weights(here / "whole"), disk.syncs
    assert syncs > 10
    for room in range(0, syncs, 3 if "CI" not in os.environ else 1):
        out = f"run{room}"
        disk.fill_after(room)
        assert "No space left" in mistake("train", "text.txt", "--out", out, *SMALL)
        assert not temporary_files(here)
        folder, begun = RunFolder(here / out), (here / out).exists()
        assert begun == (room > 0), "a run before its first file leaves no folder"
        if (folder.path / "model.safetensors").exists():
            ModelFolder.read(folder.path)
        disk.fill_after(float("inf"))
        assert main(["train", *(["--resume", out] if begun else ["text.txt", "--out", out, *SMALL])]) == 0
        assert weights(folder.path) == expected, room


def test_full_at_each_moment_of_an_adapter(here, disk, mistake):
    """The model is whole all the while; the adapter is whole or refused, and the run ends as if nothing had been."""
    assert main(["train", "text.txt", "--out", "base", *SMALL]) == 0
    words = ["finetune", "base", "text.txt", "--lora-rank", "2", *TUNED]
    assert main([*words, "--out", "whole"]) == 0
    disk.fill_after(float("inf"))
    assert main([*words, "--out", "whole2"]) == 0
    expected, syncs, base = adapter(here / "whole"), disk.syncs, weights(here / "base")
    assert adapter(here / "whole2") == expected
    assert syncs > 8
    for room in range(1, syncs, 3 if "CI" not in os.environ else 1):
        out = f"tuned{room}"
        disk.fill_after(room)
        assert "No space left" in mistake(*words, "--out", out)
        assert not temporary_files(here)
        disk.fill_after(float("inf"))
        if (here / out / "adapter.json").exists():
            with contextlib.suppress(TidegateError):  # half of it may be an earlier one's, which its digest tells
                Model.load(here / "base", [here / out])
        assert main(["finetune", "--resume", out]) == 0
        assert adapter(here / out) == expected, room
    assert weights(here / "base") == base


def test_a_full_disk_tells_how_to_go_on(here, disk, mistake):
    assert main(["train", "text.txt", "--out", "other", *SMALL]) == 0
    disk.fill_after(6)
    assert "tidegate train --resume run" in mistake("train", "text.txt", "--out", "run", *SMALL)


def test_full_at_each_moment_of_a_preparation(here, disk, mistake):
    words = ["prepare", "text.txt", "--tokenizer", "words", "--cache"]
    assert main([*words, "whole"]) == 0
    syncs = disk.syncs
    assert syncs > 5
    for room in range(syncs):
        disk.fill_after(room)
        said = mistake(*words, f"cache{room}")
        assert "No space left" in said
        assert "--cache" in said
        assert not temporary_files(here)
        disk.fill_after(float("inf"))
        assert main([*words, f"cache{room}"]) == 0


def test_a_long_preparation_goes_on_after_a_full_disk(tmp_path, disk, monkeypatch):
    from tidegate.errors import TidegateError
    from tidegate.text import prepare as room

    monkeypatch.setattr(room, "SYNC_SECONDS", 0.0)
    text = tmp_path / "text.jsonl"
    text.write_text("".join(f'{{"text": "document {n} 第{n}篇"}}\n' for n in range(40_000)), encoding="utf-8")
    whole = prepare([text], cache=tmp_path / "whole")
    disk.fill_after(12)
    with pytest.raises(TidegateError, match="No space left"):
        prepare([text], cache=tmp_path / "cache")
    (progress,) = (tmp_path / "cache").glob("*.partial/progress.json")
    assert progress.read_bytes()
    disk.fill_after(float("inf"))
    encoded: list[int] = []
    right = room.ids_of
    monkeypatch.setattr(room, "ids_of", lambda answer: encoded.append(1) or right(answer))
    again = prepare([text], cache=tmp_path / "cache")
    assert len(encoded) < 3, "it began anew"
    assert again.train.read(0, len(again.train)).tolist() == whole.train.read(0, len(whole.train)).tolist()
    assert not temporary_files(tmp_path / "cache")


def test_standard_input_on_a_full_disk_leaves_nothing(here, mistake, monkeypatch):
    import io
    import tempfile

    def full(*words: object, **more: object) -> tuple[int, str]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"text")))
    monkeypatch.setattr(tempfile, "mkstemp", full)
    assert "No space left" in mistake("prepare", "-")


# ---- A disk that is full in truth ------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path, left: int) -> Path:
    """Fill a disk but for so many bytes."""
    ballast = place / "ballast"
    status = os.statvfs(place)
    with open(ballast, "wb") as file:
        file.write(b"\0" * max(0, status.f_bavail * status.f_frsize - left))
    return ballast


@pytest.mark.parametrize("left", [0, 4096, 24_576, 65_536, 131_072])
def test_a_run_on_a_full_disk_goes_on_once_there_is_room(small_disk, here, mistake, left):
    assert main(["train", "text.txt", "--out", "whole", *SMALL]) == 0
    ballast = fill(small_disk, left)
    out = str(small_disk / "run")
    assert "No space left" in mistake("train", "text.txt", "--out", out, *SMALL)
    assert not temporary_files(small_disk)
    ballast.unlink()
    begun = RunFolder(small_disk / "run").record.exists()
    words = ["--resume", out] if begun else ["text.txt", "--out", out, *SMALL]
    assert main(["train", *words]) == 0
    assert weights(small_disk / "run") == weights(here / "whole")


@pytest.mark.parametrize("left", [0, 4096, 20_480])
def test_a_preparation_on_a_full_disk(small_disk, here, mistake, left):
    ballast = fill(small_disk, left)
    cache = str(small_disk / "cache")
    text = here / "long.txt"
    text.write_text("".join(f"line {n} 第{n}行\n" for n in range(20_000)), encoding="utf-8")
    assert "No space left" in mistake("prepare", "long.txt", "--cache", cache)
    ballast.unlink()
    assert main(["prepare", "long.txt", "--cache", cache]) == 0
    assert not temporary_files(small_disk)


def test_no_traceback_comes_from_a_thread(small_disk, here, tmp_path):
    """TensorBoard writes in a thread of its own, whose errors a process prints by itself."""
    fill(small_disk, 40_960)
    done = subprocess.run(
        [sys.executable, "-m", "tidegate", "train", "text.txt", "--out", str(small_disk / "run"), *SMALL,
         "--steps", "400", "--evaluations", "40"],
        env=subprocess_environment(tmp_path), capture_output=True, text=True, cwd=here,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr + done.stdout
    assert "No space left" in done.stderr
    assert "--resume" in done.stderr
