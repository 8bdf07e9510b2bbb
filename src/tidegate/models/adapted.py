"""A language model that learns low-rank changes to its weights, which themselves stay.

    W' = W + (alpha / rank) · B A        A normal with std 1 / √inputs, B zero: it starts as the model that it changes

The cells take their changes as they are, so that the native core never computes the gradient of a whole weight; the
changed embedding and output layer are made once a window.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from tidegate.config import ModelConfig
from tidegate.folder.adapter import Adapter, check_rank
from tidegate.models.encoder import Block, Features
from tidegate.models.language_model import LanguageModel
from tidegate.nn.low_rank import Changes, LowRank


class AdaptedModel(nn.Module):
    """Low-rank changes as the only parameters; otherwise used as a `LanguageModel`."""

    def __init__(self, base: LanguageModel, names: list[str], rank: int, alpha: float, base_digest: str) -> None:
        """Take a model, whose weights from now on stay, and the names of those to change."""
        super().__init__()
        weights = dict(base.named_parameters())
        check_rank(rank, {name: tuple(weights[name].shape) for name in names})
        base.requires_grad_(False)
        self._unregistered = (base, _Loss(base))  # a tuple, so that its parameters are not this module's
        self._digest, self._rank, self._alpha = base_digest, rank, alpha
        self._names = {name: name.replace(".", ":") for name in names}
        self.A, self.B = nn.ParameterDict(), nn.ParameterDict()
        for name, key in self._names.items():
            outputs, inputs = weights[name].shape
            self.A[key] = nn.Parameter(torch.randn(rank, inputs) * inputs**-0.5)
            self.B[key] = nn.Parameter(torch.zeros(outputs, rank))
        for i, cell in enumerate(block.cell for block in base.blocks if isinstance(block, Block)):
            pair = (self._low_rank(f"blocks.{i}.cell.{name}_l0") for name in ("weight_ih", "weight_hh"))
            cell.changes = Changes(*pair)

    def _low_rank(self, name: str) -> LowRank | None:
        """Return the change to a weight, None where it stays."""
        key = self._names.get(name)
        return None if key is None else LowRank(self.A[key], self.B[key], self._alpha / self._rank)

    @property
    def base(self) -> LanguageModel:
        """The model that is changed."""
        return self._unregistered[0]

    @property
    def config(self) -> ModelConfig:
        """The shape of the model."""
        return self.base.config

    def changed(self, cells: bool = True) -> dict[str, Tensor]:
        """Return the changed weights by their names; cells: those of the cells too."""
        weights = dict(self.base.named_parameters())
        names = (name for name in self._names if cells or not name.startswith("blocks."))
        return {name: change.of(weights[name]) for name in names if (change := self._low_rank(name)) is not None}

    def loss(self, *arguments: Any, **named: Any) -> tuple[Tensor, Features]:
        """Compute what `LanguageModel.loss` does, with the changed weights."""
        weights = {f"model.{name}": weight for name, weight in self.changed(cells=False).items()}
        found: tuple[Tensor, Features] = functional_call(self._unregistered[1], weights, arguments, named)
        return found

    @torch.no_grad()
    def tensors(self) -> dict[str, np.ndarray]:
        """Return the changed weights, and those that are as they were, by the model folder's names."""
        return self.base.tensors() | {name: weight.numpy() for name, weight in self.changed().items()}

    def adapter(self, base: str, weights: dict[str, Tensor] | None = None) -> Adapter:
        """Return the changes as an adapter of the model that people call `base`; weights: copies of this module's
        parameters in place of the present ones."""
        found = dict(self.named_parameters()) if weights is None else weights
        tensors = {
            f"{name}.{kind}": found[f"{kind}.{key}"].detach().numpy()
            for name, key in self._names.items()
            for kind in ("A", "B")
        }
        return Adapter(base, self._digest, self._rank, self._alpha, tensors)


class _Loss(nn.Module):
    """The model's loss as a call, which is what weights can be replaced for."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, *arguments: Any, **named: Any) -> tuple[Tensor, Features]:
        return self.model.loss(*arguments, **named)
