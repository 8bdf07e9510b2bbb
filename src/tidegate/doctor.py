"""``tidegate doctor``: what computes here, how many threads run where, and what stands in the way."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

import tidegate
from tidegate import native
from tidegate.cpus import asked_warning, default_limit
from tidegate.text.console import Console
from tidegate.text.messages import show_json

FEATURES = {
    name: name for name in ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_tile", "bf16")
} | {"asimd": "neon", "neon": "neon"}
"""What the kernels make use of or could: the name that Linux gives, the name that people know."""
VARIABLES = ("TIDEGATE_NATIVE", "TIDEGATE_ISA", "OMP_NUM_THREADS")
PACKAGES = ("numpy", "torch", "tokenizers", "safetensors")
RUNTIME = re.compile(r"^lib(gomp|omp|iomp5)\b.*\.(so|dylib)")
PEAK_SECONDS = 0.2
PATIENCE = 60
"""Seconds after which the process that imports PyTorch is given up."""
BESIDE_TORCH = (
    "import json, torch, tidegate.nn\nfrom tidegate import doctor, native\n"
    "from tidegate.nn.threads import use_threads\nuse_threads(None)\n"
    "core = native.core()\n"
    "print(json.dumps([native.threads(), core and core.threads_name(), doctor.openmp_runtimes()]))"
)


@dataclass(frozen=True)
class DoctorSettings:
    """How the findings are shown."""

    json: bool = False
    """Print one JSON object, for a program to read."""


def doctor(settings: DoctorSettings) -> int:
    """Examine and print; returns 0, since a warning keeps nothing from running."""
    console = Console(file=sys.stderr if settings.json else sys.stdout)
    with console.status("examining"):
        found = examine()
    if settings.json:
        show_json(found, indent=2)
    else:
        console.print(_table(found))
        console.print()
        console.print(_kernels_table(found["kernels"]))
        console.print(Text(found["kernels_reason"]), soft_wrap=True)
        for warning in found["warnings"]:
            console.print(Text(f"Warning: {warning}", style="yellow"), soft_wrap=True)
    return 0


def examine() -> dict[str, Any]:
    """Return all findings, as JSON takes them."""
    core = native.core()
    threads, limited_by = default_limit()
    openmp = openmp_runtimes()
    alone = {
        "threads": threads,
        "limited_by": limited_by,
        "run_by": None if core is None else core.threads_name(),
        "openmp": openmp,
    }
    beside = _beside_torch()
    warnings = [*openmp_warnings(openmp, "here"), *openmp_warnings(beside.get("openmp"), "with PyTorch")]
    if (warning := asked_warning()) is not None:
        warnings.append(warning)
    forced = os.environ.get("TIDEGATE_ISA")
    if core is not None and forced and forced != native.isa():
        warnings.append(f"{native.reason().rstrip('.')}: unset TIDEGATE_ISA, or name one of these.")
    return {
        "cpu": cpu(),
        "core": {
            "loaded": core is not None,
            "isa": native.isa(),
            "reason": native.reason(),
            "isas": native.isas(),
            "peak_gflops": None if core is None else round(core.peak_flops(PEAK_SECONDS, threads) / 1e9, 1),
        },
        "alone": alone,
        "beside_torch": beside,
        "kernels": kernels(core is not None, "threads" in beside),
        "kernels_reason": _kernels_reason(core is not None),
        "versions": _versions(),
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "warnings": warnings,
    }


def cpu() -> dict[str, Any]:
    """Return the model, the features of `FEATURES` that it has (None where the system does not tell), the CPUs."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    has = set(flags[1].split()) if flags else None
    return {
        "model": model[1] if model else platform.processor() or platform.machine(),
        "machine": platform.machine(),
        "features": None if has is None else [shown for name, shown in FEATURES.items() if name in has],
        "usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def openmp_runtimes(maps: str | None = None) -> list[str] | None:
    """Return the paths of the OpenMP libraries in this process, by a text like /proc/self/maps; None: not known."""
    if maps is None:
        try:
            maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
    paths = {line.split(maxsplit=5)[5] for line in maps.splitlines() if len(line.split(maxsplit=5)) == 6}
    return sorted(path for path in paths if RUNTIME.match(Path(path).name))


def openmp_warnings(runtimes: list[str] | None, where: str) -> list[str]:
    """Return a warning where there are two runtimes: each has its threads, and they take each other's cores."""
    if runtimes is None or len(runtimes) < 2:
        return []
    return [
        f"{len(runtimes)} OpenMP runtimes are in one process {where} ({', '.join(runtimes)}), and the threads of one "
        "that wait hold up those of the other: set OMP_WAIT_POLICY=PASSIVE, or install packages that share one."
    ]


def _beside_torch() -> dict[str, Any]:
    """Return threads and runtimes of a process that imports PyTorch, or why there are none."""
    try:
        metadata.version("torch")
    except metadata.PackageNotFoundError:
        return {"missing": "PyTorch is not installed: install it to train"}
    command = [sys.executable, "-P", "-c", BESIDE_TORCH]  # -P: a torch.py in the user's folder is not meant
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    except subprocess.TimeoutExpired:
        return {"missing": f"PyTorch took more than {PATIENCE} s to import"}
    except subprocess.CalledProcessError as error:
        why = error.stderr.strip().splitlines() or [f"Python ended with exit code {error.returncode}"]
        return {"missing": f"PyTorch cannot be imported: {why[-1]}"}
    threads, run_by, openmp = json.loads(done.stdout.splitlines()[-1])
    return {"threads": threads, "run_by": run_by, "openmp": openmp}


def kernels(native_there: bool, torch_there: bool) -> dict[str, dict[str, str]]:
    """Say for each cell what computes it: in training by dtype, and when it writes."""
    without = "PyTorch's operators" if torch_there else "none: PyTorch is not here"
    core = "native" if native_there and torch_there else without
    steps = "elementary operators" if torch_there else without  # PyTorch has no such cell
    found = {}
    for cell in native.CELLS:
        other = steps if cell == "gru_reset_before" else without
        found[cell] = {
            "train float32": core if core == "native" else other,
            "train float64": other,
            "train bfloat16": other,
            "generate": "native" if native_there else "NumPy",
        }
    return found


def _kernels_reason(native_there: bool) -> str:
    if native_there:
        return "The core computes float32 on the CPU; PyTorch trains with all else."
    return f"The core is not here: {native.reason()}"


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"tidegate": tidegate.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found | {"system": platform.platform()}


def _table(found: dict[str, Any]) -> Table:
    shown = Table(show_header=False, box=None, pad_edge=False)
    shown.add_column(style="bold", no_wrap=True)
    shown.add_column(overflow="fold")
    cpu_found, core = found["cpu"], found["core"]
    features = cpu_found["features"]

    def add(name: str, words: object) -> None:
        shown.add_row(name, Text(str(words)))

    add("CPU", f"{cpu_found['model']}, {cpu_found['usable']} usable")
    add("features", "not known on this system" if features is None else " ".join(features) or "none that help")
    if core["loaded"]:
        add("core", f"{core['isa']}: {core['reason']}")
        add("it can run", f"{', '.join(core['isas'])}   (TIDEGATE_ISA chooses)")
        add("peak", f"{core['peak_gflops']} GFLOP/s in float32, {found['alone']['threads']} threads")
    else:
        add("core", f"not here: {core['reason']}")
    places = ("threads, alone", found["alone"], "NumPy"), ("with PyTorch", found["beside_torch"], "PyTorch")
    for name, where, otherwise in places:
        add(name, where.get("missing") or _threads(where, otherwise))
    add("versions", ", ".join(f"{name} {version or 'missing'}" for name, version in found["versions"].items()))
    add("environment", ", ".join(f"{k}={v}" for k, v in found["environment"].items()) or "nothing set")
    return shown


def _kernels_table(found: dict[str, dict[str, str]]) -> Table:
    title = "kernels: in training, by dtype, and in writing"
    shown = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True
    )
    shown.add_column("cell", no_wrap=True, min_width=max(map(len, found)))
    for name in next(iter(found.values())):
        shown.add_column(name.removeprefix("train "))
    for cell, by in found.items():
        shown.add_row(cell, *by.values())
    return shown


def _threads(where: dict[str, Any], otherwise: str) -> str:
    openmp = where["openmp"]
    runtimes = "not known" if openmp is None else ", ".join(openmp) or "none"
    limit = f" (by {where['limited_by']})" if "limited_by" in where else ""
    return f"{where['threads']}{limit}, run by {where['run_by'] or otherwise}; OpenMP: {runtimes}"
