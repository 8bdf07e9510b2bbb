"""The encoder: embedding and L recurrent blocks, what every model here has below its output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tidegate.config import ModelConfig
from tidegate.nn.dropout import DropoutMasks, Shares
from tidegate.nn.recurrent import Recurrent
from tidegate.nn.sequence import LayerState
from tidegate.theory.normalization import EPS

State = tuple[LayerState, ...]


class Features(NamedTuple):
    """What the layers below the output layer compute."""

    x: Tensor
    """what the output layer reads, ``(T, B, H)``; in a language model E for H where it is tied"""
    state: State
    """after the last step"""
    last: Tensor
    """output of the last cell, ``(T, B, H)``"""
    last_dropped: Tensor
    """the same after dropout"""


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
        self,
        x: Tensor,
        state: LayerState | None,
        fresh: Tensor | None,
        masks: DropoutMasks | None,
        layer: int,
        share: float,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, LayerState, Tensor, Tensor]:
        """Map x ``(T, B, H)`` to the same shape, and the layer's state to its next; `share` of the cell's units are
        dropped under masks; lengths: ``(B,)``, see `run_cell`. Returns the cell's output, before and after dropout,
        as well."""
        weight_hh = None
        if masks is not None and masks.shares.weight:
            weight_hh = masks.weights(self.cell.recurrent_weight(), layer)
        y, state = self.cell(x if self.norm is None else self.norm(x), state, fresh, weight_hh, lengths)
        dropped = y if masks is None else masks.units(y, share, layer + 1)
        return (dropped if self.norm is None else x + dropped), state, y, dropped


class Encoder(nn.Module):
    """Turns each token, and all before it, into a vector.

    The parameters' names and shapes are those of the model folder (`tidegate.folder.tensors.encoder_shapes`).
    """

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.config = config
        E, H = config.E, config.hidden_size
        self.embedding = nn.Embedding(vocabulary_size, E)
        self.embedding_projection = nn.Linear(E, H, bias=False) if E != H else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.final_norm = RMSNorm(H) if config.block == "residual" else None

    def draw_embedding(self) -> None:
        """Draw the embedding's start values, after all others; the table of what is not a cell:

        | tensor | start |
        | --- | --- |
        | embedding, free | normal, std 0.5: the residual stream starts at the size that the cells' outputs have |
        | embedding, tied | normal, std 1/√E: as an output layer it gives logits of about unit size |
        | projections, output layers | uniform in ±1/√(inputs); bias zero |
        | cells | see `Recurrent` |
        """
        nn.init.normal_(self.embedding.weight, std=self.config.E**-0.5 if self.config.tied else 0.5)

    def encode(
        self,
        inputs: Tensor,
        state: State | None = None,
        fresh: Tensor | None = None,
        masks: DropoutMasks | None = None,
        lengths: Tensor | None = None,
    ) -> Features:
        """Compute a vector for each token, ``(T, B, H)``, and the state.

        inputs: ``(T, B)`` int64; state: one a layer, None means zeros; fresh: ``(T, B)`` bool, lengths: ``(B,)``
        int64, see `run_cell`; masks: dropout while training, None for none.
        """
        shares = Shares() if masks is None else masks.shares
        x = self.embedding(inputs)
        if masks is not None:
            x = masks.words(x, inputs, self.embedding.num_embeddings)
        if self.embedding_projection is not None:
            x = self.embedding_projection(x)
        if masks is not None:
            x = masks.units(x, shares.input, 0)
        after, last, dropped = [], x, x
        for i, block in enumerate(self.blocks):
            # in the plain form the output layer reads the last cell itself, and the mask before it is the only one
            ends = self.final_norm is None and i + 1 == len(self.blocks)
            share = shares.output if ends else shares.hidden
            before = None if state is None else state[i]
            x, layer_state, last, dropped = block(x, before, fresh, masks, i, share, lengths)
            after.append(layer_state)
        if self.final_norm is not None:
            x = self.final_norm(x)
            if masks is not None:
                x = masks.units(x, shares.output, len(self.blocks) + 1)
        return Features(x, tuple(after), last, dropped)

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
