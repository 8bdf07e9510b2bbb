"""A small text and a small run, for the tests of the training room."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tidegate.config import ModelConfig, TrainingConfig
from tidegate.text.prepare import Prepared, prepare
from tidegate.training.begin import begin
from tidegate.training.events import Events
from tidegate.training.loop import Loop
from tidegate.training.schedule import Horizon
from tidegate.training.state import Capture, TrainState

TEXT = "the tide comes in, the tide goes out. 潮起潮落，春去秋来。\n"


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    """A text of some 3,000 characters, by characters; its last tenth validates."""
    rng = np.random.default_rng(0)
    file = tmp_path / "text.txt"
    file.write_text("".join("".join(rng.permutation(list(TEXT))) + "\n" for _ in range(60)), encoding="utf-8")
    return prepare([str(file)], cache=tmp_path / "cache")


@dataclass
class Recorder:
    """Takes the place of sinks, disk and validation."""

    events: list[dict[str, Any]] = field(default_factory=list)
    saved: list[Capture] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    """losses to report, in turn; the last again and again"""

    def take(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    def close(self) -> None:
        pass

    def evaluate(self, state: TrainState) -> dict[str, Any]:
        if not self.validation:
            return {}
        return {"validation": self.validation.pop(0) if len(self.validation) > 1 else self.validation[0]}

    def keep(self, state: TrainState) -> None:
        pass

    def save(self, captured: Capture) -> None:
        self.saved.append(captured)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [e for e in self.events if e["event"] == kind]


def small_loop(
    prepared: Prepared,
    recorder: Recorder,
    interrupted=lambda: False,
    cell: str = "lstm",
    clock=lambda: 0.0,
    **settings: Any,
) -> Loop:
    """A run of a model small enough for a test, telling the recorder."""
    settings = {"lanes": 4, "window": 8, "log_every": 1, "warmup": 5, "save_seconds": 1e9, "dropout": 0.1, **settings}
    config = TrainingConfig(**settings)
    feed, state = begin(prepared, ModelConfig(cell=cell, hidden_size=12), config)
    horizon = Horizon.of(config, feed.windows, feed.lanes * feed.window)
    return Loop(state, feed, horizon, config, Events([recorder]), recorder, interrupted, clock)
