"""How a run looks in the terminal: a bar that moves, samples above it; plain lines where the output is no terminal."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from tidegate.text.console import Console
from tidegate.training.events import unit_of
from tidegate.training.forecast import forecast
from tidegate.training.schedule import Horizon

PLAIN_SECONDS = 10.0
"""seconds between two lines where the output is no terminal"""
FORECAST_SECONDS = 5.0
"""seconds of training after which the end of a run is forecast"""


class SteadyConsole(Console):
    """A console that falls silent when nobody reads it any longer (`… | head`): the training goes on."""

    def on_broken_pipe(self) -> None:
        """Send all further output nowhere."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class TerminalView:
    """Shows events on standard error's or output's console."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.last_line = 0.0
        self.validation = ""
        self._ahead: tuple[Horizon, float] | None = None
        self._began: float | None = None
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            expand=True,
        )
        self.task = self.bar.add_task("training", total=1.0, figures="")
        self.bar.start()

    def expect(self, horizon: Horizon, final_seconds: float) -> None:
        """Forecast the end of a run, once some of its steps are known."""
        self._ahead = horizon, final_seconds

    def take(self, event: dict[str, Any]) -> None:
        """Show one event."""
        if event["event"] == "step":
            self._step(event)
        elif event["event"] == "evaluation":
            self._evaluation(event)
        elif "message" in event:
            style = "yellow" if event["event"] == "rollback" else ""
            self.console.print(Text(event["message"], style=style), soft_wrap=True)

    def _step(self, event: dict[str, Any]) -> None:
        self._forecast(event)
        figures = (
            f"step {event['step']}  loss {event['loss']:.3f}{self.validation}  {event['tokens_a_second']:,.0f} tokens/s"
        )
        if self.console.is_terminal:
            self.bar.update(self.task, completed=event["progress"], figures=figures)
        elif time.monotonic() - self.last_line > PLAIN_SECONDS:
            self.last_line = time.monotonic()
            self.console.print(Text(f"{event['progress']:4.0%}  {figures}{_remaining(event)}"), soft_wrap=True)

    def _forecast(self, event: dict[str, Any]) -> None:
        """Say once how far the run will come and when it ends, where that is not within a minute."""
        if self._began is None:
            self._began = event["elapsed"]
        if self._ahead is None or event["elapsed"] - self._began < FORECAST_SECONDS or not 0 < event["progress"] < 1:
            return
        (horizon, final_seconds), self._ahead = self._ahead, None
        numbers = (event["step"], event["tokens"], event["elapsed"], event["tokens_a_second"])
        ahead = forecast(horizon, *numbers)
        if ahead.seconds[1] >= 60:
            self.console.print(Text(ahead.sentence(final_seconds)), soft_wrap=True)

    def _evaluation(self, event: dict[str, Any]) -> None:
        self.bar.update(self.task, completed=event["progress"])
        line = Text(f"{event['progress']:4.0%}  step {event['step']}  ", style="bold")
        if "validation" in event:
            self.validation = f"  validation {event['validation']:.3f}"
            line.append(f"validation {event['validation']:.4f} {unit_of(event)} ({event['protocol']})")
            if "accuracy" in event:
                line.append(f", {event['accuracy']:.2%} right")
            if event["best"] is not None:  # else the last one counts
                line.append(", the best so far" if event["is_best"] else f"; best {event['best']:.4f}", style="dim")
        self.console.print(line, soft_wrap=True)
        if event.get("sample"):
            self.console.print(Text(event["sample"], style="cyan"), soft_wrap=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self.bar.stop()


def _seconds_left(event: dict[str, Any]) -> float:
    """Return the seconds to the end, as long in proportion as those up to here."""
    return float(event["elapsed"] * (1 - event["progress"]) / event["progress"])


def _remaining(event: dict[str, Any]) -> str:
    if event["progress"] <= 0:
        return ""
    minutes, seconds = divmod(round(_seconds_left(event)), 60)
    return f"  {minutes}:{seconds:02d} left"
