"""``curves.png``: the loss of training and validation, drawn from the run's log."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tidegate.folder.atomic import write_atomically
from tidegate.text.printable import one_line
from tidegate.training.events import read_log, unit_of

SECONDS_BETWEEN = 30.0
LARGEST = 1e15
BLUE, ORANGE, GREY = "#1f5fa8", "#d9541e", "#8a8f98"


class Curves:
    """The picture of a run, drawn anew as it goes on, but not so often that drawing takes the time of training."""

    def __init__(self, path: Path, title: str) -> None:
        self.path, self.title = path, title
        self._drawn_at = -math.inf

    def draw(self, log: Path, at_once: bool = False) -> None:
        """Draw what the log has, at most every `SECONDS_BETWEEN` seconds where it need not be done at once."""
        if at_once or time.monotonic() - self._drawn_at >= SECONDS_BETWEEN:
            draw_curves(self.path, read_log(log), self.title)
            self._drawn_at = time.monotonic()


def draw_curves(path: Path, events: Sequence[dict[str, Any]], title: str) -> None:
    """Draw the losses, in nats/token or a text, over the tokens read, and the learning rate below them."""
    # a step that was taken twice, after a return to an earlier state, is drawn as it was the last time
    whole = [e for e in events if e["event"] == "step" and _is_drawn(e, "tokens", "loss", "rate")]
    steps = [e for _, e in sorted({e["step"]: e for e in whole}.items())]
    evaluations = [e for e in events if e["event"] == "evaluation" and _is_drawn(e, "tokens", "validation")]
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    loss, rate = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    if steps:
        tokens = np.array([e["tokens"] for e in steps], float) / 1e6
        losses = np.array([e["loss"] for e in steps], float)
        loss.plot(tokens, losses, color=BLUE, alpha=0.25, linewidth=0.8)
        loss.plot(tokens, _smooth(losses), color=BLUE, label="training, smoothed")
        rate.plot(tokens, [e["rate"] for e in steps], color=GREY)
        # the first steps stand far above the rest and would flatten what one wants to see
        loss.set_ylim(
            min(losses.min(), *(e["validation"] for e in evaluations), losses[-1]) - 0.05, _upper(losses, evaluations)
        )
    if evaluations:
        x, y = [e["tokens"] / 1e6 for e in evaluations], [e["validation"] for e in evaluations]
        loss.plot(x, y, "o-", color=ORANGE, label=f"validation, {_plain(evaluations[-1].get('protocol', ''))}")
        low = min(range(len(y)), key=y.__getitem__)
        loss.annotate(
            f"{y[low]:.3f}", (x[low], y[low]), textcoords="offset points", xytext=(0, 8), color=ORANGE, ha="center"
        )
    loss.set_title(title, loc="left")
    loss.set_ylabel(f"loss, {_plain(unit_of(evaluations[-1] if evaluations else {}))}")
    rate.set_ylabel("rate")
    rate.set_xlabel("million tokens read")
    for axis in (loss, rate):
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    if steps or evaluations:
        loss.legend(frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": "tidegate"})
    write_atomically(path, picture.getvalue())


def _is_drawn(event: dict[str, Any], *names: str) -> bool:
    """Whether these are numbers that a picture has room for: a log may have been changed by hand."""
    values = [event.get(name) for name in names]
    return all(isinstance(value, (int, float)) and abs(value) <= LARGEST for value in values)


def _plain(text: object) -> str:
    return one_line(str(text)).replace("$", r"\$")  # matplotlib reads $ as mathematics


def _smooth(values: np.ndarray) -> np.ndarray:
    """Return the running mean over a fiftieth of the run, shorter at its ends."""
    half = max(1, len(values) // 100)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    i = np.arange(len(values))
    low, high = np.maximum(i - half, 0), np.minimum(i + half + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)


def _upper(losses: np.ndarray, evaluations: Sequence[dict[str, Any]]) -> float:
    highest = float(np.quantile(losses, 0.95)) if len(losses) > 20 else float(losses.max())
    return max(highest, *(e["validation"] for e in evaluations), losses[-1]) + 0.1
