"""How many CPUs this process may use, and what says so: OMP_NUM_THREADS, a quota of its control group, its affinity."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MOST_DIGITS = 9
CGROUPS = Path("/sys/fs/cgroup")


class Limit(NamedTuple):
    """A number of threads, and where it comes from."""

    threads: int
    reason: str


def default_limit() -> Limit:
    """Return the smallest of all limits."""
    limits = [affinity_limit(), quota_limit(), asked_limit()]
    return min((limit for limit in limits if limit is not None), key=lambda limit: limit.threads)


def asked_limit() -> Limit | None:
    """Return what OMP_NUM_THREADS asks for, None where it is not set or no number of threads.

    Of a list such as ``2,1``, one number for each level of nested parallel regions, the first one counts.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if not (first.isascii() and first.isdigit()) or not first.strip("0"):
        return None
    number = first.lstrip("0")
    return Limit(int(number) if len(number) <= MOST_DIGITS else 10**MOST_DIGITS, "OMP_NUM_THREADS")


def asked_warning() -> str | None:
    """Say that OMP_NUM_THREADS is set to what is no number of threads."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if not asked or asked_limit() is not None:
        return None
    return f"OMP_NUM_THREADS is {asked[:40]!r}, but a number of 1 or more was expected: it is ignored; set or unset it."


def affinity_limit() -> Limit:
    """Return the CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        allowed, there = len(os.sched_getaffinity(0)), os.cpu_count() or 1
        return Limit(allowed, "CPUs of the machine" if allowed >= there else "CPU affinity")
    return Limit(os.cpu_count() or 1, "CPUs of the machine")


def quota_limit() -> Limit | None:
    """Return the whole CPUs that the quotas of the process's control groups add up to, 1 where they are less."""
    quotas = list(_quotas())
    return Limit(max(1, math.floor(min(quotas))), "CPU quota of the control group") if quotas else None


def _quotas() -> Iterator[float]:
    """Yield each quota, in CPUs, of the groups that the process is in."""
    for group in _groups():
        for folder in (group, *group.parents):
            if folder != CGROUPS and CGROUPS not in folder.parents:
                break
            if (quota := _quota(folder)) is not None:
                yield quota


def _groups() -> list[Path]:
    """Return the folders of the process's groups; inside a container these may be mounted as the top ones."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    found = []
    for parts in (line.split(":", 2) for line in lines):
        if len(parts) < 3:
            continue
        _, controllers, path = parts
        if not controllers or "cpu" in controllers.split(","):
            top = CGROUPS if not controllers else CGROUPS / "cpu"
            below = top / path.strip("/")
            found.append(below if below.is_dir() else top)
    return found


def _quota(folder: Path) -> float | None:
    """Return a group's own quota in CPUs: of cpu.max (version 2) or of cpu.cfs_quota_us (version 1)."""
    try:
        if (file := folder / "cpu.max").is_file():
            quota, period = file.read_text(encoding="utf-8").split()
        else:
            quota, period = (
                (folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8") for name in ("quota", "period")
            )
        found = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return found if found > 0 else None
