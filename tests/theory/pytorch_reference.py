"""The same cells by PyTorch's autograd in float64: what the hand-written equations are compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tidegate.theory.cells import cell_named
from tidegate.theory.finite_differences import random_fresh, random_state, random_values
from tidegate.theory.layout import GATES, from_stacked, stack_gradients

MODULES = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}


def largest_differences(cell: str, T: int, B: int, I: int, H: int, seed: int) -> dict[str, float]:
    """Return the largest difference, relative to the largest value, of every output, state and gradient by name."""
    rng, G = np.random.default_rng(seed), len(GATES[cell])
    shapes = {"weight_ih": (G * H, I), "weight_hh": (G * H, H), "bias_ih": (G * H,), "bias_hh": (G * H,)}
    stacked = {name: random_values(rng, *shape) / shape[-1] ** 0.5 for name, shape in shapes.items()}
    x, state_0 = random_values(rng, T, B, I), random_state(cell, B, H, rng)
    d_h, d_state_T = random_values(rng, T, B, H), random_state(cell, B, H, rng)
    fresh = random_fresh(T, B, rng)

    p, equations = from_stacked(cell, **stacked), cell_named(cell)
    h, state_T, saved = equations.forward(x, state_0, p, fresh=fresh)
    d_x, d_state_0, d_p = equations.backward(d_h, d_state_T, saved, p)
    mine = {"h": h, "d_x": d_x, **stack_gradients(cell, d_p)}
    mine |= {f"{name}_T": value for name, value in state_T._asdict().items()}
    mine |= {f"d_{name}_0": value for name, value in d_state_0._asdict().items()}
    theirs = autograd(cell, x, state_0, stacked, fresh, d_h, d_state_T)
    assert mine.keys() == theirs.keys()
    return {name: float(np.abs(mine[name] - theirs[name]).max() / np.abs(theirs[name]).max()) for name in theirs}


def autograd(cell: str, x: Any, state_0: Any, stacked: Any, fresh: Any, d_h: Any, d_state_T: Any) -> dict[str, Any]:
    """Step PyTorch's own module, or the equations of arXiv 1406.1078v3, and differentiate by autograd."""
    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in stacked.items()}
    x_leaf = torch.tensor(x, requires_grad=True)
    state_leaf = [torch.tensor(value, requires_grad=True) for value in state_0]
    state, outputs = state_leaf, []
    for x_t, fresh_t in zip(x_leaf, torch.tensor(fresh), strict=True):
        state = [torch.where(fresh_t[:, None], 0.0, value) for value in state]
        state = reset_before(x_t, state[0], leaves) if cell == "gru_reset_before" else module(cell, x_t, state, leaves)
        outputs.append(state[0])
    h = torch.stack(outputs)
    loss = (h * torch.tensor(d_h)).sum()
    loss = loss + sum((s * torch.tensor(d)).sum() for s, d in zip(state, d_state_T, strict=True))
    loss.backward()
    names = state_0._fields
    found: dict[str, Any] = {"h": h, "d_x": x_leaf.grad, **{name: leaf.grad for name, leaf in leaves.items()}}
    found |= {f"{name}_T": value for name, value in zip(names, state, strict=True)}
    found |= {f"d_{name}_0": leaf.grad for name, leaf in zip(names, state_leaf, strict=True)}
    return {name: value.detach().numpy() for name, value in found.items()}


def module(cell: str, x_t: Any, state: list[Any], leaves: dict[str, Any]) -> list[Any]:
    I, H = x_t.shape[1], state[0].shape[1]
    layer = MODULES[cell](I, H, dtype=torch.float64)
    carried = tuple(value[None] for value in state)
    weights = {f"{name}_l0": leaf for name, leaf in leaves.items()}
    _, last = torch.func.functional_call(layer, weights, (x_t[None], carried if cell == "lstm" else carried[0]))
    return [value[0] for value in (last if cell == "lstm" else (last,))]


def reset_before(x_t: Any, h: Any, leaves: dict[str, Any]) -> list[Any]:
    W_xr, W_xz, W_xn = leaves["weight_ih"].chunk(3)
    W_hr, W_hz, W_hn = leaves["weight_hh"].chunk(3)
    b_r, b_z, b_n = (leaves["bias_ih"] + leaves["bias_hh"]).chunk(3)
    r = torch.sigmoid(x_t @ W_xr.T + h @ W_hr.T + b_r)
    z = torch.sigmoid(x_t @ W_xz.T + h @ W_hz.T + b_z)
    n = torch.tanh(x_t @ W_xn.T + (r * h) @ W_hn.T + b_n)
    return [(1 - z) * n + z * h]
