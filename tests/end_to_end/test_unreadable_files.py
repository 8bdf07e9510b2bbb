"""A file that the permissions hide is not reported as missing or damaged: the error says that it cannot be read."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.test_changed_bits import KINDS, cache
from tidegate.errors import TidegateError
from tidegate.training.events import read_log


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that other users may enter."""
    if os.name == "nt" or os.geteuid() != 0:
        pytest.skip("no other user to be here")
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def another_user() -> Iterator[None]:
    """Be nobody: root may read all."""
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not cache], ids=lambda kind: kind.__name__)
def test_the_error_says_that_it_cannot_be_read(place, kind):
    kept = kind(place / "kept")
    with another_user():
        kept.read()
    for file in kept.files:
        for hidden in (file, file.parent):
            mode = hidden.stat().st_mode
            hidden.chmod(0)
            with another_user(), pytest.raises(TidegateError, match=r"cannot be read \(Permission denied\)"):
                kept.read()
            hidden.chmod(mode)


def test_a_log_that_cannot_be_read(place):
    (place / "log.jsonl").write_text("{}\n")
    (place / "log.jsonl").chmod(0)
    with another_user(), pytest.raises(TidegateError, match=r"cannot be read \(Permission denied\)"):
        read_log(place / "log.jsonl")
