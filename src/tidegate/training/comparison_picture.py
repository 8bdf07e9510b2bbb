"""One picture of the validation losses of several runs: over the tokens read, and over the time."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tidegate.folder.atomic import write_atomically
from tidegate.training.comparison import Group
from tidegate.training.picture_fonts import families, is_drawable
from tidegate.training.summary import RunSummary

STYLES = ("-", "--", ":", "-.")
ROW_INCHES = 4.2
MARKED = 60
"""Most evaluations of a run that are drawn as points as well."""


def draw_comparison(path: Path, groups: Sequence[Group], names: Mapping[Path, str], numbers: Mapping[Path, int]) -> int:
    """Draw a row for each group, left over the tokens read, right over the minutes; returns how many runs are in it.

    names, numbers: how the table calls each run. A run stands in the legend by its number, and by its name where the
    fonts that are installed have its characters, else by its model. Runs without an evaluation, or of a tokenizer whose
    bits/byte are not known yet, are left out.
    """
    drawn = [(group, curves) for group in groups if (curves := _curves(group, numbers))]
    if not drawn:
        return 0
    figure = Figure(figsize=(13, ROW_INCHES * len(drawn)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    fonts = families([group.text for group, _ in drawn] + [names[run.path] for _, curves in drawn for run, _ in curves])
    for (group, curves), axes in zip(drawn, figure.subplots(len(drawn), 2, sharey="row", squeeze=False), strict=True):
        labels = [_label(run, names, numbers, fonts) for run, _ in curves]
        _draw_group(axes, group, curves, labels, len(groups) > 1, fonts)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": "tidegate"})
    write_atomically(path, picture.getvalue())
    return sum(len(curves) for _, curves in drawn)


def _curves(group: Group, numbers: Mapping[Path, int]) -> list[tuple[RunSummary, list[float]]]:
    """Return the runs that can be drawn, by number, each with its losses in the group's unit."""
    found = []
    for run in sorted(group.runs, key=lambda run: numbers[run.path]):
        losses = [loss for e in run.evaluations if (loss := group.convert(run, e.nats)) is not None]
        if losses:
            found.append((run, losses))
    return found


def _draw_group(
    axes: Sequence[Axes],
    group: Group,
    curves: list[tuple[RunSummary, list[float]]],
    labels: list[str],
    several: bool,
    fonts: list[str],
) -> None:
    colours = colormaps["tab10"].colors  # type: ignore[attr-defined]
    for number, ((run, losses), label) in enumerate(zip(curves, labels, strict=True)):
        look: dict[str, Any] = {
            "color": colours[number % len(colours)],
            "linestyle": STYLES[number // len(colours) % len(STYLES)],
            "marker": "o" if len(losses) <= MARKED else "",
            "markersize": 3,
            "label": label,
        }
        axes[0].plot([e.tokens / 1e6 for e in run.evaluations], losses, **look)
        axes[1].plot([e.seconds / 60 for e in run.evaluations], losses, **look)
    every = np.concatenate([losses for _, losses in curves])
    low, high = float(every.min()), float(np.quantile(every, 0.95) if len(every) > 20 else every.max())
    margin = 0.05 * (high - low) or 0.05
    axes[0].set_ylim(low - margin, high + margin)
    protocols = ", ".join(sorted({run.protocol for run, _ in curves}))
    axes[0].set_ylabel(
        f"validation, {group.unit}" + (f" ({_plain(protocols)})" if is_drawable(protocols, fonts) else "")
    )
    axes[0].set_xlabel("million tokens read")
    axes[1].set_xlabel("minutes")
    if several:
        title = f"text {group.letter}" + (f": {_plain(group.text)}" if is_drawable(group.text, fonts) else "")
        axes[0].set_title(title, loc="left", family=fonts)
    for axis in axes:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[1].legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1), prop={"family": fonts})


def _label(run: RunSummary, names: Mapping[Path, str], numbers: Mapping[Path, int], fonts: list[str]) -> str:
    name = names[run.path]
    # matplotlib leaves a label that begins with an underscore out
    return _plain(f"{numbers[run.path]}  {name if is_drawable(name, fonts) else run.model}")


def _plain(text: str) -> str:
    return text.replace("$", r"\$")  # which matplotlib reads as mathematics
