"""The same model by PyTorch's own modules in float64, from a folder's tensors: the oracle of the running half."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from tidegate.config import ModelConfig

MODULES = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}


def logits_of(config: ModelConfig, tensors: Mapping[str, NDArray[Any]], ids: Sequence[int]) -> NDArray[np.float64]:
    """Return the logits ``(T, V)`` of every next token, in float64."""
    w = {name: torch.from_numpy(np.asarray(tensor, np.float64)) for name, tensor in tensors.items()}
    x = F.embedding(torch.tensor(list(ids)), w["embedding.weight"])[:, None]
    if config.hidden_size != config.E:
        x = F.linear(x, w["embedding_projection.weight"])
    for i in range(config.layers):
        cell = {n: w[f"blocks.{i}.cell.{n}"] for n in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")}
        if config.block == "residual":
            x = x + _run(config, norm(x, w[f"blocks.{i}.norm.weight"]), cell)
        else:
            x = _run(config, x, cell)
    if config.block == "residual":
        x = norm(x, w["final_norm.weight"])
    if "output_projection.weight" in w:
        x = F.linear(x, w["output_projection.weight"])
    output = w["embedding.weight"] if config.tied else w["output.weight"]
    return F.linear(x, output, w["output.bias"])[:, 0].numpy()


def norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return F.rms_norm(x, weight.shape, weight, 1e-6)


def _run(config: ModelConfig, x: torch.Tensor, cell: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return h ``(T, 1, H)`` of one layer, from zeros on."""
    H = config.hidden_size
    if config.cell != "gru_reset_before":
        module = MODULES[config.cell](H, H, dtype=torch.float64)
        module.load_state_dict(cell)
        with torch.no_grad():
            return module(x)[0]
    w_xr, w_xz, w_xn = cell["weight_ih_l0"].split(H)
    w_hr, w_hz, w_hn = cell["weight_hh_l0"].split(H)
    b_r, b_z, b_n = (cell["bias_ih_l0"] + cell["bias_hh_l0"]).split(H)
    h, outputs = torch.zeros(1, H, dtype=torch.float64), []
    for x_t in x:
        r = torch.sigmoid(F.linear(x_t, w_xr) + F.linear(h, w_hr) + b_r)
        z = torch.sigmoid(F.linear(x_t, w_xz) + F.linear(h, w_hz) + b_z)
        n = torch.tanh(F.linear(x_t, w_xn) + F.linear(r * h, w_hn) + b_n)
        h = (1 - z) * n + z * h
        outputs.append(h)
    return torch.stack(outputs)
