"""The language model: embedding, L recurrent blocks, output layer; the same computation as `tidegate.runtime.model`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tidegate.config import ModelConfig
from tidegate.nn.dropout import DropoutMasks
from tidegate.nn.loss import linear_cross_entropy
from tidegate.nn.recurrent import Recurrent
from tidegate.nn.sequence import LayerState
from tidegate.theory.normalization import EPS

State = tuple[LayerState, ...]


class RMSNorm(nn.Module):
    """``x / sqrt(mean(x²) + eps) ⊙ weight`` over the last axis (Zhang & Sennrich 2019, arXiv 1910.07467)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x ``(…, size)``."""
        return F.rms_norm(x, self.weight.shape, self.weight, EPS)


class Block(nn.Module):
    """``x + dropout(cell(rmsnorm(x)))``, or, in the plain form, ``dropout(cell(x))``."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = RMSNorm(config.hidden_size) if config.block == "residual" else None
        self.cell = Recurrent(config.cell, config.hidden_size, config.hidden_size)

    def forward(
        self, x: Tensor, state: LayerState | None, fresh: Tensor | None, masks: DropoutMasks | None, site: int
    ) -> tuple[Tensor, LayerState]:
        """Map x ``(T, B, H)`` to the same shape, and the layer's state to its next."""
        y, state = self.cell(x if self.norm is None else self.norm(x), state, fresh)
        if masks is not None:
            y = masks.apply(y, site)
        return (y if self.norm is None else x + y), state


class LanguageModel(nn.Module):
    """Predicts each next token from all tokens before it.

    The parameters' names and shapes are those of the model folder (`tidegate.folder.tensors.expected_shapes`).
    """

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.config = config
        E, H = config.E, config.hidden_size
        self.embedding = nn.Embedding(vocabulary_size, E)
        self.embedding_projection = nn.Linear(E, H, bias=False) if E != H else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.final_norm = RMSNorm(H) if config.block == "residual" else None
        self.output_projection = nn.Linear(H, E, bias=False) if config.tied and E != H else None
        self.output = nn.Linear(E if config.tied else H, vocabulary_size)
        self._initialise()

    def _initialise(self) -> None:
        """Draw the start values of all that is not a cell; the table:

        | tensor | start |
        | --- | --- |
        | embedding, free | normal, std 0.5: the residual stream starts at the size that the cells' outputs have |
        | embedding, tied | normal, std 1/√E: as an output layer it gives logits of about unit size |
        | projections, output | uniform in ±1/√(inputs); bias zero |
        | cells | see `Recurrent` |
        """
        std = self.config.E**-0.5 if self.config.tied else 0.5
        nn.init.normal_(self.embedding.weight, std=std)
        nn.init.zeros_(self.output.bias)
        if self.config.tied:
            self.output.weight = self.embedding.weight

    def forward(
        self,
        inputs: Tensor,
        state: State | None = None,
        fresh: Tensor | None = None,
        masks: DropoutMasks | None = None,
    ) -> tuple[Tensor, State]:
        """Compute the logits of each next token.

        inputs: ``(T, B)`` int64; state: one a layer, None means zeros; fresh: ``(T, B)`` bool, see `run_cell`;
        masks: dropout while training, None for none. Returns logits ``(T, B, V)`` and the state after the last step.
        """
        x, after = self._features(inputs, state, fresh, masks)
        return self.output(x), after

    def loss(
        self,
        inputs: Tensor,
        targets: Tensor,
        weight: Tensor | None = None,
        state: State | None = None,
        fresh: Tensor | None = None,
        masks: DropoutMasks | None = None,
    ) -> tuple[Tensor, State]:
        """Compute the summed loss of each next token, without holding all logits where the native core computes.

        targets: ``(T, B)`` int64; weight: ``(T, B)``, the factor on each token's loss, None means ones; the others as
        in `forward`. Returns a scalar, in nats, and the state after the last step.
        """
        x, after = self._features(inputs, state, fresh, masks)
        return linear_cross_entropy(x, self.output.weight, self.output.bias, targets, weight), after

    def _features(
        self, inputs: Tensor, state: State | None, fresh: Tensor | None, masks: DropoutMasks | None
    ) -> tuple[Tensor, State]:
        """Return what the output layer reads, ``(T, B, H)``, or E for H where it is tied, and the state after."""
        x = self.embedding(inputs)
        if self.embedding_projection is not None:
            x = self.embedding_projection(x)
        if masks is not None:
            x = masks.apply(x, 0)
        after = []
        for i, block in enumerate(self.blocks):
            x, layer_state = block(x, None if state is None else state[i], fresh, masks, i + 1)
            after.append(layer_state)
        if self.final_norm is not None:
            x = self.final_norm(x)
        if self.output_projection is not None:
            x = self.output_projection(x)
        return x, tuple(after)

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the weights by the model folder's names; a tied matrix once."""
        return {name: parameter.detach().cpu().numpy() for name, parameter in self.named_parameters()}

    def load_tensors(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Copy weights given by the model folder's names and shapes into the model."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(torch.from_numpy(tensors[name]))


def detach(state: State) -> State:
    """Cut the state from the graph that made it: this is where truncated BPTT truncates."""
    return tuple(type(layer)(*(s.detach() for s in layer)) for layer in state)
