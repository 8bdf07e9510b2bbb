"""Train on tiny Shakespeare for 180 seconds from scratch, beside a plain PyTorch peer, the two in turn, seed by seed.

The reported split, the last tenth of the text, is read once, at the end of each run; the settings in
recipes/tiny-shakespeare.yaml were chosen on a slice of the training text (docs/log.md).
    python benchmarks/three_minutes.py input.txt                     20 minutes: three seeds of both
    python benchmarks/three_minutes.py input.txt --seeds 0 --seconds 10
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from record import write_result
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
RECIPE = HERE.parent / "recipes" / "tiny-shakespeare.yaml"
PROTOCOL = (
    "validation: last tenth, read once at the end; nats a character; tidegate and peer in turn; medians over seeds"
)


def run_peer(peer: Path, text: Path, seed: int, seconds: float) -> dict[str, Any]:
    """Run the peer; its last line is a JSON object."""
    words = [sys.executable, str(peer), "--text", str(text), "--seconds", str(seconds), "--seed", str(seed)]
    lines = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    return dict(json.loads(lines[-1]))


def run_tidegate(text: Path, seed: int, seconds: float) -> dict[str, Any]:
    """Train by the recipe into a temporary folder; returns the figures of the log's last event."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = [sys.executable, "-m", "tidegate", "train", str(text), "--config", str(RECIPE)]
        words += ["--seed", str(seed), "--minutes", str(seconds / 60), "--out", str(run)]
        subprocess.run(words, check=True, capture_output=True)
        events = [json.loads(line) for line in (run / "training/log.jsonl").read_text(encoding="utf-8").splitlines()]
    evaluation = next(e for e in reversed(events) if e["event"] == "evaluation")
    end = events[-1]
    return {
        "tokens": evaluation["tokens"],
        "seconds": evaluation["elapsed"],
        "carried_20lanes": end["carried_20lanes/nats_a_token"],
        "window256": end["window256/nats_a_token"],
    }


def main() -> None:
    """Run all, print a table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="tiny Shakespeare's input.txt")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--peer", type=Path, default=HERE / "peers" / "char_lstm.py")
    arguments = parser.parse_args()
    ours, peers, console = [], [], Console()
    for seed in arguments.seeds:
        peers.append(run_peer(arguments.peer, arguments.text, seed, arguments.seconds))
        ours.append(run_tidegate(arguments.text, seed, arguments.seconds))
        console.print(f"seed {seed}: peer {peers[-1]}\n        tidegate {ours[-1]}", soft_wrap=True)
    table = Table("nats a character", "tidegate", "peer", "difference")
    difference = [mine["carried_20lanes"] - theirs["validation_nats"] for mine, theirs in zip(ours, peers, strict=True)]
    medians = {
        "carried_20lanes": statistics.median(r["carried_20lanes"] for r in ours),
        "window256": statistics.median(r["window256"] for r in ours),
        "peer_carried_20lanes": statistics.median(r["validation_nats"] for r in peers),
        "difference": statistics.median(difference),
    }
    carried = (medians["carried_20lanes"], medians["peer_carried_20lanes"], medians["difference"])
    table.add_row("carried_20lanes", *(f"{value:.4f}" for value in carried))
    table.add_row("window256", f"{medians['window256']:.4f}", "", "")
    console.print(table)
    figures = {
        "seeds": arguments.seeds,
        "seconds": arguments.seconds,
        "tidegate": ours,
        "peer": peers,
        "medians": medians,
    }
    console.print(f"written: {write_result('three_minutes', PROTOCOL, figures)}")


if __name__ == "__main__":
    main()
