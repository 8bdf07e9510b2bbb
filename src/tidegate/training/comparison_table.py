"""The table of runs: as many of its columns as the terminal has room for, and notes on how to read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from tidegate.text.console import Console
from tidegate.text.printable import one_line
from tidegate.training.comparison import BITS, Group, group_of
from tidegate.training.summary import RunSummary, Score

FULL = 1_000_000
"""Columns in which every table fits."""
SHORTEST_NAME = 16
"""Cells that every run's name has at least; a longer one is folded."""
_SCORES = {"accuracy": ("accuracy",), "F1": ("f1", "macro_f1")}
"""columns of runs that learn labels, and which figure each shows: the F1 of entities, or the mean of the classes'"""
_LEFT = ("run", "text", "model", "tokenizer", "state", "started")
_OF_ALL = ("#", "run", "text", "model", "tokenizer", "parameters", "state", "tokens", "time", "tokens/s")
_DISPENSABLE = ("started", "tokens/s", "parameters", "time", "tokenizer", "tokens")
_DISPENSABLE_LAST = ("state", "text")

Row = dict[str, Text]


def print_table(
    console: Console, ordered: Sequence[RunSummary], names: Mapping[Path, str], groups: Sequence[Group]
) -> None:
    """Print the runs in their order, each with its number and name, then the notes."""
    rows = [_row(number, run, names[run.path], groups) for number, run in enumerate(ordered, 1)]
    columns = [*_OF_ALL, *_measures(ordered), "started"]
    if len(groups) < 2:
        columns.remove("text")
    columns = [name for name in columns if name == "run" or any(row[name].plain for row in rows)]
    main = {_main(run, groups, row) for run, row in zip(ordered, rows, strict=True)}
    secondary = [name for name in _measures(ordered) if name not in main]
    console.print(_fitted(console, columns, [*_DISPENSABLE, *secondary, "model"], rows))
    for line in _notes(ordered, names, groups):
        console.print(line)


def _measures(runs: Sequence[RunSummary]) -> list[str]:
    """Return the columns of losses and scores."""
    return [*sorted({run.unit for run in runs if run.state != "broken"}), BITS, *_SCORES]


def _main(run: RunSummary, groups: Sequence[Group], row: Row) -> str:
    """Return the column in which a run is judged first: accuracy of a classifier, F1 of a tagger, else the loss."""
    if run.state == "broken":
        return ""
    first = {"classify": ("accuracy", "F1"), "tag": ("F1", "accuracy")}.get(run.task, (group_of(run, groups)[1].unit,))
    return next((name for name in (*first, run.unit) if row[name].plain), "")


def _fitted(console: Console, columns: list[str], dispensable: Sequence[str], rows: Sequence[Row]) -> Table:
    """Return the table without as many columns as it takes to fit; a long name is folded before any of them goes, and
    again before the last ones do."""
    some = max(SHORTEST_NAME, console.width // 3)
    steps: list[tuple[str, int | None]] = [("", None), *((name, some) for name in ("", *dispensable))]
    steps += [(name, SHORTEST_NAME) for name in ("", *_DISPENSABLE_LAST)]
    for unwanted, longest in steps:
        columns = [name for name in columns if name != unwanted]
        table = _table(columns, rows, longest)
        if Measurement.get(console, console.options.update(width=FULL), table).maximum <= console.width:
            break
    return table


def _table(columns: Sequence[str], rows: Sequence[Row], longest: int | None) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        side = "left" if name in _LEFT else "right"
        folded = name == "run" and longest is not None
        table.add_column(name, justify=side, no_wrap=not folded, overflow="fold", max_width=longest if folded else None)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*(row[name] for name in columns))
    return table


def _row(number: int, run: RunSummary, name: str, groups: Sequence[Group]) -> Row:
    cells = {"#": str(number), "run": name, "state": run.state}
    every = (*_OF_ALL, *{of.unit for group in groups for of in group.runs}, BITS, *_SCORES, "started")
    if run.state == "broken":
        return {column: Text(cells.get(column, ""), "red") for column in every}
    _, group = group_of(run, groups)
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
        run.unit: on_the_way if run.final_nats is None else f"{run.final_nats:.4f}",
        BITS: "" if run.final_bits is None else f"{run.final_bits:.4f}",
        **{name: _percent(run.score(*figures)) for name, figures in _SCORES.items()},
        "started": run.started[:16].replace("T", " "),
    }
    styles = {"state": "green" if run.state == "running" else "", group.unit: "bold green" if group.best is run else ""}
    return {column: Text(one_line(cells.get(column, "")), styles.get(column, "")) for column in every}


def _percent(score: Score | None) -> str:
    return "" if score is None else f"{'' if score.is_final else '~'}{score.value:.2%}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _notes(ordered: Sequence[RunSummary], names: Mapping[Path, str], groups: Sequence[Group]) -> list[Text]:
    """Return what one must know to read the table; each note is wrapped, and the name of a text is cut."""
    notes = []
    if protocols := ", ".join(sorted({run.protocol for run in ordered if run.protocol})):
        notes.append(
            f"Losses are measured on the validation data at the end ({protocols}). "
            "~ marks the lowest so far, measured on the beginning of that data."
        )
    if any(run.score(*figures) for run in ordered for figures in _SCORES.values()):
        notes.append("F1 is that of entities, or the macro-average of the classes; ~ where the loss was lowest so far.")
    if mixed := [group.letter for group in groups if group.unit == BITS]:
        where = f" of text {', '.join(mixed)}" if len(groups) > 1 else ""
        notes.append(f"The tokenizers{where} differ: compare these losses in {BITS} only.")
    if len(groups) > 1:
        notes.append("The validation texts differ: compare losses only between runs of the same text.")
    lines = [Text(one_line(note)) for note in notes]
    if len(groups) > 1:
        lines += [
            Text(one_line(f"  {group.letter}  {group.text}"), no_wrap=True, overflow="ellipsis") for group in groups
        ]
    lines += [Text(one_line(f"{names[run.path]}: {run.problem or ''}")) for run in ordered if run.state == "broken"]
    return [Text(), *lines] if lines else []
