"""How many threads PyTorch and the native core use."""

from __future__ import annotations

import torch

from tidegate import native


def use_threads(most: int | None) -> None:
    """Have PyTorch use so many threads, and the core so many at most; None: PyTorch's own number, bounded by the CPUs
    that this process may use. On the number of PyTorch's threads the last bits of a result may depend."""
    native.use_threads(most)
    torch.set_num_threads(min(torch.get_num_threads(), native.default_threads()) if most is None else most)
