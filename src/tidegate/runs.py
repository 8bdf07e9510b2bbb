"""``tidegate runs``: the runs that there are, in a table and in a picture. Needs no PyTorch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from rich.text import Text

from tidegate.config import check_paths
from tidegate.errors import TidegateError, nearest
from tidegate.text.console import Console
from tidegate.text.messages import show_json
from tidegate.text.printable import one_line
from tidegate.training.comparison import Group, group_of, groups_of
from tidegate.training.comparison_table import print_table
from tidegate.training.summary import RunSummary, find_runs, summarize

Order = Literal["best", "name", "started", "tokens", "time", "speed", "parameters"]


@dataclass(frozen=True)
class RunsSettings:
    """Which runs are shown, and how."""

    folder: tuple[str, ...] = ("runs",)
    """Folders of runs, or that hold runs; by default runs."""
    sort: Order = "best"
    """best: the lowest validation loss first, text by text; name; started, tokens, time, speed, parameters: the latest
    or largest first."""
    plot: str | None = None
    """Draw the validation losses of all runs into this file, a .png. Each has the number that it has in the table."""
    json: bool = False
    """Print a JSON list instead of the table."""

    def __post_init__(self) -> None:
        check_paths(self, "folder", "plot")
        orders = get_args(Order)
        if self.sort not in orders:
            raise TidegateError(
                f"sort is {self.sort!r}, but it must be one of {', '.join(orders)}{nearest(self.sort, orders)}."
            )
        if self.plot is not None and Path(self.plot).suffix.lower() != ".png":
            raise TidegateError(f"plot is {self.plot!r}, but the picture is a PNG: give a name that ends in .png.")


def runs(settings: RunsSettings) -> int:
    """Show the runs; returns the exit code."""
    places = {path: folder for name in settings.folder for folder in [Path(name)] for path in find_runs(folder)}
    found = [summarize(path) for path in places]
    groups = groups_of(found)
    ordered = _ordered(found, groups, settings.sort)
    names = _names(places)
    numbers = {run.path: number for number, run in enumerate(ordered, 1)}
    if settings.json:
        show_json([_as_object(run, names[run.path], groups) for run in ordered], indent=1)
    else:
        print_table(Console(), ordered, names, groups)
    if settings.plot is not None:
        _plot(Path(settings.plot), groups, names, numbers, Console(stderr=True))
    return 0


def _plot(
    path: Path, groups: Sequence[Group], names: Mapping[Path, str], numbers: Mapping[Path, int], console: Console
) -> None:
    from tidegate.training.comparison_picture import draw_comparison  # half a second's import, for the picture alone

    drawn = draw_comparison(path, groups, names, numbers)
    if not drawn:
        raise TidegateError("No run has a validation loss yet, so there is nothing to draw: wait for an evaluation.")
    omitted = len(numbers) - drawn
    rest = f"; {omitted} without a comparable loss omitted" if omitted else ""
    console.print(Text(f"Picture: {path}   ({drawn} runs{rest})"), soft_wrap=True)


def _names(places: Mapping[Path, Path]) -> dict[Path, str]:
    """Return how each run is called: by its path within the folder that was named; in full where that is not unique."""
    short = {
        path: str(path.relative_to(folder)) if path != folder else path.resolve().name
        for path, folder in places.items()
    }
    counts = list(short.values())
    return {path: one_line(name if counts.count(name) == 1 else str(path)) for path, name in short.items()}


def _ordered(found: Sequence[RunSummary], groups: Sequence[Group], order: Order) -> list[RunSummary]:
    """Return the runs in order, broken ones last; what is equal stays in the order of the names."""
    keys = {
        "best": lambda run: _rank(run, groups),
        "name": lambda run: str(run.path),
        "tokens": lambda run: -run.tokens,
        "time": lambda run: -run.seconds,
        "speed": lambda run: -(run.tokens_a_second or 0),
        "parameters": lambda run: -(run.parameters or 0),
    }
    whole = sorted((run for run in found if run.state != "broken"), key=lambda run: str(run.path))
    if order == "started":
        whole.sort(key=lambda run: run.started, reverse=True)
    else:
        whole.sort(key=keys[order])
    return whole + sorted((run for run in found if run.state == "broken"), key=lambda run: str(run.path))


def _rank(run: RunSummary, groups: Sequence[Group]) -> tuple[int, float]:
    number, group = group_of(run, groups)
    loss = group.loss(run)
    return number, math.inf if loss is None else loss


def _as_object(run: RunSummary, name: str, groups: Sequence[Group]) -> dict[str, Any]:
    """Return a run for a program to read: the fields of `RunSummary`, and with which runs it compares."""
    values = asdict(run) | {
        "path": str(run.path),
        "name": name,
        "best_evaluation": run.best_evaluation,
        "evaluations": [evaluation._asdict() for evaluation in run.evaluations],
        "figures": {name: value if math.isfinite(value) else None for name, value in run.figures.items()},
    }
    return values | {"validation_text": None if run.state == "broken" else group_of(run, groups)[1].letter}
