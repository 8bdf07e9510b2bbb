"""``tidegate runs``: the runs that there are, in a table and in a picture. Needs no PyTorch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from tidegate.config import check_paths
from tidegate.errors import TidegateError, nearest
from tidegate.text.console import Console
from tidegate.text.messages import show_json
from tidegate.text.printable import one_line
from tidegate.training.comparison import BITS, NATS, Group, groups_of
from tidegate.training.summary import RunSummary, find_runs, summarize

Order = Literal["best", "name", "started", "tokens", "time", "speed", "parameters"]
WIDE = 250
"""Columns of the table where no terminal limits them."""


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
    console = Console()
    if not console.is_terminal:
        console.width = WIDE
    if settings.json:
        show_json([_as_object(run, names[run.path], groups) for run in ordered], indent=1)
    else:
        _print_table(console, ordered, names, groups)
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
    left_out = len(numbers) - drawn
    rest = f"; {left_out} without a loss that compares left out" if left_out else ""
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
    number, group = _group_of(run, groups)
    loss = group.loss(run)
    return number, math.inf if loss is None else loss


def _group_of(run: RunSummary, groups: Sequence[Group]) -> tuple[int, Group]:
    return next((number, group) for number, group in enumerate(groups) if any(run is other for other in group.runs))


def _print_table(
    console: Console, ordered: Sequence[RunSummary], names: Mapping[Path, str], groups: Sequence[Group]
) -> None:
    columns = {
        "#": "right", "run": "left", "text": "left", "model": "left", "tokenizer": "left", "parameters": "right",
        "state": "left", "tokens": "right", "time": "right", "tokens/s": "right", NATS: "right", BITS: "right",
        **dict.fromkeys(_OF_LABELS, "right"), "started": "left",
    }  # fmt: skip
    rows = [_row(number, run, names[run.path], groups) for number, run in enumerate(ordered, 1)]
    if len(groups) < 2:
        del columns["text"]
    for name in _OF_LABELS:
        if not any(row[name].plain for row in rows):
            del columns[name]
    # where the terminal is narrow, less is shown, but what is shown is whole
    for dispensable in ("", *_DISPENSABLE):
        columns.pop(dispensable, None)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for name, side in columns.items():
            table.add_column(name, justify=side, no_wrap=True)  # type: ignore[arg-type]
        for row in rows:
            table.add_row(*(row[name] for name in columns))
        if Measurement.get(console, console.options.update(width=WIDE), table).maximum <= console.width:
            break
    console.print(table)
    for line in _notes(ordered, names, groups):
        console.print(Text(line), soft_wrap=True)


def _row(number: int, run: RunSummary, name: str, groups: Sequence[Group]) -> dict[str, Text]:
    cells = {"#": str(number), "run": name, "state": run.state}
    if run.state == "broken":
        return {column: Text(cells.get(column, ""), "red") for column in (*_ROW_OF_ALL, *_OF_LABELS, NATS, BITS)}
    _, group = _group_of(run, groups)
    on_the_way = "" if run.best_evaluation is None else f"~{run.best_evaluation:.4f}"
    cells |= {
        "text": group.letter,
        "model": run.model,
        "tokenizer": run.tokenizer,
        "parameters": "" if run.parameters is None else f"{run.parameters:,}",
        "state": run.state if run.state == "finished" else f"{run.state}, {run.progress:.0%}",
        "tokens": f"{run.tokens:,}",
        "time": _duration(run.seconds),
        "tokens/s": "" if run.tokens_a_second is None else f"{run.tokens_a_second:,.0f}",
        NATS: on_the_way if run.final_nats is None else f"{run.final_nats:.4f}",
        BITS: "" if run.final_bits is None else f"{run.final_bits:.4f}",
        "started": run.started[:16].replace("T", " "),
    }
    for name, figures in _OF_LABELS.items():
        found = [run.figures[one] for one in figures if one in run.figures]
        cells[name] = f"{found[0]:.2%}" if found else ""
    styles = {"state": "green" if run.state == "running" else "", group.unit: "bold green" if group.best is run else ""}
    return {column: Text(one_line(cell), styles.get(column, "")) for column, cell in cells.items()}


_OF_LABELS = {
    "accuracy": ("validation/accuracy",),
    "F1": ("validation/f1", "validation/macro_f1"),
}
"""columns of runs that learn labels, and which figure each shows: the F1 of entities, or the mean of the classes'"""
_ROW_OF_ALL = ("#", "run", "text", "model", "tokenizer", "parameters", "state", "tokens", "time", "tokens/s", "started")


_DISPENSABLE = ("started", "tokens/s", "parameters", "time", "tokenizer", "tokens", "text", "model", "state")
"""Columns in the order in which a narrow terminal goes without them."""


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _notes(ordered: Sequence[RunSummary], names: Mapping[Path, str], groups: Sequence[Group]) -> list[str]:
    """Return what one must know to read the table."""
    notes = []
    if protocols := ", ".join(sorted({run.protocol for run in ordered if run.protocol})):
        notes.append(
            f"Losses: {protocols}, of the validation text at the end; ~ the lowest on the way, of its beginning."
        )
    for unit in sorted({run.unit for run in ordered} - {NATS}):
        runs = ", ".join(names[run.path] for run in ordered if run.unit == unit)
        notes.append(f"In {unit}, not a token: {one_line(runs)}.")
    if any(figure in run.figures for run in ordered for figures in _OF_LABELS.values() for figure in figures):
        notes.append("Accuracy and F1, of classes the mean of theirs: of the validation part, at the end.")
    if len(groups) > 1:
        texts = "; ".join(f"{group.letter} {one_line(group.text)}" for group in groups)
        notes.append(f"The validation texts differ, and losses compare within one text alone: {texts}.")
    if mixed := [group.letter for group in groups if group.unit == BITS]:
        where = f" of text {', '.join(mixed)}" if len(groups) > 1 else ""
        notes.append(f"The tokenizers{where} differ: losses compare in bits a byte alone.")
    notes += [f"{names[run.path]}: {one_line(run.problem or '')}" for run in ordered if run.state == "broken"]
    return ["", *notes] if notes else []


def _as_object(run: RunSummary, name: str, groups: Sequence[Group]) -> dict[str, Any]:
    """Return a run for a program to read: the fields of `RunSummary`, and with which runs it compares."""
    values = asdict(run) | {
        "path": str(run.path),
        "name": name,
        "best_evaluation": run.best_evaluation,
        "evaluations": [evaluation._asdict() for evaluation in run.evaluations],
        "figures": {name: value if math.isfinite(value) else None for name, value in run.figures.items()},
    }
    return values | {"validation_text": None if run.state == "broken" else _group_of(run, groups)[1].letter}
