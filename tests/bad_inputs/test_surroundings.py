"""Terminals, streams, signals, folders and users of every kind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tidegate.cli import main
from tidegate.errors import TidegateError
from tidegate.training.run_folder import RunFolder

from ..conftest import subprocess_environment
from .conftest import SMALL, tree

TIDEGATE = [sys.executable, "-m", "tidegate"]


def started(here: Path, *words: str, more: dict[str, str] | None = None, **how) -> subprocess.CompletedProcess:
    environment = {**subprocess_environment(here), **(more or {})}
    without = [name for name, value in environment.items() if value == "unset"]
    environment = {name: value for name, value in environment.items() if name not in without}
    return subprocess.run([*TIDEGATE, *words], env=environment, cwd=here, stderr=subprocess.PIPE, timeout=120, **how)


def shell(here: Path, line: str, *words: str) -> tuple[int, str]:
    """Run a line of the shell in which "$@" is the command; returns its exit code and what it said."""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line, "bash", *TIDEGATE, *words],
        env=subprocess_environment(here), cwd=here, capture_output=True, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize(
    "line", ['"$@" >&-', '"$@" <&-', '"$@" <&- >&-', '"$@" | head -n 0', '"$@" | true', '"$@" </dev/null'], ids=str
)
@pytest.mark.parametrize(
    "words", [["runs", "."], ["generate", "run", "--max-tokens", "9"], ["train", "--help"]], ids=str
)
def test_streams_that_are_closed(run, here, line, words):
    code, said = shell(here, line, *words)
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    assert code == 0, said


def test_everything_closed_writes_into_no_file(here):
    """A file that takes the number of a closed stream would be written into by whatever prints."""
    code, _ = shell(here, '"$@" <&- >&- 2>&-', "train", "text.txt", "--out", "run", *SMALL)
    assert code == 0
    assert main(["evaluate", "run"]) == 0
    assert b"Kernels" not in b"".join(path.read_bytes() for path in here.rglob("*.json*"))


@pytest.mark.parametrize("words", [["runs", "."], ["--help"], ["generate", "run", "--max-tokens", "9"]], ids=str)
def test_standard_output_on_a_full_disk(run, here, words):
    if not Path("/dev/full").exists():
        pytest.skip("not on this system: /dev/full")
    code, said = shell(here, '"$@" >/dev/full', *words)
    assert code == 2
    assert said.strip().splitlines()[-1].startswith("tidegate: ")
    assert "Traceback" not in said


def test_standard_input_that_is_closed_is_empty(here):
    code, said = shell(here, '"$@" <&-', "prepare", "-")
    assert code == 2
    assert "Standard input is empty" in said


@pytest.mark.parametrize(
    "more",
    [
        {"TERM": "dumb"},
        {"COLUMNS": "1", "LINES": "1", "FORCE_COLOR": "1"},
        {"COLUMNS": "0"},
        {"COLUMNS": "-5"},
        {"COLUMNS": "x"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "nonsense", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"},
        {"HOME": "unset"},
        {"HOME": "/proc/nowhere", "MPLCONFIGDIR": "unset"},
        {"TZ": "nowhere"},
        {"OMP_NUM_THREADS": "0"},
    ],
    ids=str,
)
def test_odd_surroundings(here, more):
    (here / "潮.txt").write_bytes((here / "text.txt").read_bytes())
    done = started(here, "train", "潮.txt", "--out", "run", *SMALL, more=more, stdout=subprocess.PIPE)
    said = done.stderr.decode()
    assert done.returncode == 0, said
    assert "Traceback" not in said
    done = started(here, "runs", ".", more=more, stdout=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("home", ["unset", "/proc/nowhere"])
def test_without_a_home_the_cache_is_asked_for(here, home):
    more = {"HOME": home, "TIDEGATE_CACHE": "unset", "XDG_CACHE_HOME": "unset"}
    done = started(here, "prepare", "text.txt", "--cache", "cache", more=more, stdout=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()
    if home != "unset":  # where it is unset, the system's list of users tells it
        done = started(here, "prepare", "text.txt", more=more, stdout=subprocess.PIPE)
        assert done.returncode == 2
        assert b"--cache" in done.stderr


def test_no_home_at_all(here, mistake, monkeypatch):
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    for name in ("TIDEGATE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert "--cache" in mistake("prepare", "text.txt")
    assert main(["prepare", "text.txt", "--cache", "cache"]) == 0


# ---- Signals ---------------------------------------------------------------------------------------------------------


def test_a_folder_of_a_run_that_was_killed_as_it_wrote_its_first_file_is_used(here):
    training = here / "run/training"
    training.mkdir(parents=True)
    (training / ".run.json.1.2.tmp").write_text("{", "utf-8")
    (training / "lock").touch()
    assert main(["train", "text.txt", "--out", "run", *SMALL]) == 0
    assert not list(training.glob(".*.tmp"))


def test_a_folder_that_another_run_was_faster_to_begin_in_is_left_to_it(here):
    folder = RunFolder(here / "run")
    faster, first_file = FileLock(folder.training / "lock"), folder.training / ".run.json.1.2.tmp"

    def begin():
        with folder.made():
            faster.acquire()
            first_file.write_text("{", "utf-8")
            with folder.locked():
                pass

    with pytest.raises(TidegateError, match="Another process"):
        begin()
    assert first_file.exists()
    faster.release()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after", [0.05, 0.6, 1.5, 2.5, 3.5])
def test_signals_at_odd_moments(here, number, after):
    """Importing, preparing, training, saving: what is there is whole, or can be resumed, and no traceback shows."""
    environment = subprocess_environment(here)
    words = ["train", "text.txt", "--out", "run", *SMALL, "--steps", "3000", "--evaluations", "200"]
    process = subprocess.Popen(
        [*TIDEGATE, *words], env=environment, cwd=here, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    time.sleep(after)
    process.send_signal(number)
    said = process.communicate(timeout=120)[1].decode()
    assert process.returncode in (0, 130, -number), said
    if after > 0.5:  # before, it is Python itself that begins
        assert "Traceback" not in said, said
    if (here / "run/training/run.json").exists():
        assert main(["train", "--resume", "run"]) == 0
        assert main(["generate", "run", "--max-tokens", "3"]) == 0
    else:
        assert not (here / "run").exists() or main(["train", "text.txt", "--out", "run", *SMALL]) == 0


# ---- Folders that may not be written, files that may not be read ----------------------------------------------------


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A file system that cannot be written, with a text in it."""
    place = tmp_path / "read-only"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        (place / "text.txt").write_text("潮起潮落 the tide comes in, the tide goes out.\n" * 20, encoding="utf-8")
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_read_only_folders(read_only, here, mistake):
    out, cache, text = str(read_only / "run"), str(read_only / "cache"), str(read_only / "text.txt")
    assert "choose another place" in mistake("train", text, "--out", out, *SMALL)
    assert "--cache" in mistake("train", text, "--out", "run", "--cache", cache, *SMALL)
    assert not (here / "run").exists()
    assert main(["train", text, "--out", "run", *SMALL]) == 0
    assert "could not be written" in mistake("runs", ".", "--plot", str(read_only / "a.png"))


def test_a_run_in_a_read_only_folder_is_read(run, here, read_only):
    subprocess.run(["mount", "-o", "remount,rw", str(read_only)], check=True)
    subprocess.run(["cp", "-r", str(run), str(read_only)], check=True)
    subprocess.run(["mount", "-o", "remount,ro", str(read_only)], check=True)
    there = str(read_only / "run")
    assert main(["generate", there, "--max-tokens", "3"]) == 0
    assert main(["evaluate", there]) == 0
    assert main(["runs", there]) == 0
    assert main(["train", "--resume", there]) == 2


def test_files_of_another_user(here, tmp_path):
    """As nobody, for root may read all."""
    if os.name == "nt" or os.getuid() != 0:
        pytest.skip("no other user to be here")
    (here / "text.txt").chmod(0)
    code = "import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534); " \
        "from tidegate.cli import main; sys.exit(main(sys.argv[1:]))"  # fmt: skip
    place = Path("/tmp/tidegate-of-another-user")
    place.mkdir(mode=0o755, exist_ok=True)
    try:
        (place / "text.txt").write_text("潮 tide\n" * 90, encoding="utf-8")
        (place / "text.txt").chmod(0)
        for words, wanted in (
            (["prepare", "text.txt", "--cache", "/tmp/none/cache"], "Permission denied"),
            (["train", "--out", "run", "--cache", "cache", "--steps", "1"], "Permission denied"),
            (["train", "text.txt", "--config", "text.txt"], "Permission denied"),
            (["runs", "/root"], "Permission denied"),
        ):
            done = subprocess.run(
                [sys.executable, "-c", f"import os; os.chdir({str(place)!r}); {code}", *words],
                capture_output=True, text=True, timeout=120,
            )  # fmt: skip
            if "ModuleNotFoundError" in done.stderr or "Permission denied: '/root" in done.stderr:
                pytest.skip("no other user to be here")
            assert done.returncode == 2, done.stderr
            assert wanted in done.stderr
            assert "Traceback" not in done.stderr
        assert tree(place) == {"text.txt"}
    finally:
        (place / "text.txt").unlink()
        place.rmdir()
