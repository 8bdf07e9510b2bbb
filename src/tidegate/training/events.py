"""What a run tells: events, and the sinks that write them down (JSONL, TensorBoard) or show them."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from tidegate.errors import TidegateError
from tidegate.files import read_lines
from tidegate.folder.atomic import write_atomically
from tidegate.folder.presence import is_there

LONGEST_LINE, MOST_MILESTONES = 1 << 20, 100_000
"""bytes of one event; events of a run beside its steps"""
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
    """Hands each event to all sinks in turn, and counts them."""

    def __init__(self, sinks: list[Sink], told: int = 0) -> None:
        """told: events that a resumed run's log has."""
        self.sinks, self.told = sinks, told

    def tell(self, event: str, step: int, **values: Any) -> None:
        """Tell one event."""
        self.told += 1
        for sink in self.sinks:
            sink.take({"event": event, "step": step, **values})

    def close(self) -> None:
        """Close all sinks, also where one cannot write out what it holds."""
        with contextlib.ExitStack() as sinks:
            for sink in reversed(self.sinks):
                sinks.callback(sink.close)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read a run's log; a line that a kill or a full disk tore, or that was changed, is omitted."""
    is_checked = _is_checked(path)
    return [event for line in _lines(path) if (event := _parsed(line, is_checked)) is not None]


def read_milestones(path: Path) -> list[dict[str, Any]]:
    """Read a run's log without its steps but the last: what there is to say of a long run, in little time."""
    events: list[dict[str, Any]] = []
    last_step, is_checked = None, _is_checked(path)
    for line in _lines(path):
        if line.startswith(_STEP):
            last_step = line if line.endswith(b"\n") else last_step
        elif (event := _parsed(line, is_checked)) is not None:
            if len(events) == MOST_MILESTONES:
                raise TidegateError(
                    f"{path} has more than {MOST_MILESTONES:,} events beside its steps: no run has so many."
                )
            events.append(event)
    if last_step is not None and (event := _parsed(last_step, is_checked)) is not None:
        events.append(event)
    return sorted(events, key=lambda event: event["step"])


_STEP = b'{"event": "step"'
_CHECK = b', "crc32": '
"""before the last field of a line, which is over all that comes before it"""


def _lines(path: Path) -> Iterator[bytes]:
    if is_there(path):
        yield from read_lines(path, LONGEST_LINE)


def _is_checked(path: Path) -> bool:
    """Whether the lines of a log end in a checksum, which those of older runs lack; one line may be damaged."""
    return any(_CHECK in line for line in itertools.islice(_lines(path), 2))


def _parsed(line: bytes, is_checked: bool) -> dict[str, Any] | None:
    begin, _, check = line.rpartition(_CHECK)
    if is_checked and check != b"%d}\n" % zlib.crc32(begin):
        return None
    try:
        event = json.loads((begin + b"}" if is_checked else line).decode("utf-8"))
    except (ValueError, RecursionError):  # torn, perhaps within a character
        return None
    right = isinstance(event, dict) and isinstance(event.get("step"), int) and "event" in event
    return event if right else None


class JsonlLog:
    """``training/log.jsonl``: one event a line. Resumed, it goes on after the lines that the checkpoint knows."""

    def __init__(self, path: Path, known: int) -> None:
        """Keep so many lines of the log that is there. Without a checkpoint, where none is known, what was measured
        before the first step is kept."""
        self.path, self.known = path, 0
        write_atomically(path, lambda file: file.writelines(self._kept(known)))
        # by lines: a checkpoint must never know a step that the log has not
        self.file = open(path, "a", encoding="utf-8", errors="replace", buffering=1)  # noqa: SIM115 (held open for the run)

    def _kept(self, known: int) -> Iterator[bytes]:
        for line in itertools.islice(_lines(self.path), max(1, known)):
            if line.endswith(b"\n") and (known or (_parsed(line, True) or {}).get("event") == "before"):
                self.known += 1
                yield line

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
    begin = json.dumps(event, ensure_ascii=False).removesuffix("}")
    return f"{begin}{_CHECK.decode()}{zlib.crc32(begin.encode('utf-8', 'replace'))}}}\n"


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
