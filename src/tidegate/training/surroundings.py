"""What a run's last bits depend on beside its settings: machine, threads, kernels, versions."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import torch

import tidegate
from tidegate.nn.sequence import kernels


def surroundings() -> dict[str, str]:
    """Return what a run's last bits depend on; a resumed run announces each difference."""
    return {
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": processor_name(),
        "instruction set": torch.backends.cpu.get_cpu_capability(),
        "kernels": kernels(),
        "threads": str(torch.get_num_threads()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "tidegate": tidegate.__version__,
    }


def processor_name() -> str:
    """Return the processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
