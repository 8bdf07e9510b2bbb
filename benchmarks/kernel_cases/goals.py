"""The goals, computed from the results: each a least value, over all cases or as their geometric mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from kernel_cases.layers import GATES, SHAPES, ratios
from kernel_cases.loss import memory_ratio
from kernel_cases.timing import geometric_mean, number

Row = dict[str, Any]
Results = dict[str, list[Row]]

TRAINING = {"lstm": (1.03, 1.15, 1.8), "gru": (1.5, 2.1, 6.0), "rnn": (1.5, 2.1, 6.0)}
INFERENCE = {"lstm": (1.0, 1.15, 1.6), "gru": (1.0, 1.8, 3.0), "rnn": (1.0, 1.8, 3.0)}
"""Least ratio of every shape, of their geometric mean, and of one lane."""
ONNX = (1.0, 1.1)
LOSS = (1.2, 1.4)
LOSS_MEMORY = 1 / 5
PEAK = 0.75
STEP = {"lstm": 1.2, "gru": 1.5}
TOKEN = {"nn": ("torch.nn", 8.0), "cells": ("torch.nn's cells", 5.0), "onnx": ("ONNX Runtime", 1.2)}
MANY = sum(shape.B > 1 for shape in SHAPES)
LARGE = sum(shape.H >= 512 for shape in SHAPES) * len(GATES)


@dataclass(frozen=True)
class Goal:
    """What is wanted of some values."""

    name: str
    wanted: float
    values: list[float]
    expected: int
    """how many values there are when all is measured; with fewer, nothing is said to hold"""
    mean: bool = False
    """whether the geometric mean is meant, not each value"""
    at_most: bool = False

    @property
    def value(self) -> float | None:
        """Return what decides: the mean, or the worst of the values."""
        if not self.values:
            return None
        if self.mean:
            return geometric_mean(self.values)
        return max(self.values) if self.at_most else min(self.values)

    @property
    def holds(self) -> bool | None:
        """Tell whether the goal is reached; None where not everything was measured and what was does not refute it."""
        value = self.value
        if value is None:
            return None
        reached = value <= self.wanted if self.at_most else value >= self.wanted
        complete = len(self.values) >= self.expected
        return reached if complete or (not reached and not self.mean) else None

    def described(self) -> dict[str, Any]:
        """Return the goal for the result file."""
        names = ("name", "wanted", "value", "expected", "holds")
        return {name: getattr(self, name) for name in names} | {"measured": len(self.values)}


def _of_layers(rows: list[Row]) -> Iterable[Goal]:
    for kind, wanted in (("training", TRAINING), ("inference", INFERENCE)):
        for cell, (every, mean, one_lane) in wanted.items():
            many, one = ratios(rows, cell, kind), ratios(rows, cell, kind, one_lane=True)
            name = f"{cell.upper()} {kind} against torch.nn"
            yield Goal(f"{name}, every shape", every, many, MANY)
            yield Goal(f"{name}, geometric mean", mean, many, MANY, mean=True)
            yield Goal(f"{name}, one lane", one_lane, one, 1)
    for cell in ("lstm", "gru"):
        many = ratios(rows, cell, "inference", "ratio_onnx")
        one = ratios(rows, cell, "inference", "ratio_onnx", one_lane=True)
        name = f"{cell.upper()} inference against ONNX Runtime"
        yield Goal(f"{name}, every shape and one lane", ONNX[0], many + one, MANY + 1)
        yield Goal(f"{name}, geometric mean", ONNX[1], many, MANY, mean=True)
    large = [row["training"] for row in rows if row["shape"][3] >= 512 and row["training"] is not None]
    shares = [figures["share_of_peak"] for figures in large if figures["share_of_peak"] is not None]
    yield Goal("share of the peak, training, H ≥ 512", PEAK, shares, LARGE)


def _of_the_rest(results: Results) -> Iterable[Goal]:
    found = [row["ratio"] for row in results.get("loss", [])]
    yield Goal("linear + cross-entropy, every shape", LOSS[0], found, 3)
    yield Goal("linear + cross-entropy, geometric mean", LOSS[1], found, 3, mean=True)
    shares = [s for row in results.get("loss", []) if (s := memory_ratio(row)) is not None]
    yield Goal("its work space at V = 10000, share of torch's", LOSS_MEMORY, shares, 2, at_most=True)
    for cell, wanted in STEP.items():
        found = [row["ratio"] for row in results.get("step", []) if row["cell"] == cell]
        yield Goal(f"whole training step, {cell.upper()}", wanted, found, 2)
    for peer, (name, wanted) in TOKEN.items():
        found = [r for row in results.get("token", []) if (r := row[f"ratio_{peer}"]) is not None]
        yield Goal(f"one token against {name}", wanted, found, 2)


def goals(results: Results) -> list[Goal]:
    """Return every goal with the values that decide it."""
    return [*_of_layers(results.get("layers", [])), *_of_the_rest(results)]


def table(found: list[Goal]) -> Table:
    """Show which goals hold, of those about which something was measured."""
    shown = Table(title="goals", title_justify="left")
    for i, column in enumerate(("goal", "wanted", "found", "measured", "holds")):
        shown.add_column(column, justify="left" if i == 0 else "right")
    for goal in filter(lambda goal: goal.values, found):
        wanted = f"{'≤' if goal.at_most else '≥'} {goal.wanted:.2f}"
        counted = f"{len(goal.values)} of {goal.expected}"
        holds = {True: "[green]yes[/green]", False: "[red]no[/red]", None: "–"}[goal.holds]
        shown.add_row(goal.name, wanted, number(goal.value), counted, holds)
    unknown = sum(goal.holds is None for goal in found)
    shown.caption = f"{sum(g.holds is True for g in found)} of {len(found)} hold; {unknown} not (wholly) measured"
    return shown
