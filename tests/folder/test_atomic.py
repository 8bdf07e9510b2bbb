"""A file is the old one or the new one, whatever happens in between."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys

import pytest

from tidegate.errors import TidegateError
from tidegate.folder.atomic import write_atomically


def test_writes_bytes_and_what_a_function_writes(tmp_path):
    path = tmp_path / "文件.json"
    write_atomically(path, b"one")
    assert path.read_bytes() == b"one"
    write_atomically(path, lambda file: file.write(b"two"))
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["文件.json"]


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "usual").write_bytes(b"")
    write_atomically(tmp_path / "atomic", b"")
    assert stat.S_IMODE((tmp_path / "atomic").stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("inside")])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, failure):
    path = tmp_path / "weights"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"half of the new")
        raise failure

    wanted = TidegateError if isinstance(failure, OSError) else type(failure)
    with pytest.raises(wanted) as raised:
        write_atomically(path, fail)
    if wanted is TidegateError:
        assert "No space left on device" in str(raised.value)
        assert str(path) in str(raised.value)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["weights"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failure_of_the_system_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "weights"
    path.write_bytes(b"old")

    def fail(*arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(TidegateError, match="Input/output error"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["weights"]


def test_a_missing_folder_is_an_error_with_a_remedy(tmp_path):
    with pytest.raises(TidegateError, match="could not be written"):
        write_atomically(tmp_path / "nowhere" / "file", b"")


def test_the_file_is_synced_before_it_is_renamed_and_the_folder_after(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace

    def recording_fsync(descriptor):
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def recording_replace(source, target):
        assert os.path.dirname(source) == os.path.dirname(target)
        calls.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(os, "replace", recording_replace)
    write_atomically(tmp_path / "file", b"content")
    assert calls == ["file", "replace", "folder"]


def test_killed_at_any_moment_the_file_is_whole(tmp_path):
    """kill -9 while a process writes without pause: what lies there is all of one write."""
    path = tmp_path / "file"
    code = (
        "import sys; from pathlib import Path; from tidegate.folder.atomic import write_atomically\n"
        "i = 0\n"
        "while True:\n"
        "    write_atomically(Path(sys.argv[1]), bytes([65 + i % 26]) * 300_000); i += 1; print(i, flush=True)\n"
    )
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        content = path.read_bytes()
        assert len(content) == 300_000
        assert len(set(content)) == 1
