"""A run's folder: a model folder, and in it ``training/`` with all that only the training needs. No PyTorch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from tidegate.errors import TidegateError

LOCK_PATIENCE = 0.2
"""Seconds to wait for the lock: who asks whether it is held (`is_locked`) holds it himself for a moment."""


@dataclass(frozen=True)
class RunFolder:
    """The places in a run's folder."""

    path: Path

    @property
    def training(self) -> Path:
        """What only a resumed run needs; the model folder is whole without it."""
        return self.path / "training"

    @property
    def record(self) -> Path:
        """Settings and digests."""
        return self.training / "run.json"

    @property
    def checkpoint(self) -> Path:
        """The whole state of the run."""
        return self.training / "checkpoint.safetensors"

    @property
    def log(self) -> Path:
        """Every event, one a line."""
        return self.training / "log.jsonl"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's event files."""
        return self.training / "tensorboard"

    @property
    def curves(self) -> Path:
        """The picture of the losses."""
        return self.path / "curves.png"

    def is_unused(self) -> bool:
        """Whether the folder holds nothing but what a run leaves that died before its first file, or as it wrote it."""
        own = {self.training, self.training / "lock", *self._leftovers()}
        return all(path in own for path in self.path.rglob("*"))

    @contextlib.contextmanager
    def made(self) -> Iterator[None]:
        """Make the folder where it is not there yet; where the body fails before a run's first file, it goes again."""
        there = self.path.is_dir()
        try:
            self.training.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or error
            raise TidegateError(f"The folder {self.path} could not be made ({reason}): choose another place.") from None
        try:
            yield
        except BaseException:
            if not there and not self.is_locked() and self.is_unused():  # else another process was faster, and writes
                with contextlib.suppress(OSError):
                    self.remove_leftovers()
                    (self.training / "lock").unlink(missing_ok=True)
                    self.training.rmdir()
                    self.path.rmdir()
            raise

    def remove_leftovers(self) -> None:
        """Remove temporary files of processes that were killed while they wrote; the folder must be locked."""
        for path in self._leftovers():
            path.unlink(missing_ok=True)

    def _leftovers(self) -> list[Path]:
        return [path for folder in (self.path, self.training) for path in folder.glob(".*.tmp")]

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against a second training process."""
        lock = FileLock(self.training / "lock")
        try:
            lock.acquire(timeout=LOCK_PATIENCE, poll_interval=LOCK_PATIENCE / 4)
        except Timeout:
            raise TidegateError(
                f"Another process is training into {self.path}: wait for it to end, or give another folder with --out."
            ) from None
        try:
            yield
        finally:
            lock.release()

    def is_locked(self) -> bool:
        """Whether a process trains into the folder now."""
        path = self.training / "lock"
        if not path.is_file():
            return False
        try:
            with FileLock(path, timeout=0):
                return False
        except Timeout:
            return True
        except OSError:  # another user's: whether it is held cannot be asked
            return False
