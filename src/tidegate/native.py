"""The native core: loads it once, and says which of its kernels run here, or why none do.

Nothing heavy is imported before a core is asked for, and PyTorch never.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

from tidegate.cpus import default_limit

CELLS = {"rnn": 0, "rnn_relu": 1, "lstm": 2, "gru": 3, "gru_reset_before": 4}
"""The core's number of each cell, as in csrc/tidegate.h."""

MOST_THREADS = 4096

REMEDY = "install a C++ compiler (g++ 11 or newer, or clang) and run ./run setup again"


_found: tuple[ModuleType | None, str] | None = None
"""What `_load` found; a plain variable, which torch.compile can trace."""


_most: int | None = None
_exact = False
"""What `use_threads` was told."""


_in_child = False
"""Whether this process was forked before it loaded the core, which notices later forks itself."""


def _note_fork() -> None:
    global _in_child
    _in_child = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def _load() -> tuple[ModuleType | None, str]:
    """Return the core's module, or None and why."""
    if os.environ.get("TIDEGATE_NATIVE") == "0":
        return None, "TIDEGATE_NATIVE=0 turns it off"
    try:
        module = importlib.import_module("tidegate._core")
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError):
            return None, f"it was not built when Tidegate was installed: {REMEDY}"
        return None, f"it cannot be loaded ({error}): {REMEDY}"
    if _in_child:
        module.leave_openmp()
    if module.isa() is None:
        return None, str(module.isa_reason())
    return module, str(module.isa_reason())


def core() -> ModuleType | None:
    """Return the loaded core, None where there is none or no kernel of it runs on this CPU."""
    global _found
    if _found is None:
        _found = _load()
    return _found[0]


def reason() -> str:
    """Say why the kernels run that do, or why none do and what helps."""
    core()
    assert _found is not None
    return _found[1]


def isa() -> str | None:
    """Return the instruction set whose kernels run: avx2, avx512, avx512_bf16, neon; None without a core."""
    found = core()
    return None if found is None else str(found.isa())


def isas() -> list[str]:
    """Return all instruction sets that can run here, the best first; TIDEGATE_ISA forces one of them."""
    found = core()
    return [] if found is None else str(found.isas()).split()


def describe(threads: int) -> str:
    """Say what computes: ``native avx512, up to 2 threads``, or that NumPy does, and why."""
    if core() is None:
        return f"NumPy (no native core: {reason()})"
    return f"native {isa()}, {counted(threads)}"


def counted(threads: int) -> str:
    """Return a number of threads as it is shown: the core may use fewer."""
    return f"up to {threads} threads" if threads > 1 else "1 thread"


def use_threads(most: int | None, exact: bool = False) -> None:
    """Compute on so many threads at most, None: on `default_threads`; exact: on so many, even where fewer are faster.

    The number changes no result of the core, bit for bit.
    """
    global _most, _exact
    _most, _exact = most, exact


def threads() -> int:
    """Return the most threads that the core may use."""
    return default_threads() if _most is None else _most


def team(most: int | None = None) -> int:
    """Return what the core's functions take as `threads`: -n for one or n threads, whichever proves faster as the calls
    come; n where exactly so many were asked for. most: n where `use_threads` was told no number."""
    count = most if _most is None and most is not None else threads()
    return count if _exact else -count


def default_threads() -> int:
    """Return the threads to use where nobody says: as many as the CPUs that this process may use."""
    return default_limit().threads
