"""Generation, training and classification beside busy neighbors: ours on 1 thread, on 2, and by default, against torch.

    python benchmarks/busy.py
    python benchmarks/busy.py --tasks generation --neighbors 0 1 --rounds 3 --seconds 1

A neighbor is a process that computes without end; so many are started as --neighbors says. Every contestant is a
process of its own that sleeps while another takes its sample: generation with base-en, tokens a second of one stream;
training, whole steps of a 2×256 LSTM over 65 characters, 32 × 64 tokens; classification, 64 texts of 20 to 200 tokens
through the encoder of base-en. torch is nn.LSTM of the same sizes on its default threads. In each round every
contestant takes one sample, in turn, after one that does not count; figures are medians over the rounds. `worst` is the
smallest ratio of our default to our single thread: the goal is 0.9 or more.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from record import write_result
from rich.console import Console

HERE = Path(__file__).parent
TASKS = ("generation", "training", "classification")
CONTESTANTS = {
    "1 thread": ("tidegate", "1"),
    "2 threads": ("tidegate", "2"),
    "default": ("tidegate", "default"),
    "torch": ("torch", "default"),
}


class Contestant:
    """A process that samples when asked."""

    def __init__(self, task: str, who: str, threads: str) -> None:
        command = [sys.executable, "-m", "busy_cases.worker", task, who, threads]
        self.process = subprocess.Popen(
            command, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._answer()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("A contestant ended: its error stands above.")
        return line

    def sample(self, seconds: float) -> float:
        """Return tokens a second."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{seconds}\n")
        return float(self._answer())

    def end(self) -> None:
        """Have the process end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def neighbors(count: int) -> Iterator[None]:
    """Have so many processes compute without end."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def measure(task: str, arguments: argparse.Namespace, console: Console) -> list[dict[str, Any]]:
    """Return a row for each number of neighbors."""
    rows = []
    there = {name: Contestant(task, *how) for name, how in CONTESTANTS.items()}
    try:
        for count in arguments.neighbors:
            samples: dict[str, list[float]] = {name: [] for name in there}
            with neighbors(count):
                for contestant in there.values():
                    contestant.sample(arguments.seconds)
                for _ in range(arguments.rounds):
                    for name, contestant in there.items():
                        samples[name].append(contestant.sample(arguments.seconds))
            medians = {name: statistics.median(found) for name, found in samples.items()}
            rows.append({"task": task, "neighbors": count, "tokens_a_second": medians, "samples": samples})
            shown = ", ".join(f"{name} {rate:,.0f}" for name, rate in medians.items())
            console.print(f"{task}, {count} neighbors: {shown} tokens/s")
    finally:
        for contestant in there.values():
            contestant.end()
    return rows


def main() -> None:
    """Measure, print, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--neighbors", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5, help="of a sample")
    parser.add_argument("--json", type=Path, help="where the result is written instead of results/")
    arguments = parser.parse_args()
    console = Console(highlight=False)
    rows = [row for task in arguments.tasks for row in measure(task, arguments, console)]
    worst = min(row["tokens_a_second"]["default"] / row["tokens_a_second"]["1 thread"] for row in rows)
    figures = {
        "cpus": os.cpu_count(),
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "rows": rows,
        "worst": worst,
    }
    console.print(f"the default against one thread, at worst: {worst:.2f}")
    console.print(f"written: {write_result('busy', __doc__ or '', figures, arguments.json)}")


if __name__ == "__main__":
    main()
