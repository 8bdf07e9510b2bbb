"""One layer over a sequence, in training and in inference, against torch.nn and ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from rich.table import Table
from torch import Tensor, nn

from kernel_cases import onnx_peer
from kernel_cases.core import core, module
from kernel_cases.timing import (
    Plan,
    Rounds,
    Sample,
    agree,
    geometric_mean,
    in_turn,
    number,
    sampler,
    share,
    times,
)

GATES = {"lstm": 4, "gru": 3, "rnn": 1}
Row = dict[str, Any]


class Shape(NamedTuple):
    """Lanes, steps, inputs and hidden units."""

    B: int
    T: int
    I: int
    H: int

    def __str__(self) -> str:
        return ",".join(map(str, self))


SHAPES = (
    Shape(32, 64, 128, 128),
    Shape(32, 64, 256, 256),
    Shape(64, 128, 512, 512),
    Shape(32, 64, 1024, 1024),
    Shape(20, 35, 650, 650),
    Shape(1, 64, 256, 256),  # one lane is another problem: it stays out of the means
)


def operations(cell: str, shape: Shape, passes: int) -> int:
    """Count the floating-point operations of the products; training has three times those of inference."""
    B, T, I, H = shape
    return passes * 2 * B * T * GATES[cell] * H * (I + H)


def training(layer: nn.Module, x: Tensor, d_y: Tensor) -> Callable[[], None]:
    """Forward and backward, with gradients into x and all weights, which start as None."""
    leaf = x.clone().requires_grad_()
    wanted = [leaf, *layer.parameters()]

    def run() -> None:
        for tensor in wanted:
            tensor.grad = None
        y, _ = layer(leaf)
        y.backward(d_y)

    return run


def inference(layer: nn.Module, x: Tensor) -> Callable[[], None]:
    """Forward alone, without a graph."""

    @torch.no_grad()
    def run() -> None:
        layer(x)

    return run


def gradients(layer: nn.Module, x: Tensor, d_y: Tensor) -> list[Tensor]:
    """Return y and every gradient, to compare."""
    leaf = x.clone().requires_grad_()
    y, _ = layer(leaf)
    found = torch.autograd.grad(y, [leaf, *layer.parameters()], d_y)
    return [y.detach(), *found]


def pair(cell: str, shape: Shape) -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    """Make the two modules with the same weights, an input and a gradient; ends where they do not agree."""
    B, T, I, H = shape
    torch.manual_seed(0)
    theirs = getattr(nn, cell.upper())(I, H)
    mine = module(cell)(I, H)
    mine.load_state_dict(theirs.state_dict())
    x, d_y = torch.randn(T, B, I), torch.randn(T, B, H)
    for i, (a, b) in enumerate(zip(gradients(mine, x, d_y), gradients(theirs, x, d_y), strict=True)):
        agree(f"{cell} {shape}, result {i}", a, b)
    return mine, theirs, x, d_y


def onnx_sample(cell: str, shape: Shape, theirs: nn.Module, x: Tensor, plan: Plan) -> Sample:
    """Make ONNX Runtime's sampler; ends where it does not compute the same."""
    running = onnx_peer.session(cell, theirs, shape.T, shape.B, plan.threads)
    peer = onnx_peer.Sequences(running, x.numpy())
    peer.run()
    with torch.no_grad():
        agree(f"ONNX Runtime, {cell} {shape}", peer.output(), theirs(x)[0].numpy())
    return sampler(peer.run, plan)


def measure_case(cell: str, shape: Shape, sections: Collection[str], plan: Plan) -> Rounds:
    """Take all samples of one cell and shape in turn, the machine's peak among them."""
    mine, theirs, x, d_y = pair(cell, shape)
    samples: dict[str, Sample] = {}
    if "training" in sections:
        samples["training"] = sampler(training(mine, x, d_y), plan)
        samples["training torch"] = sampler(training(theirs, x, d_y), plan)
    if "inference" in sections or "onnx" in sections:
        samples["inference"] = sampler(inference(mine, x), plan)
    if "inference" in sections:
        samples["inference torch"] = sampler(inference(theirs, x), plan)
    if "onnx" in sections and cell in onnx_peer.ORDER and onnx_peer.why_missing() is None:
        samples["inference onnx"] = onnx_sample(cell, shape, theirs, x, plan)
    # the seconds that one operation takes at the peak, so that it is a sample like the others
    samples["peak"] = lambda: 1 / core().peak_flops(plan.peak_seconds, plan.threads)
    return in_turn(samples, plan)


def measure(
    cases: Iterable[tuple[str, Shape]], sections: Collection[str], plan: Plan, say: Callable[[str], None]
) -> Iterator[Row]:
    """Measure cells and shapes; yields a row for each."""
    for cell, shape in cases:
        if not {"training", "inference"} & set(sections) and cell not in onnx_peer.ORDER:
            continue
        say(f"{cell} {shape}")
        rounds = measure_case(cell, shape, sections, plan)
        peak_seconds = rounds.median("peak")
        peak = 1 / peak_seconds if peak_seconds else None
        row: Row = {"cell": cell, "shape": list(shape), "peak_gflops": peak and peak / 1e9}
        for kind, passes in (("training", 3), ("inference", 1)):
            row[kind] = _figures(rounds, kind, operations(cell, shape, passes), peak)
        # the peak's samples are no milliseconds: they are in peak_gflops
        yield row | {"rounds_ms": {k: v for k, v in rounds.milliseconds().items() if k != "peak"}}


def _figures(rounds: Rounds, kind: str, work: int, peak: float | None) -> Row | None:
    """Compute the medians, ratios and rates of training or inference; None where it was not measured."""
    mine = rounds.median(kind)
    if mine is None:
        return None
    theirs = rounds.median(f"{kind} torch")
    return {
        "ms": 1000 * mine,
        "ms_torch": theirs and 1000 * theirs,
        "ms_onnx": (onnx := rounds.median(f"{kind} onnx")) and 1000 * onnx,
        "ratio": rounds.ratio(f"{kind} torch", kind),
        "ratio_onnx": rounds.ratio(f"{kind} onnx", kind),
        "gflops": work / mine / 1e9,
        "gflops_torch": theirs and work / theirs / 1e9,
        "share_of_peak": peak and work / mine / peak,
        "share_of_peak_torch": peak and theirs and work / theirs / peak,
    }


def ratios(rows: list[Row], cell: str, kind: str, key: str = "ratio", one_lane: bool = False) -> list[float]:
    """Collect the ratios of a cell over its shapes, those of several lanes or those of one."""
    chosen = (row[kind] for row in rows if row["cell"] == cell and (row["shape"][0] == 1) == one_lane)
    return [figures[key] for figures in chosen if figures is not None and figures[key] is not None]


def summary(rows: list[Row]) -> dict[str, dict[str, float | None]]:
    """Return the least ratio and the geometric mean over the shapes, and one lane apart, by section and cell."""
    found: dict[str, dict[str, float | None]] = {}
    for name, kind, key in (
        ("training", "training", "ratio"),
        ("inference", "inference", "ratio"),
        ("onnx", "inference", "ratio_onnx"),
    ):
        for cell in GATES:
            many = ratios(rows, cell, kind, key)
            one = ratios(rows, cell, kind, key, one_lane=True)
            if many or one:
                found[f"{name} {cell}"] = {
                    "least": min(many) if many else None,
                    "mean": geometric_mean(many) if many else None,
                    "one_lane": one[0] if one else None,
                }
    return found


def _summary_rows(table: Table, rows: list[Row], section: str, ratio_column: int) -> None:
    for cell in GATES:
        found = summary(rows).get(f"{section} {cell}")
        if found is None:
            continue
        table.add_section()
        for name, label in (("least", "least"), ("mean", "geometric mean"), ("one_lane", "one lane")):
            cells = [cell, label, *[""] * (ratio_column - 2), times(found[name])]
            table.add_row(*cells, style="bold")


def against_torch(rows: list[Row], kind: str) -> Table:
    """Show training or inference beside torch.nn."""
    columns = ["cell", "B,T,I,H", "ms", "ms torch", "ratio", "GFLOP/s", "torch", "of peak", "torch"]
    table = Table(title=f"{kind}, against torch.nn", title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i < 2 else "right")
    for row in rows:
        figures = row[kind]
        if figures is None or figures["ratio"] is None:
            continue
        table.add_row(
            row["cell"],
            str(Shape(*row["shape"])),
            number(figures["ms"]),
            number(figures["ms_torch"]),
            times(figures["ratio"]),
            number(figures["gflops"], 1),
            number(figures["gflops_torch"], 1),
            share(figures["share_of_peak"]),
            share(figures["share_of_peak_torch"]),
        )
    _summary_rows(table, rows, kind, 4)
    return table


def against_onnx(rows: list[Row]) -> Table:
    """Show inference beside ONNX Runtime."""
    table = Table(title="inference, against ONNX Runtime", title_justify="left")
    for i, column in enumerate(["cell", "B,T,I,H", "ms", "ms ONNX Runtime", "ratio"]):
        table.add_column(column, justify="left" if i < 2 else "right")
    for row in rows:
        figures = row["inference"]
        if figures is not None and figures["ratio_onnx"] is not None:
            words = (number(figures["ms"]), number(figures["ms_onnx"]), times(figures["ratio_onnx"]))
            table.add_row(row["cell"], str(Shape(*row["shape"])), *words)
    _summary_rows(table, rows, "onnx", 4)
    return table
