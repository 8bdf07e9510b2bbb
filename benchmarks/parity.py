"""Does a model learn the same on the native core as on PyTorch's operators? Two trainings a seed, loss beside loss.

The embedded Shakespeare, characters, 2 layers of 128 units. The same seed gives both the same start values and batches,
so that their losses differ by rounding alone, which training then amplifies. The yardstick is the spread over seeds:
what changes when nothing but chance does. The second path is the same program with TIDEGATE_NATIVE=0.
    python benchmarks/parity.py                                     two cells, three seeds, 300 steps
    python benchmarks/parity.py --cells lstm --seeds 0 1 --steps 20
    python benchmarks/parity.py --picture docs/pictures/parity.png
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from record import write_result
from rich.console import Console
from rich.table import Table

from tidegate.training.events import read_log

PATHS = {"native": None, "torch": "0"}
"""What TIDEGATE_NATIVE is for each path; None: not set."""
Curves = dict[str, list[list[float]]]
"""By path, a curve a seed."""


def loss_curve(cell: str, path: str, seed: int, arguments: argparse.Namespace) -> list[float]:
    """Train in a process of its own; returns the loss of each step."""
    environment = {name: value for name, value in os.environ.items() if name != "TIDEGATE_NATIVE"}
    if (wanted := PATHS[path]) is not None:
        environment["TIDEGATE_NATIVE"] = wanted
    settings = {
        "corpus": "shakespeare",
        "cell": cell,
        "layers": 2,
        "hidden-size": arguments.hidden_size,
        "steps": arguments.steps,
        "seed": seed,
        "threads": arguments.threads,
        "log-every": 1,
        "validation": 0,  # the losses of the steps are what is compared
        "evaluations": 1,
    }
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        words = [sys.executable, "-m", "tidegate", "train", "--out", str(out)]
        words += [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        done = subprocess.run(words, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise SystemExit(f"training {cell} on the {path} path failed:\n{done.stderr}")
        losses = [float(event["loss"]) for event in read_log(out / "training/log.jsonl") if event["event"] == "step"]
    if len(losses) != arguments.steps:
        raise SystemExit(f"{cell}, {path}, seed {seed}: {len(losses)} steps in the log, {arguments.steps} were wanted.")
    return losses


def compare(curves: Curves) -> dict[str, Any]:
    """Return how far the two paths are apart, and how far the seeds."""
    apart = [
        [abs(a - b) for a, b in zip(mine, theirs, strict=True)]
        for mine, theirs in zip(curves["native"], curves["torch"], strict=True)
    ]
    spread = [max(step) - min(step) for step in zip(*curves["torch"], strict=True)]
    largest = max(max(seed) for seed in apart)
    tail = max(len(spread) // 10, 1)
    typical = statistics.median(spread)

    def at_the_end(path: str) -> list[float]:
        return [statistics.fmean(curve[-tail:]) for curve in curves[path]]

    ends, peer_ends = at_the_end("native"), at_the_end("torch")
    return {
        "first_step_difference": max(seed[0] for seed in apart),
        "largest_difference": largest,
        "largest_difference_at_step": 1 + max(range(len(spread)), key=lambda t: max(seed[t] for seed in apart)),
        "final_difference": max(seed[-1] for seed in apart),
        "last_tenth_difference": max(abs(a - b) for a, b in zip(ends, peer_ends, strict=True)),
        "spread_over_seeds": typical,
        "last_tenth_spread_over_seeds": max(peer_ends) - min(peer_ends),
        "largest_share_of_spread": largest / typical if typical else None,
        "last_tenth_loss": {"native": ends, "torch": peer_ends},
    }


def draw(curves: dict[str, Curves], path: Path) -> None:
    """Draw both paths' curves above, their difference below."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(curves), figsize=(5 * len(curves), 6), sharex=True, squeeze=False)
    for column, (cell, found) in enumerate(curves.items()):
        above, below = axes[0][column], axes[1][column]
        for seed, (mine, theirs) in enumerate(zip(found["native"], found["torch"], strict=True)):
            steps = range(1, len(mine) + 1)
            above.plot(steps, theirs, color="tab:orange", linewidth=2, label=None if seed else "PyTorch")
            above.plot(steps, mine, color="tab:blue", linewidth=0.7, label=None if seed else "native")
            apart = [max(abs(a - b), 1e-9) for a, b in zip(mine, theirs, strict=True)]
            below.plot(steps, apart, color="tab:blue", linewidth=0.7, label=None if seed else "between the paths")
        spread = [max(step) - min(step) for step in zip(*found["torch"], strict=True)]
        below.plot(steps, [max(s, 1e-9) for s in spread], color="gray", linewidth=0.7, label="between seeds")
        above.set_title(cell.upper())
        above.set_ylabel("loss, nats a character")
        below.set(xlabel="step", ylabel="difference", yscale="log")
        above.legend()
        below.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def show(found: dict[str, dict[str, Any]], console: Console) -> None:
    names = {
        "first_step_difference": "largest difference in the first step",
        "largest_difference": "largest difference in any step",
        "final_difference": "largest difference in the last step",
        "last_tenth_difference": "difference of the means over the last tenth",
        "spread_over_seeds": "spread over seeds, median of the steps",
        "last_tenth_spread_over_seeds": "spread over seeds of the means over the last tenth",
    }
    table = Table("nats a character", *(cell.upper() for cell in found), title="native path against PyTorch's")
    for name, words in names.items():
        table.add_row(words, *(f"{figures[name]:.2g}" for figures in found.values()))
    console.print(table)


def main() -> None:
    """Train in turn, compare, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", default=["lstm", "gru"], help="rnn lstm gru gru_reset_before")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--hidden-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--picture", type=Path, help="draw the curves into this PNG file")
    parser.add_argument("--json", type=Path, help="write the result there, not into results/")
    arguments = parser.parse_args()
    if len(arguments.seeds) < 2:
        parser.error("at least two seeds: their spread is the yardstick")
    console, curves = Console(), {}
    with console.status("training") as status:
        for cell in arguments.cells:
            curves[cell] = Curves(native=[], torch=[])
            for seed in arguments.seeds:
                for path in PATHS:
                    status.update(f"{cell}, seed {seed}, {path}")
                    curves[cell][path].append(loss_curve(cell, path, seed, arguments))
    found = {cell: compare(both) for cell, both in curves.items()}
    show(found, console)
    given = {name: getattr(arguments, name) for name in ("seeds", "steps", "hidden_size", "threads")}
    figures = {**given, "cells": found, "losses": curves}
    written = write_result("parity", __doc__ or "", figures, arguments.json)
    console.print(f"written: {written}")
    if arguments.picture is not None:
        draw(curves, arguments.picture)
    if same := [cell for cell, both in curves.items() if both["native"] == both["torch"]]:
        # two programs that sum in another order never agree to the last bit over so many steps
        raise SystemExit(f"{', '.join(same)}: both paths gave the same bits, so the native one did not run.")


if __name__ == "__main__":
    main()
