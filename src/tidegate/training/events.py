"""What a run tells: events, and the sinks that write them down (JSONL, TensorBoard) or show them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from tidegate.errors import TidegateError
from tidegate.folder.atomic import write_atomically

NATS = "nats/token"
"""the unit of a loss where an event names none"""


def shown(figure: str) -> str:
    """Return a figure's name in the log as a person reads it: ``test/nats_a_text`` is ``test, nats/text``."""
    words = figure.replace("/", ", ").replace("peer_", "baseline_")
    return re.sub(r"(nats|bits)_a_", r"\1/", words).replace("_", " ")


def unit_of(event: dict[str, Any]) -> str:
    """Return the unit of an event's loss; older logs write ``a`` for the slash."""
    return str(event.get("unit", NATS)).replace(" a ", "/")


class Sink(Protocol):
    """Whatever takes events. An event is a JSON object with the fields ``event`` and ``step``."""

    def take(self, event: dict[str, Any]) -> None:
        """Take one event."""

    def close(self) -> None:
        """Write out what is held."""


class Events:
    """Hands each event to all sinks in turn."""

    def __init__(self, sinks: list[Sink]) -> None:
        self.sinks = sinks

    def tell(self, event: str, step: int, **values: Any) -> None:
        """Tell one event."""
        for sink in self.sinks:
            sink.take({"event": event, "step": step, **values})

    def close(self) -> None:
        """Close all sinks, also where one cannot write out what it holds."""
        with contextlib.ExitStack() as sinks:
            for sink in reversed(self.sinks):
                sinks.callback(sink.close)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read a run's log; a line that a kill or a full disk tore is left out."""
    return [event for line in _lines(path) if (event := _parsed(line)) is not None]


def read_milestones(path: Path) -> list[dict[str, Any]]:
    """Read a run's log without its steps but the last: what there is to say of a long run, in little time."""
    events, last_step = [], None
    for line in _lines(path):
        if line.startswith(_STEP):
            last_step = line if line.endswith(b"\n") else last_step
        elif (event := _parsed(line)) is not None:
            events.append(event)
    if last_step is not None and (event := _parsed(last_step)) is not None:
        events.append(event)
    return sorted(events, key=lambda event: event["step"])


_STEP = b'{"event": "step"'


def _lines(path: Path) -> Iterator[bytes]:
    if path.exists():
        with open(path, "rb") as file:
            yield from file


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):  # torn, perhaps within a character
        return None
    right = isinstance(event, dict) and isinstance(event.get("step"), int) and "event" in event
    return event if right else None


class JsonlLog:
    """``training/log.jsonl``: one event a line. Resumed, it goes on after the checkpoint's step."""

    def __init__(self, path: Path, resumed_at: int | None) -> None:
        kept = [] if resumed_at is None else [e for e in read_log(path) if _before(e, resumed_at)]
        write_atomically(path, "".join(_line(event) for event in kept).encode())
        self.path = path
        # by lines: a checkpoint must never know a step that the log has not
        self.file = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 (held open for the run)

    def take(self, event: dict[str, Any]) -> None:
        """Append a line; a TidegateError where the disk does not take it."""
        try:
            self.file.write(_line(event))
        except OSError as error:
            raise TidegateError(
                f"{self.path} could not be written ({error.strerror or error}): make room or mend the permissions."
            ) from error

    def close(self) -> None:
        """Sync the file to the disk."""
        try:
            if not self.file.closed:
                self.file.flush()
                os.fsync(self.file.fileno())
        finally:
            self.file.close()


def _line(event: dict[str, Any]) -> str:
    return json.dumps(event, ensure_ascii=False) + "\n"


def _before(event: dict[str, Any], step: int) -> bool:
    """Whether an event belongs to the part of the run that the checkpoint of `step` knows."""
    return event["step"] <= step and event["event"] != "end"


class TensorBoardLog:
    """``training/tensorboard/``: the curves as TensorBoard events."""

    def __init__(self, folder: Path, resumed_at: int | None) -> None:
        from torch.utils.tensorboard import SummaryWriter  # a second's import, for training runs alone

        # purge_step: TensorBoard hides what an earlier, killed process wrote beyond the checkpoint
        self.folder = folder
        self._hook, threading.excepthook = threading.excepthook, self._thread_failed
        with self._told():
            self.writer = SummaryWriter(str(folder), purge_step=None if resumed_at is None else resumed_at + 1)

    def take(self, event: dict[str, Any]) -> None:
        """Write each number of an event as a scalar; a TidegateError where the disk does not take what came before."""
        with self._told():
            for name, value in event.items():
                if name != "step" and isinstance(value, (int, float)):
                    self.writer.add_scalar(f"{event['event']}/{name}", value, event["step"])
                elif name == "sample":
                    self.writer.add_text("sample", str(value), event["step"])

    def close(self) -> None:
        """Write out what is held."""
        with self._told():
            try:
                self.writer.close()
            finally:
                threading.excepthook = self._hook

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TidegateError(
                f"{self.folder} could not be written ({error.strerror or error}): make room or mend the permissions."
            ) from error

    def _thread_failed(self, failure: threading.ExceptHookArgs) -> None:
        """TensorBoard writes in a thread of its own, which prints a traceback where the disk is full, and hands the
        same error to the next call: told once is enough."""
        theirs = failure.thread is not None and type(failure.thread).__module__.startswith("tensorboard.")
        if not (theirs and issubclass(failure.exc_type, OSError)):
            self._hook(failure)
