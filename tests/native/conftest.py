"""The core under test: the native one, or its stand-in, with which the operators' own logic is tested everywhere."""

from __future__ import annotations

import pytest
import torch

from tidegate import native

from .plain_core import RememberingCore

NOT_HERE = "the native core is not here"


@pytest.fixture
def core():
    """The native core, for a test that needs it."""
    found = native.core()
    if found is None:
        pytest.skip(NOT_HERE)
    return found


@pytest.fixture
def plain_core(monkeypatch):
    """The stand-in, in the native core's place."""
    stand_in = RememberingCore()
    monkeypatch.setattr(native, "core", lambda: stand_in)
    return stand_in


@pytest.fixture
def any_core(request):
    """The native core, or the stand-in where there is none: what stands before the core is the same for both."""
    return request.getfixturevalue("plain_core" if native.core() is None else "core")


@pytest.fixture
def two_threads():
    """Two threads for one test; all others have one."""
    torch.set_num_threads(2)
    native.use_threads(2, exact=True)
    yield
    torch.set_num_threads(1)
