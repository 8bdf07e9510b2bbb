"""Shown without a goal: one thread, AVX2, and the frameworks JAX and Keras."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.table import Table

from kernel_cases import layers
from kernel_cases.layers import Shape, summary
from kernel_cases.timing import Plan, Sample, in_turn, number, sampler, times

HERE = Path(__file__).parents[1]
FRAMEWORKS = {"jax": "jax_lstm.py", "keras": "keras_lstm.py"}
Row = dict[str, Any]
Say = Callable[[str], None]

TORCH_AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
VARIANTS: dict[str, list[tuple[str, dict[str, str], list[str]]]] = {
    "one-thread": [("one thread", {}, ["--threads", "1"])],
    "avx2": [
        ("AVX2, torch as it is", {"TIDEGATE_ISA": "avx2"}, []),
        ("AVX2, torch held to AVX2 too", {"TIDEGATE_ISA": "avx2", **TORCH_AVX2}, []),
    ],
}
"""By section: a name, the environment, and the arguments of a run of this benchmark in a process of its own."""


def measure_variants(section: str, arguments: list[str], say: Say) -> list[Row]:
    """Run training and inference anew for each variant of a section; returns what each found."""
    rows: list[Row] = []
    for name, environment, more in VARIANTS[section]:
        say(name)
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "result.json"
            words = [sys.executable, str(HERE / "kernels.py"), *arguments, "--only", "training,inference"]
            words += [*more, "--json", str(out)]
            done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **environment})
            if done.returncode:
                raise SystemExit(f"{name} failed:\n{done.stderr}")
            content = json.loads(out.read_text(encoding="utf-8"))
        rows.append({"variant": name, "environment": environment, "core": content["core"], "layers": content["layers"]})
    return rows


def variants_table(rows: list[Row]) -> Table:
    """Show least ratio, mean and one lane of each variant."""
    shown = Table(title="other ways to run, against torch.nn", title_justify="left")
    columns = ("variant", "kernels", "what", "least", "geometric mean", "one lane")
    for i, column in enumerate(columns):
        shown.add_column(column, justify="left" if i < 3 else "right")
    for row in rows:
        for what, found in summary(row["layers"]).items():
            ratios = (times(found[name]) for name in ("least", "mean", "one_lane"))
            shown.add_row(row["variant"], row["core"].get("isa", ""), what, *ratios)
        shown.add_section()
    return shown


class Framework:
    """A peer in an interpreter of its own, which takes one sample whenever it is asked, so that it stays in turn."""

    def __init__(self, script: str, python: str, plan: Plan) -> None:
        self.words = [python, str(HERE / "peers" / script), str(plan.threads), str(plan.shortest)]
        self.process = subprocess.Popen(
            self.words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def ask(self, **message: Any) -> Any:
        """Send a message; returns the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a peer ended at {message}; run {' '.join(self.words)} to see why.")
        return json.loads(line)

    def greeting(self) -> dict[str, str] | None:
        """Return its versions; None where it cannot be imported."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def start(python: str, plan: Plan, say: Say) -> tuple[dict[str, Framework], dict[str, str]]:
    """Start the frameworks that are installed, and say which are not; returns them and their versions."""
    running: dict[str, Framework] = {}
    versions: dict[str, str] = {}
    for name, script in FRAMEWORKS.items():
        framework = Framework(script, python, plan)
        greeting = framework.greeting()
        if greeting is None:
            framework.close()
            say(f"skipped: {name} cannot be imported by {Path(python).name} (--peer-python names another interpreter)")
        else:
            running[name] = framework
            versions |= greeting
    return running, versions


def _samples(cell: str, shape: Shape, running: dict[str, Framework], plan: Plan) -> dict[str, Sample]:
    mine, _, x, d_y = layers.pair(cell, shape)
    samples = {
        "training": sampler(layers.training(mine, x, d_y), plan),
        "inference": sampler(layers.inference(mine, x), plan),
    }
    for name, framework in running.items():
        framework.ask(case=[cell, *shape])
        for kind in ("training", "inference"):

            def ask(framework: Framework = framework, kind: str = kind) -> float:
                return float(framework.ask(run=kind))

            samples[f"{kind} {name}"] = ask
    return samples


def measure_frameworks(cases: list[tuple[str, Shape]], python: str, plan: Plan, say: Say) -> list[Row]:
    """Measure JAX and Keras on LSTM and GRU."""
    running, versions = start(python, plan, say)
    rows: list[Row] = []
    try:
        for cell, shape in cases if running else []:
            if cell == "rnn":
                continue
            say(f"{', '.join(running)}: {cell} {shape}")
            rounds = in_turn(_samples(cell, shape, running, plan), plan)
            row: Row = {"cell": cell, "shape": list(shape), "versions": versions}
            for kind in ("training", "inference"):
                row[kind] = {"ms": 1000 * (rounds.median(kind) or 0)}
                for name in running:
                    row[kind][f"ms_{name}"] = 1000 * (rounds.median(f"{kind} {name}") or 0)
                    row[kind][f"ratio_{name}"] = rounds.ratio(f"{kind} {name}", kind)
            rows.append(row | {"rounds_ms": rounds.milliseconds()})
    finally:
        for framework in running.values():
            framework.close()
    return rows


def frameworks_table(rows: list[Row]) -> Table:
    """Show milliseconds and ratios."""
    shown = Table(title="JAX and Keras (jit-compiled, processes of their own)", title_justify="left")
    columns = ["what", "cell", "B,T,I,H", "ms"] + [word for name in FRAMEWORKS for word in (f"ms {name}", "ratio")]
    for i, column in enumerate(columns):
        shown.add_column(column, justify="left" if i < 3 else "right")
    for kind in ("training", "inference"):
        for row in rows:
            figures = row[kind]
            words = [number(figures["ms"])]
            for name in FRAMEWORKS:
                words += [number(figures.get(f"ms_{name}")), times(figures.get(f"ratio_{name}"))]
            shown.add_row(kind, row["cell"], str(Shape(*row["shape"])), *words)
        shown.add_section()
    return shown
