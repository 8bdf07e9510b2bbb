"""Which of a model's weights learn, how fast, and from when: the optimizer's groups."""

from __future__ import annotations

from typing import Any

from torch import nn

from tidegate.config import TrainingConfig
from tidegate.folder.label_folder import SECOND
from tidegate.models.encoder import Encoder
from tidegate.tuning import TuningConfig

HEADS = ("head.", "word_", "character_", "sentence_layer.", "emission.", "crf.")
"""the beginnings of what stands above an encoder for a task"""
OF_PART = {
    "embedding": ("embedding.", "embedding_projection."),
    "blocks": ("blocks.",),
    "output": ("output.", "output_projection.", "final_norm.", *HEADS),
}
"""the beginnings of the names of each part's parameters; a tied matrix is the embedding's"""


def freeze(model: Encoder, parts: tuple[str, ...]) -> None:
    """Have the weights of these parts stay as they are."""
    for part in parts:
        for name, parameter in model.named_parameters():
            if name.removeprefix(SECOND).startswith(OF_PART[part]):
                parameter.requires_grad_(False)


def freeze_encoder(model: Encoder) -> None:
    """Have all stay as it is but what stands above the encoder for a task."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(HEADS))


def parameter_groups(model: nn.Module, config: TrainingConfig, tuning: TuningConfig | None) -> list[dict[str, Any]]:
    """Return the groups for AdamW: decay falls on matrices alone. Each has a ``scale``, the factor on the learning
    rate, and ``thaws_at``, the share of the run from which on it learns."""
    groups: dict[tuple[bool, float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        scale, thaws_at = 1.0, 0.0
        if tuning is not None and isinstance(model, Encoder):
            depth, deepest = _depth(name, model.config.layers), model.config.layers + 1
            scale, thaws_at = tuning.layer_rate**depth, tuning.thaw * depth / deepest
        groups.setdefault((parameter.dim() > 1, scale, thaws_at), []).append(parameter)
    # matrices first, as in runs that had two groups alone: their checkpoints number the parameters in this order
    return [
        {
            "params": parameters,
            "weight_decay": config.weight_decay if is_matrix else 0.0,
            "scale": scale,
            "thaws_at": thaws_at,
        }
        for (is_matrix, scale, thaws_at), parameters in sorted(groups.items(), key=lambda item: not item[0][0])
    ]


def _depth(name: str, layers: int) -> int:
    """Return how many layers lie between a parameter's and the top: 0 for the output layer, L + 1 for the embedding."""
    name = name.removeprefix(SECOND)
    if name.startswith(OF_PART["output"]):
        return 0
    return layers - int(name.split(".")[1]) if name.startswith("blocks.") else layers + 1
