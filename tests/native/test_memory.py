"""The memory that the core keeps: used again, bounded, safe from several threads, and to PyTorch as any other."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from tidegate.nn.sequence_operator import KEPT_FROM, empty

from .test_core import resident

MEBI = 1 << 20
MOST_KEPT = 512 * MEBI
"""As csrc/memory.h says."""


def test_an_array_is_as_asked_for(core):
    for shape in ((), (0,), (7,), (3, 0, 2), (5, 4, 3)):
        array = core.empty(shape)
        assert (array.shape, array.dtype) == (shape, np.float32)
        assert array.flags.writeable
        assert array.flags.c_contiguous
    with pytest.raises(MemoryError):
        core.empty((1 << 40, 1 << 40))


def test_memory_comes_back(core):
    """Freed and asked for again, the same address: nothing is zeroed anew."""
    first = core.empty((1 << 20,))
    address = first.ctypes.data
    del first
    assert core.empty((1 << 20,)).ctypes.data == address


def test_a_small_array_does_not_take_a_large_one(core):
    """Memory for a few floats inside a large piece would be lost to whoever needs the large one."""
    large = core.empty((1 << 20,))
    address = large.ctypes.data
    del large
    small = core.empty((1 << 16,))
    assert small.ctypes.data != address
    assert core.empty((1 << 20,)).ctypes.data == address


def test_living_arrays_never_share_memory(core):
    """From several threads at once, each writes its own number and finds it again."""

    def work(number):
        for k in range(200):
            arrays = [core.empty((1 + (number * 7 + k * 13 + i) % 5000,)) for i in range(4)]
            for i, array in enumerate(arrays):
                array[:] = number * 10 + i
            if any((array != number * 10 + i).any() for i, array in enumerate(arrays)):
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))


def test_what_is_kept_is_bounded(core):
    """Sixty arrays of other sizes, 1.5 GiB in all, alive one after another; then too many small ones for the ring."""
    before = resident()
    for k in range(60):
        core.empty((4 * MEBI + k * MEBI // 8,)).fill(1)
    assert resident() - before < MOST_KEPT + 64 * MEBI
    for _ in range(80):
        core.empty((1024,))
    assert resident() - before < 64 * MEBI


def test_a_kept_tensor_is_as_good_as_any(core):
    tensor = empty(torch.zeros(1), KEPT_FROM, 2)
    tensor.copy_(torch.randn(KEPT_FROM, 2))
    assert tensor.is_contiguous()
    for other in (tensor.clone(), copy.deepcopy(tensor), pickle.loads(pickle.dumps(tensor)), tensor + 0):
        assert torch.equal(other, tensor)
    wanted = tensor.clone()
    assert torch.equal(tensor.share_memory_(), wanted)
    kept = empty(torch.zeros(1), KEPT_FROM)
    view = kept.fill_(3.0)[1:]
    del kept  # the view alone holds the memory now
    empty(torch.zeros(1), KEPT_FROM).fill_(4.0)
    assert bool((view == 3.0).all())
