"""A FIFO, a device, a socket, a folder or a loop of links in place of any file that is read: a sentence, at once."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.training.run_folders import write_run
from tidegate.cli import main
from tidegate.errors import TidegateError
from tidegate.files import check_regular, open_regular, read_at_most, read_lines

from .strangers import READERS, SAID, write_strangers

PATIENCE = 20.0
NUMBERS = ("NaN", "Infinity", "-1", "9" * 400, "1e308", '"a"', "null", "true", "[]", "{}")


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def loop(path: Path) -> None:
    path.symlink_to(path)


KINDS = {"fifo": fifo, "device": device, "socket": unix_socket, "folder": Path.mkdir, "loop": loop}
FILES = [
    (kind, name)
    for kind, names in {
        "model": ("config.json", "model.safetensors", "tokenizer.json", "README.md"),
        "chat": ("chat_template.jinja", "chat.json"),
        "adapter": ("adapter.json", "adapter.safetensors"),
        "session": ("a.state",),
        "classifier": ("labels.json", "classifier.safetensors", "tokenizer.json"),
        "tagger": ("tagger.json", "tagger.safetensors", "tokenizer.json"),
        "import": ("a.safetensors", "vocabulary.json"),
    }.items()
    for name in names
]


def within_patience(call: Callable[[], Any]) -> Any:
    """Return what a call gives in a thread of its own: one that hangs in a system call ends at nothing else."""
    with contextlib.ExitStack() as done:
        pool = ThreadPoolExecutor(1)
        done.callback(pool.shutdown, wait=False)
        return pool.submit(call).result(PATIENCE)


@pytest.fixture
def strangers(tmp_path, monkeypatch):
    # sockets have names of a hundred bytes at most
    here = Path(f"/tmp/tidegate-{os.getpid()}-{threading.get_ident() % 10**6}")
    here.mkdir()
    monkeypatch.chdir(here)
    write_strangers(here)
    (here / "asked").write_text(f"{SAID}\n", encoding="utf-8")
    with open(here / "asked", encoding="utf-8") as asked:
        monkeypatch.setattr("sys.stdin", asked)
        yield here
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(here)


@pytest.mark.parametrize(("kind", "name"), FILES, ids=lambda one: one)
def test_every_file_of_every_folder(strangers, capfd, kind, name):
    for what, make in KINDS.items():
        if (kind, what) == ("session", "loop"):  # which leads to no file, so that a new session begins there
            continue
        (strangers / kind / name).unlink(missing_ok=True)
        make(strangers / kind / name)
        for command in READERS[kind]:
            words = [word.format(kind) for word in command]
            code = within_patience(lambda words=words: main(words))
            said = capfd.readouterr().err
            assert "Traceback" not in said
            assert code == (0 if name == "README.md" else 2), (what, words, said)
            if code == 2:
                assert name in said.splitlines()[-1] or name == "labels.json", (what, words, said)
        _remove(strangers / kind / name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink()


@pytest.mark.parametrize("name", ["training/run.json", "training/log.jsonl", "config.json", "training/lock"])
def test_every_file_of_a_run(strangers, capfd, name):
    for what, make in KINDS.items():
        write_run(strangers / "runs/whole")
        broken = write_run(strangers / "runs/broken")
        (broken / name).unlink(missing_ok=True)
        make(broken / name)
        assert within_patience(lambda: main(["runs"])) == 0
        said = capfd.readouterr()
        assert "Traceback" not in said.err
        assert any("whole" in line and "broken" not in line for line in said.out.splitlines()), (what, said)
        if name == "training/run.json":
            assert within_patience(lambda: main(["train", "--resume", "runs/broken"])) == 2
        shutil.rmtree(strangers / "runs")


@pytest.mark.parametrize(
    "words",
    [
        ["train", "{}"], ["train", "text.txt", "--validation-data", "{}"], ["train", "text.txt", "--config", "{}"],
        ["prepare", "{}"], ["classify", "classifier", "--data", "{}"], ["tag", "tagger", "--data", "{}"],
        ["embed", "model", "--data", "{}"], ["evaluate", "model", "--data", "{}"], ["generate", "{}"],
        ["finetune", "chat", "{}", "--task", "chat"], ["chat", "model", "--template", "{}"], ["runs", "{}"],
        ["generate", "model", "--prompt", "a", "--max-tokens", "1", "--novelty", "{}"],
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_every_file_that_is_named(strangers, capfd, words):
    for what in ("fifo", "device", "socket", "loop"):
        path = strangers / f"{what}.jsonl"
        KINDS[what](path)
        code = within_patience(lambda path=path: main([word.format(path) for word in words]))
        said = capfd.readouterr().err
        assert code == 2, (what, said)
        assert "Traceback" not in said


@pytest.mark.parametrize("what", KINDS)
def test_what_is_opened_is_a_regular_file(strangers, what):
    KINDS[what](path := strangers / f"made-{what}")
    for call in (check_regular, open_regular, lambda p: read_at_most(p, 9), lambda p: list(read_lines(p, 9))):
        with pytest.raises(OSError if what == "loop" else TidegateError):
            within_patience(lambda call=call: call(path))
    (strangers / "link").symlink_to(strangers / "asked")
    with open_regular(strangers / "link") as file:
        assert file.read().decode() == f"{SAID}\n"


def test_bytes_and_lines_are_bounded(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(b"one\ntwo\nthree")
    assert list(read_lines(path, 5)) == [b"one\n", b"two\n", b"three"]
    with pytest.raises(TidegateError, match="line 3, has more than 4 bytes"):
        list(read_lines(path, 4))
    assert read_at_most(path, 13) == path.read_bytes()
    with pytest.raises(ValueError, match="larger than 12 bytes"):
        read_at_most(path, 12)


def test_a_log_with_numbers_that_none_has_breaks_its_run_alone(strangers, capfd):
    """NaN, infinity, numbers beyond all, other types."""
    write_run(strangers / "runs/whole")
    for name in ("elapsed", "tokens", "progress", "tokens_a_second", "validation"):
        for number, value in enumerate(
            ("NaN", "Infinity", "-1", "9" * 400, "1e308", '"a"', "null", "true", "[]", "{}")
        ):
            log = write_run(strangers / f"runs/broken-{name}-{number}") / "training/log.jsonl"
            events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
            lines = [json.dumps({**event, name: "@"}).replace('"@"', value) for event in events]
            log.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for words in (["runs"], ["runs", "--json"], ["runs", "--plot", "runs.png"]):
        assert main(words) == 0
        said = capfd.readouterr()
        assert "Traceback" not in said.err
        assert any("whole" in line and "broken" not in line for line in said.out.splitlines())
