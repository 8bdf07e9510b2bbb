"""How many threads PyTorch and the native core use."""

from __future__ import annotations

import torch

from tidegate import native


def use_threads(most: int | None) -> None:
    """Have the core use so many threads at most, and PyTorch exactly so many: the last bits of its sums depend on it.

    None: as many as the CPUs that this process may use, but PyTorch one where the core is there. Its own operators are
    then a few percent of a training step, and each would wait for all of its threads: beside another process that takes
    longer than one thread alone.
    """
    native.use_threads(native.default_threads() if most is None else most)
    if most is None:
        most = min(torch.get_num_threads(), native.threads()) if native.core() is None else 1
    torch.set_num_threads(most)
