"""Around every run's loop: who is told, what an interruption or a full disk leaves, how it is gone on with."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator

from rich.text import Text

from tidegate.errors import TidegateError
from tidegate.text.console import Console
from tidegate.training.events import Events, JsonlLog, TensorBoardLog
from tidegate.training.loop import Loop
from tidegate.training.run import interruptible
from tidegate.training.run_folder import RunFolder
from tidegate.training.view import TerminalView

CARRY_ON = 130
"""exit code of a run that was interrupted"""


def conduct(
    folder: RunFolder,
    console: Console,
    resumed_at: int | None,
    known: int,
    before: Callable[[Events], None],
    loop: Callable[[Events, Callable[[], bool]], Loop],
    finish: Callable[[Events], None],
) -> int:
    """Run a loop and what stands before and after it; returns the exit code.

    resumed_at: the step that a resumed run goes on from, None for a new one; known: lines of the log up to there;
    before: told what is measured before the first step; loop: makes the loop from the events and the question whether
    to stop; finish: measures and writes, once the loop has come to its end.
    """
    view = TerminalView(console)
    log = JsonlLog(folder.log, known)
    events = Events([log, TensorBoardLog(folder.tensorboard, resumed_at), view], log.known)
    try:
        before(events)
        with interruptible() as interrupted:
            running = loop(events, interrupted)
            view.expect(running.horizon, running.config.final_seconds or 0)
            finished = running.run()
        view.close()
        if finished:
            finish(events)
    except KeyboardInterrupt:
        view.close()
        _say(console, f"Stopped at once. Resume from the last checkpoint with:\n  {resume_command(folder)}")
        raise
    finally:
        view.close()
        events.close()
    if not finished:
        step = running.state.progress.step
        _say(console, f"Stopped at step {step}; all is kept. Resume with:\n  {resume_command(folder)}")
    return 0 if finished else CARRY_ON


@contextlib.contextmanager
def resumable(folder: RunFolder) -> Iterator[None]:
    """Say how a run is gone on with where the system ends it, such as by a full disk."""
    try:
        yield
    except (TidegateError, OSError) as error:
        if not (isinstance(error, OSError) or isinstance(error.__cause__, OSError)):
            raise
        resume = f"\nThen resume with:\n  {resume_command(folder)}" if folder.record.is_file() else ""
        raise TidegateError(f"{error}{resume}") from error


def resume_command(folder: RunFolder) -> str:
    """Return the command that goes on with a run."""
    return f"tidegate train --resume {shlex.quote(str(folder.path))}"


def _say(console: Console, sentence: str) -> None:
    console.print(Text(sentence), soft_wrap=True)
