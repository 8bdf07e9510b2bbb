"""``tidegate train``: from raw text to a model folder."""

from __future__ import annotations

from tidegate.config import DataConfig, ModelConfig, RunConfig, TrainingConfig
from tidegate.training.launch import RunSettings, launch


def train(data: DataConfig, model: ModelConfig, training: TrainingConfig, run: RunConfig) -> int:
    """Train a model into a folder; returns the exit code."""
    return launch(RunSettings(data, model, training), run)
