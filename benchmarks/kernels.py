"""The native core beside torch.nn, ONNX Runtime, JAX and Keras: layers, output layer, training step, one token.

One process, float32; in each round every contestant takes one sample, in turn, and a short operation is repeated until
the sample lasts 50 ms. All goes through the public modules: allocation and autograd are part of it. A ratio is the
median over the rounds of peer's time / ours within the round; times are medians. The machine's peak (multiply-adds from
registers alone) is measured in the same rounds. Before it is timed, every contestant must compute the same.
    python benchmarks/kernels.py                                    everything
    python benchmarks/kernels.py --only loss,token                  some sections
    python benchmarks/kernels.py --only training --cells gru --shapes 32,64,256,256 1,64,256,256
    python benchmarks/kernels.py --quick                            one short round: does it run?
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from kernel_cases import goals, layers, loss, one_token, onnx_peer, step, variants
from kernel_cases.core import described
from kernel_cases.layers import GATES, SHAPES, Shape
from kernel_cases.timing import Plan
from record import write_result
from rich.console import Console

from tidegate import native

SECTIONS = ("training", "inference", "onnx", "loss", "step", "token", "one-thread", "avx2", "peers")
OF_LAYERS = ("training", "inference", "onnx")
QUICK = Plan(rounds=1, shortest=0.001, rest=0.0, peak_seconds=0.02)


def sections(text: str) -> list[str]:
    """Read --only."""
    given = text.split(",")
    if unknown := set(given) - set(SECTIONS):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(SECTIONS)}")
    return given


def shape(text: str) -> Shape:
    """Read one of --shapes."""
    found = Shape(*map(int, text.split(",")))
    if found not in SHAPES:
        raise argparse.ArgumentTypeError(f"{text} is none of {' '.join(map(str, SHAPES))}")
    return found


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=sections, default=list(SECTIONS), help=",".join(SECTIONS))
    parser.add_argument("--cells", nargs="+", choices=list(GATES), default=list(GATES), help="of the layers")
    parser.add_argument("--shapes", nargs="+", type=shape, default=list(SHAPES), help="B,T,I,H of the layers")
    parser.add_argument("--rounds", type=int, default=7, help="at least 7 for figures that are reported")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one short round; nothing is kept in results/")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has jax and keras")
    parser.add_argument("--json", type=Path, help="write the result there, not into results/")
    return parser.parse_args()


def measure_layers(arguments: argparse.Namespace, plan: Plan, console: Console) -> list[dict[str, Any]]:
    """Measure the sections about one layer, whose samples share the rounds, and show them."""
    wanted = set(arguments.only) & set(OF_LAYERS)
    if not wanted:
        return []
    if "onnx" in wanted and (reason := onnx_peer.why_missing()):
        console.print(f"skipped: {reason}")
    cases = [(cell, form) for cell in arguments.cells for form in arguments.shapes]
    with console.status("layers") as status:
        rows = list(layers.measure(cases, wanted, plan, status.update))
    for kind in ("training", "inference"):
        if kind in wanted:
            console.print(layers.against_torch(rows, kind))
    if "onnx" in wanted and onnx_peer.why_missing() is None:
        console.print(layers.against_onnx(rows))
    return rows


def measure_variants(arguments: argparse.Namespace, plan: Plan, console: Console) -> dict[str, Any]:
    """Measure what is shown without a goal."""
    found: dict[str, Any] = {}
    passed = ["--cells", *arguments.cells, "--shapes", *map(str, arguments.shapes), "--rounds", str(plan.rounds)]
    passed += ["--threads", str(plan.threads), *(["--quick"] if arguments.quick else [])]
    with console.status("variants") as status:
        for section in variants.VARIANTS:
            if section in arguments.only:
                found[section] = variants.measure_variants(section, passed, status.update)
    if found:
        console.print(variants.variants_table([row for rows in found.values() for row in rows]))
    if "peers" in arguments.only:
        cases = [(cell, form) for cell in arguments.cells for form in arguments.shapes]
        found["peers"] = variants.measure_frameworks(cases, arguments.peer_python, plan, console.print)
        if found["peers"]:
            console.print(variants.frameworks_table(found["peers"]))
    return found


def result_name(arguments: argparse.Namespace) -> str:
    """Name the result after its parts, so that a part never takes the place of the whole."""
    words = ["kernels"]
    if set(arguments.only) != set(SECTIONS):
        words += arguments.only
    if set(arguments.cells) != set(GATES):
        words += arguments.cells
    if set(arguments.shapes) != set(SHAPES):
        words += [str(form).replace(",", "x") for form in arguments.shapes]
    return "-".join(words)


def main() -> None:
    """Measure what was asked for, show each section, then which goals hold."""
    arguments = parsed()
    short = QUICK if arguments.quick else Plan(rounds=arguments.rounds)
    plan = Plan(short.rounds, arguments.threads, short.shortest, short.rest, short.peak_seconds)
    torch.set_num_threads(plan.threads)
    native.use_threads(plan.threads, exact=True)
    kernels = described()  # before all else: without the native core there is nothing to measure
    console = Console()
    console = Console(width=max(console.width, 110))  # piped into a file, a table needs its width as well
    console.print(f"kernels: {kernels['isa']} ({kernels['isa_reason']}); {plan.threads} threads, {plan.rounds} rounds")
    results: dict[str, Any] = {"layers": measure_layers(arguments, plan, console)}
    for name, section in (("loss", loss), ("step", step), ("token", one_token)):
        if name in arguments.only:
            with console.status(name) as status:
                results[name] = section.measure(plan, status.update)
            console.print(section.table(results[name]))
    results |= measure_variants(arguments, plan, console)
    found = goals.goals(results)
    if any(goal.values for goal in found):
        console.print(goals.table(found))
    figures = {
        "rounds": plan.rounds,
        "threads": plan.threads,
        "sections": arguments.only,
        "core": kernels,
        "onnxruntime": onnx_peer.version(),
        "summary": layers.summary(results["layers"]),
        "goals": [goal.described() for goal in found],
        **results,
    }
    if arguments.json is not None or not arguments.quick:
        written = write_result(result_name(arguments), __doc__ or "", figures, arguments.json)
        console.print(f"written: {written}")


if __name__ == "__main__":
    main()
