"""Linear layer and cross-entropy, forward and backward, against F.cross_entropy(F.linear(…)); its working memory."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from kernel_cases.timing import Plan, agree, geometric_mean, in_turn, number, sampler, times

SHAPES = ((2048, 512, 10000), (700, 650, 10000), (8192, 512, 65))
"""N rows, H inputs, V classes."""
Row = dict[str, Any]
Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def losses() -> dict[str, Loss]:
    """Return the two computations of the sum of all losses."""
    fused = importlib.import_module("tidegate.nn").linear_cross_entropy

    def plain(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(F.linear(x, weight, bias), targets, reduction="sum")

    return {"tidegate": fused, "torch": plain}


def problem(N: int, H: int, V: int) -> tuple[list[Tensor], Tensor]:
    """Make x, weight and bias as leaves, and targets."""
    torch.manual_seed(0)
    leaves = [torch.randn(N, H), torch.randn(V, H) * H**-0.5, torch.randn(V)]
    return [leaf.requires_grad_() for leaf in leaves], torch.randint(V, (N,))


def forward_backward(loss: Loss, leaves: list[Tensor], targets: Tensor) -> Callable[[], None]:
    """Forward and backward into x, weight and bias, whose gradients start as None."""

    def run() -> None:
        for leaf in leaves:
            leaf.grad = None
        loss(leaves[0], leaves[1], leaves[2], targets).backward()

    return run


def check(N: int, H: int, V: int) -> None:
    """End where the two do not compute the same."""
    leaves, targets = problem(N, H, V)
    found = {}
    for name, loss in losses().items():
        value = loss(leaves[0], leaves[1], leaves[2], targets)
        found[name] = [value.detach(), *torch.autograd.grad(value, leaves)]
    for i, (a, b) in enumerate(zip(found["tidegate"], found["torch"], strict=True)):
        agree(f"linear + cross-entropy {N},{H},{V}, result {i}", a, b)


def measure(plan: Plan, say: Callable[[str], None]) -> list[Row]:
    """Measure time on every shape, and memory where the logits are large."""
    rows: list[Row] = []
    for N, H, V in SHAPES:
        say(f"linear + cross-entropy {N},{H},{V}")
        check(N, H, V)
        samples = {}
        for name, loss in losses().items():
            leaves, targets = problem(N, H, V)
            samples[name] = sampler(forward_backward(loss, leaves, targets), plan)
        rounds = in_turn(samples, plan)
        mine, theirs = rounds.median("tidegate") or 0, rounds.median("torch") or 0
        row: Row = {"shape": [N, H, V], "ms": 1000 * mine, "ms_torch": 1000 * theirs}
        row["ratio"] = rounds.ratio("torch", "tidegate")
        row["rounds_ms"] = rounds.milliseconds()
        if V >= 10000:
            row["memory_mib"] = working_memory("tidegate", N, H, V, plan.threads)
            row["memory_mib_torch"] = working_memory("torch", N, H, V, plan.threads)
        rows.append(row)
    return rows


def working_memory(name: str, N: int, H: int, V: int, threads: int) -> float | None:
    """Measure the MiB of work space in a process of its own; None where the system does not tell."""
    words = [sys.executable, "-m", "kernel_cases.loss", name, *map(str, (N, H, V, threads))]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    if done.returncode:
        raise SystemExit(f"measuring the memory of {name} failed:\n{done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1])
    return None if found is None else float(found)


def _status(field: str) -> int:
    """Return a field of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


def measure_here(name: str, N: int, H: int, V: int, threads: int) -> float | None:
    """Return by how many MiB the resident size grows beyond inputs, the loss and the gradients.

    The inputs are there before; the gradients come into being in the run, so their known sizes are taken off.
    """
    torch.set_num_threads(threads)
    loss = losses()[name]
    forward_backward(loss, *problem(64, 32, 48))()  # threads, libraries, the code itself
    leaves, targets = problem(N, H, V)
    before = _status("VmRSS")
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the highest size starts anew
    except OSError:
        return None
    forward_backward(loss, leaves, targets)()
    gradients = sum(leaf.numel() * leaf.element_size() for leaf in leaves)
    return (_status("VmHWM") - before - gradients) / 2**20


def memory_ratio(row: Row) -> float | None:
    """Return the work space as a share of PyTorch's."""
    mine, theirs = row.get("memory_mib"), row.get("memory_mib_torch")
    return None if mine is None or theirs is None else max(mine, 0.0) / theirs


def table(rows: list[Row]) -> Table:
    """Show time and memory."""
    shown = Table(title="linear + cross-entropy, forward + backward, against torch", title_justify="left")
    columns = ("N,H,V", "ms", "ms torch", "ratio", "MiB of work space", "torch", "share")
    for i, column in enumerate(columns):
        shown.add_column(column, justify="left" if i == 0 else "right")
    for row in rows:
        shown.add_row(
            ",".join(map(str, row["shape"])),
            number(row["ms"]),
            number(row["ms_torch"]),
            times(row["ratio"]),
            number(row.get("memory_mib"), 1),
            number(row.get("memory_mib_torch"), 1),
            number(memory_ratio(row)),
        )
    shown.add_row("geometric mean", "", "", times(geometric_mean([row["ratio"] for row in rows])), style="bold")
    return shown


if __name__ == "__main__":
    print(json.dumps(measure_here(sys.argv[1], *map(int, sys.argv[2:6]))))
