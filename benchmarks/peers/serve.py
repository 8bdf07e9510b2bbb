"""What the peers in an interpreter of their own share: they take a sample when kernels.py asks, and sleep between.

A message is a JSON line. {"case": [cell, B, T, I, H]} builds and compiles; {"run": "training"} answers with seconds.
The first two arguments are the number of threads and the seconds that a sample lasts at least.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

Operation = Callable[[], object]
Build = Callable[[str, int, int, int, int], dict[str, Operation]]


def hold_to_threads() -> None:
    """Keep this process on as many cores as it may use, before the framework counts them."""
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def serve(versions: dict[str, str], build: Build) -> None:
    """Answer until the input ends."""
    shortest = float(sys.argv[2]) if len(sys.argv) > 2 else 0.05
    _answer(versions)
    operations: dict[str, Operation] = {}
    for line in sys.stdin:
        message = json.loads(line)
        if "case" in message:
            cell, B, T, I, H = message["case"]
            operations = build(cell, B, T, I, H)
            for operation in operations.values():
                operation()  # compiles
            _answer("ready")
        else:
            _answer(sample(operations[message["run"]], shortest))


def sample(operation: Operation, shortest: float) -> float:
    """Take one sample as kernel_cases.timing does; returns seconds an operation."""
    time.sleep(0.02)
    operation()
    count, elapsed, began = 0, 0.0, time.perf_counter()
    while elapsed < shortest:
        operation()
        count += 1
        elapsed = time.perf_counter() - began
    return elapsed / count


def _answer(content: object) -> None:
    print(json.dumps(content), flush=True)
