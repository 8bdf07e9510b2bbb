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


@pytest.fixture(params=["plain", "native"])
def any_core(request):
    """Each in turn."""
    return request.getfixturevalue("core" if request.param == "native" else "plain_core")


@pytest.fixture
def two_threads():
    """Two threads for one test; all others have one."""
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)
