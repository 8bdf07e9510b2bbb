"""Compare settings on slices of a training text, without ever reading the split that is reported.

Three slices of the text's first 90%, at its start, middle and end, a 24th of it each, are held out; the rest is trained
on, once for each line of settings and each seed, one after another. Give a horizon that all share: --tokens where noise
of the clock shall play no part, --minutes where speed counts.
    python benchmarks/ablation.py input.txt --common '--tokens 4000000 --learning-rate 0.01' \\
        --settings '' '--dropout 0.1' '--cell gru'
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from record import write_result
from rich.console import Console
from rich.table import Table

SLICES = 24


def main() -> None:
    """Run all, print a table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--settings", nargs="+", required=True, help="flags of tidegate train, one string a run")
    parser.add_argument("--common", default="", help="flags that all runs share")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--json", type=Path, help="where the result is written instead of results/")
    arguments = parser.parse_args()
    console, runs = Console(), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hold_out(arguments.text, folder)
        for settings in arguments.settings:
            found = [train(folder, shlex.split(f"{arguments.common} {settings}"), seed) for seed in arguments.seeds]
            runs.append({"settings": settings, "seeds": found})
            console.print(settings or "(common alone)", *found, sep="\n  ", soft_wrap=True, highlight=False)
    table = Table("settings", "nats a token, mean of the seeds", "million tokens", "seconds")
    for run in sorted(runs, key=lambda run: mean(run, "nats_a_token")):
        row = (mean(run, "nats_a_token"), mean(run, "tokens") / 1e6, mean(run, "seconds"))
        table.add_row(run["settings"] or "(common alone)", *(f"{value:.4g}" for value in row))
    console.print(table)
    figures = {"text": arguments.text.name, "common": arguments.common, "runs": runs}
    console.print(f"written: {write_result('ablation', __doc__ or '', figures, arguments.json)}")


def mean(run: dict[str, Any], figure: str) -> float:
    return statistics.mean(found[figure] for found in run["seeds"])


def hold_out(text: Path, folder: Path) -> None:
    """Write the slices, a document each, and what is left to learn from."""
    whole = text.read_text(encoding="utf-8")
    whole = whole[: len(whole) * 9 // 10]
    size = len(whole) // SLICES
    middle, end = len(whole) // 2, len(whole) - size
    held = [whole[:size], whole[middle : middle + size], whole[end:]]
    (folder / "train.txt").write_text(whole[size:middle] + whole[middle + size : end], encoding="utf-8")
    lines = [json.dumps({"text": slice}, ensure_ascii=False) + "\n" for slice in held]
    (folder / "held.jsonl").write_text("".join(lines), encoding="utf-8")


def train(folder: Path, flags: list[str], seed: int) -> dict[str, Any]:
    """Train once; returns the loss over the slices at the end, and what it took."""
    run = folder / f"run-{len(list(folder.glob('run-*')))}"
    words = [sys.executable, "-m", "tidegate", "train", str(folder / "train.txt"), "--cache", str(folder / "cache")]
    words += ["--validation-data", str(folder / "held.jsonl"), "--evaluations", "1", "--seed", str(seed)]
    subprocess.run([*words, "--out", str(run), *flags], check=True, stdout=subprocess.DEVNULL)
    events = [json.loads(line) for line in (run / "training/log.jsonl").read_text(encoding="utf-8").splitlines()]
    evaluation = next(event for event in reversed(events) if event["event"] == "evaluation")
    loss = events[-1]["carried_20lanes/nats_a_token"]
    return {"seed": seed, "nats_a_token": loss, "tokens": evaluation["tokens"], "seconds": evaluation["elapsed"]}


if __name__ == "__main__":
    main()
