"""A process that times one operation whenever it is asked: a line on standard input is the seconds that a sample lasts
at least, a line on standard output the tokens a second. Between samples it sleeps.

    python -m busy_cases.worker generation tidegate default
"""

from __future__ import annotations

import sys
import time

from busy_cases import operations
from tidegate import native


def main() -> None:
    """Serve samples until standard input ends."""
    task, who, threads = sys.argv[1:]
    if threads != "default":
        native.use_threads(int(threads), exact=True)
    if who == "torch" or task == "training":
        import torch

        if threads != "default":
            torch.set_num_threads(int(threads))
        elif who == "tidegate":
            from tidegate.nn.threads import use_threads

            use_threads(None)
    operation = getattr(operations, task if who == "tidegate" else f"torch_{task}")()
    operation.run()
    print("ready", flush=True)
    for line in sys.stdin:
        seconds, began, count = float(line), time.perf_counter(), 0
        while count == 0 or time.perf_counter() - began < seconds:
            operation.run()
            count += 1
        print(count * operation.tokens / (time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    main()
