"""Train on tiny Shakespeare from scratch, for as long as a recipe says, beside a plain PyTorch peer, in turn by seed.

The reported split, the last tenth of the text, is read once, at the end of each run; the settings of the recipes were
chosen on slices of the training text (ablation.py, docs/log.md).
    python benchmarks/tiny_shakespeare.py input.txt                  20 minutes: three seeds of both
    python benchmarks/tiny_shakespeare.py input.txt --recipe recipes/tiny-shakespeare-15.yaml --without-peer
    python benchmarks/tiny_shakespeare.py input.txt --seeds 0 --seconds 10
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

import yaml
from record import write_result
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
RECIPE = HERE.parent / "recipes" / "tiny-shakespeare.yaml"
PROTOCOL = "validation: last tenth, read once at the end; nats a character; medians over seeds; in turn with the peer"


def run_peer(peer: Path, text: Path, seed: int, seconds: float) -> dict[str, Any]:
    """Run the peer; its last line is a JSON object."""
    words = [sys.executable, str(peer), "--text", str(text), "--seconds", str(seconds), "--seed", str(seed)]
    lines = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    return dict(json.loads(lines[-1]))


def run_tidegate(recipe: Path, text: Path, seed: int, seconds: float) -> dict[str, Any]:
    """Train by the recipe into a temporary folder; returns the figures of the log's last event."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = [sys.executable, "-m", "tidegate", "train", str(text), "--config", str(recipe)]
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
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, help="instead of the recipe's minutes")
    parser.add_argument("--peer", type=Path, default=HERE / "peers" / "char_lstm.py")
    parser.add_argument("--without-peer", action="store_true")
    parser.add_argument("--json", type=Path, help="where the result is written instead of results/")
    arguments = parser.parse_args()
    console, text = Console(), arguments.text
    seconds = arguments.seconds or 60.0 * yaml.safe_load(arguments.recipe.read_text(encoding="utf-8"))["minutes"]
    ours, peers = [], []
    for seed in arguments.seeds:
        if not arguments.without_peer:
            peers.append(run_peer(arguments.peer, text, seed, seconds))
            console.print(f"seed {seed}: peer {peers[-1]}", soft_wrap=True)
        ours.append(run_tidegate(arguments.recipe, text, seed, seconds))
        console.print(f"seed {seed}: tidegate {ours[-1]}", soft_wrap=True)
    medians = {kind: statistics.median(run[kind] for run in ours) for kind in ("carried_20lanes", "window256")}
    if peers:
        theirs = [run["validation_nats"] for run in peers]
        medians["peer_carried_20lanes"] = statistics.median(theirs)
        pairs = zip(ours, theirs, strict=True)
        medians["difference"] = statistics.median(run["carried_20lanes"] - peer for run, peer in pairs)
    table = Table("median over the seeds", "nats a character")
    for name, value in medians.items():
        table.add_row(name, f"{value:.4f}")
    console.print(table)
    figures = {
        "recipe": arguments.recipe.name,
        "seeds": arguments.seeds,
        "seconds": seconds,
        "tidegate": ours,
        "peer": peers,
        "medians": medians,
    }
    written = write_result(arguments.recipe.stem.replace("-", "_"), PROTOCOL, figures, arguments.json)
    console.print(f"written: {written}")


if __name__ == "__main__":
    main()
