"""The hand-written forward and backward agree with PyTorch's autograd in float64, from random non-zero values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tidegate.theory import lstm, normalization, output
from tidegate.theory.cells import CELLS
from tidegate.theory.finite_differences import random_values
from tidegate.theory.layout import from_stacked, stack_gradients
from tidegate.theory.state import LSTMState

from .pytorch_reference import largest_differences

# both sides sum up to T·B·(I + H) < 200 float64 products in their own order, over T steps: some thousand eps, not 1e-9
TOLERANCE = 5e-13
SHAPES = [(1, 1, 1, 1), (3, 1, 7, 3), (7, 3, 1, 7), (5, 7, 3, 1), (7, 2, 3, 3)]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_value_and_gradient_agrees(cell: str, shape: tuple[int, int, int, int]) -> None:
    for name, difference in largest_differences(cell, *shape, seed=sum(shape)).items():
        assert difference < TOLERANCE, name


def test_a_whole_lstm_sequence_in_one_call() -> None:
    """The module's own time loop, without resets, rather than its single steps."""
    rng, (T, B, I, H) = np.random.default_rng(4), (7, 3, 5, 3)
    layer = torch.nn.LSTM(I, H, dtype=torch.float64)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.tensor(random_values(rng, *parameter.shape)))
    p = from_stacked("lstm", *(parameter.detach().numpy() for parameter in layer.parameters()))
    x, h_0, c_0 = random_values(rng, T, B, I), random_values(rng, B, H), random_values(rng, B, H)
    d_h, d_h_T, d_c_T = random_values(rng, T, B, H), random_values(rng, B, H), random_values(rng, B, H)

    h, _, saved = lstm.forward(x, LSTMState(h_0, c_0), p)
    d_x, d_state_0, d_p = lstm.backward(d_h, LSTMState(d_h_T, d_c_T), saved, p)

    leaves: list[Any] = [torch.tensor(value, requires_grad=True) for value in (x, h_0, c_0)]
    out, (h_T, c_T) = layer(leaves[0], (leaves[1][None], leaves[2][None]))
    given = [torch.tensor(d) for d in (d_h, d_h_T[None], d_c_T[None])]
    torch.autograd.backward([out, h_T, c_T], given)
    np.testing.assert_allclose(h, out.detach().numpy(), atol=TOLERANCE)
    for mine, leaf in zip((d_x, d_state_0.h, d_state_0.c), leaves, strict=True):
        np.testing.assert_allclose(mine, leaf.grad.numpy(), atol=TOLERANCE)
    for name, gradient in stack_gradients("lstm", d_p).items():
        np.testing.assert_allclose(gradient, getattr(layer, f"{name}_l0").grad.numpy(), atol=50 * TOLERANCE)


def test_output_layer_and_cross_entropy() -> None:
    rng, (T, B, H, V) = np.random.default_rng(5), (7, 3, 5, 9)
    h, p = random_values(rng, T, B, H), output.Parameters(random_values(rng, V, H), random_values(rng, V))
    targets, weights = rng.integers(0, V, (T, B)), rng.uniform(0, 2, (T, B))
    loss, saved = output.forward(h, targets, weights, p)
    d_h, d_p = output.backward(saved, p)

    leaves: list[Any] = [torch.tensor(value, requires_grad=True) for value in (h, p.W_hy, p.b_y)]
    y = torch.nn.functional.linear(*leaves)
    nats = torch.nn.functional.cross_entropy(y.reshape(-1, V), torch.tensor(targets).reshape(-1), reduction="none")
    theirs = (nats * torch.tensor(weights).reshape(-1)).sum()
    theirs.backward()
    np.testing.assert_allclose(loss, theirs.item(), rtol=TOLERANCE)
    for mine, leaf in zip((d_h, d_p.W_hy, d_p.b_y), leaves, strict=True):
        np.testing.assert_allclose(mine, leaf.grad.numpy(), atol=50 * TOLERANCE)


def test_rms_norm() -> None:
    rng = np.random.default_rng(6)
    x, weight, d_y = random_values(rng, 5, 3, 7), random_values(rng, 7), random_values(rng, 5, 3, 7)
    y, saved = normalization.forward(x, weight)
    d_x, d_weight = normalization.backward(d_y, saved)

    leaves: list[Any] = [torch.tensor(value, requires_grad=True) for value in (x, weight)]
    theirs = torch.nn.functional.rms_norm(leaves[0], (7,), leaves[1], eps=normalization.EPS)
    theirs.backward(torch.tensor(d_y))
    np.testing.assert_allclose(y, theirs.detach().numpy(), atol=TOLERANCE)
    np.testing.assert_allclose(d_x, leaves[0].grad.numpy(), atol=TOLERANCE)
    np.testing.assert_allclose(d_weight, leaves[1].grad.numpy(), atol=50 * TOLERANCE)
