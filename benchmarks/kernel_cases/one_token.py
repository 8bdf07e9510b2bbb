"""One token through a 2×512 stack, all layers in one call, against torch.nn, its cells, and ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor, nn

from kernel_cases import onnx_peer
from kernel_cases.core import core
from kernel_cases.timing import Plan, agree, in_turn, number, sampler, times

LAYERS, H = 2, 512
NUMBERS = {"lstm": 2, "gru": 3}
"""The core's numbers of the cells."""
PEERS = {"nn": "torch.nn", "cells": "torch.nn cells", "onnx": "ONNX Runtime"}
Row = dict[str, Any]
Operation = Callable[[], Any]


def decoder_step(cell: str, module: nn.Module, x: np.ndarray, threads: int) -> tuple[Operation, np.ndarray]:
    """Make the core's step, the state fed back in place; returns it and the array that it writes y to."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    layers = [(*(module.get_parameter(f"{name}_l{i}").detach().numpy() for name in names), None) for i in range(LAYERS)]
    decoder = core().Decoder(NUMBERS[cell], layers, False, 1e-6)
    h, y = np.zeros((LAYERS, 1, H), dtype=np.float32), np.zeros((1, H), dtype=np.float32)
    c = np.zeros_like(h) if cell == "lstm" else None

    def run() -> None:
        decoder.step(x, h, c, y, h, c, threads)

    return run, y


def module_step(module: nn.Module, x: Tensor) -> Operation:
    """Step torch.nn's own layers by a sequence of one token."""
    state: Any = None

    @torch.no_grad()
    def run() -> Tensor:
        nonlocal state
        y, state = module(x, state)
        return torch.as_tensor(y)

    return run


def cells_step(cell: str, module: nn.Module, x: Tensor) -> Operation:
    """Step torch.nn's cells, one a layer."""
    kind = nn.LSTMCell if cell == "lstm" else nn.GRUCell
    stack: list[Any] = [kind(H, H) for _ in range(LAYERS)]
    with torch.no_grad():
        for i, layer in enumerate(stack):
            for name, parameter in layer.named_parameters():
                parameter.copy_(module.get_parameter(f"{name}_l{i}"))
    states: list[Any] = [None] * LAYERS

    @torch.no_grad()
    def run() -> Tensor:
        y = x
        for i, layer in enumerate(stack):
            states[i] = layer(y, states[i])
            y = states[i][0] if cell == "lstm" else states[i]
        return y

    return run


def operations(cell: str, plan: Plan) -> dict[str, Operation]:
    """Make the steps, each with its own state; ends where they do not write the same after three tokens."""
    torch.manual_seed(0)
    module = getattr(nn, cell.upper())(H, H, LAYERS)
    x = torch.randn(1, 1, H)
    mine, y = decoder_step(cell, module, x[0].numpy(), plan.threads)
    found: dict[str, Operation] = {
        "tidegate": mine,
        "nn": module_step(module, x),
        "cells": cells_step(cell, module, x[0]),
    }
    outputs: dict[str, Callable[[], np.ndarray]] = {"tidegate": lambda: y}
    if onnx_peer.why_missing() is None:
        peer = onnx_peer.OneToken(onnx_peer.session(cell, module, 1, 1, plan.threads), x.numpy())
        found["onnx"], outputs["onnx"] = peer.run, peer.output
    wanted = np.zeros(0)
    for name in ("nn", "cells", "onnx", "tidegate"):
        if name not in found:
            continue
        for _ in range(3):
            last = found[name]()
        value = (outputs[name]() if name in outputs else last.numpy()).reshape(-1)
        wanted = value if name == "nn" else wanted
        agree(f"one token, {cell}, {name}", value, wanted)
    return found


def measure(plan: Plan, say: Callable[[str], None]) -> list[Row]:
    """Measure both cells."""
    rows: list[Row] = []
    for cell in NUMBERS:
        say(f"one token, {cell}")
        samples = {name: sampler(step, plan) for name, step in operations(cell, plan).items()}
        rounds = in_turn(samples, plan)
        row: Row = {"cell": cell, "layers": LAYERS, "hidden_size": H, "us": 1e6 * (rounds.median("tidegate") or 0)}
        for peer in PEERS:
            seconds = rounds.median(peer)
            row[f"us_{peer}"] = seconds and 1e6 * seconds
            row[f"ratio_{peer}"] = rounds.ratio(peer, "tidegate")
        rows.append(row | {"rounds_ms": rounds.milliseconds()})
    return rows


def table(rows: list[Row]) -> Table:
    """Show microseconds a token, and how many times as fast the decoder is."""
    shown = Table(title=f"one token of a {LAYERS}×{H} stack", title_justify="left")
    for i, column in enumerate(("cell", "µs", *(w for p in PEERS.values() for w in (f"µs {p}", "ratio")))):
        shown.add_column(column, justify="left" if i == 0 else "right")
    for row in rows:
        words = [w for p in PEERS for w in (number(row[f"us_{p}"], 1), times(row[f"ratio_{p}"]))]
        shown.add_row(row["cell"], number(row["us"], 1), *words)
    return shown
