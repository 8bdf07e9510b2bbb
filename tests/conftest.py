"""What all tests share: one thread each, no files outside the test's own folder, small random weights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from tidegate import native

# no test is a timed one: a machine that is busy with other work is slow, not wrong
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

ALLOWED_SKIPS = (
    "no /proc",
    "not on this system",
    "the native core is not here",
    "a small disk cannot be mounted here",
    "no other user to be here",
    "could not import 'onnx",
)
"""every reason for which a test may be skipped; any other skip fails the run"""


@pytest.fixture(autouse=True)
def _one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small tensors are slower in two threads; prepared texts go to the test's folder."""
    monkeypatch.setenv("TIDEGATE_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
    native.use_threads(None)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Turn a skip with an unlisted reason into a failure, so that no test falls silent unseen."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(allowed in reason for allowed in ALLOWED_SKIPS):
            report.outcome = "failed"
            report.longrepr = f"skipped for a reason that conftest.py does not list: {reason}"


def subprocess_environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a program that a test starts."""
    return {**os.environ, "TIDEGATE_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
