"""Infinite and undefined numbers go where the equations send them, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tidegate.nn.loss import linear_cross_entropy

from .cases import CELLS
from .test_operators import call, known, tensors


@pytest.mark.parametrize("H", [16, 17])
@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != "rnn_relu"])
def test_an_infinite_input_reaches_what_it_reaches_in_pytorch(core, cell, H):
    """At H = 17 fifteen units of the last block are padding: a NaN born there, of 0 times infinity, must stay there."""
    leaves, _, _ = tensors(cell, T=4, B=2, I=3, H=H, fresh=False, lengths=False)
    with torch.no_grad():
        leaves["x"][1, 0, 0] = np.inf
        leaves["weight_ih"][:, 0] = leaves["weight_ih"][:, 0].abs() + 0.1  # all gates saturate, to finite values
    double = {name: None if t is None else t.detach().double().requires_grad_() for name, t in leaves.items()}
    for outputs in zip(call(cell, leaves), call(cell, double), strict=True):
        torch.testing.assert_close(outputs[0].double(), outputs[1], rtol=1e-4, atol=1e-5, equal_nan=True)
    names = [name for name, t in leaves.items() if t is not None]
    found, wanted = (torch.autograd.grad(sum(o.sum() for o in call(cell, t)), known(t)) for t in (leaves, double))
    for name, mine, theirs in zip(names, found, wanted, strict=True):
        if name != "weight_ih":  # its column is 0 · inf, in every order of the sum
            torch.testing.assert_close(
                mine.double(), theirs, rtol=1e-3, atol=1e-4, equal_nan=True, msg=lambda m, name=name: f"{name}: {m}"
            )
    assert bool(torch.isfinite(dict(zip(names, found, strict=True))["h_0"]).all())


@pytest.mark.parametrize("how", ["ignored", "of no weight"])
def test_a_row_that_does_not_count_may_hold_anything(core, how):
    x, weight = torch.randn(40, 20), torch.randn(30, 20, requires_grad=True)
    targets, factors = torch.randint(30, (40,)), torch.ones(40)
    with torch.no_grad():
        x[7], x[39] = np.nan, np.inf
    if how == "ignored":
        targets[[7, 39]] = -100
    else:
        factors[[7, 39]] = 0
    x.requires_grad_()
    loss = linear_cross_entropy(x, weight, None, targets, factors)
    d_x, d_weight = torch.autograd.grad(loss, (x, weight))
    rest = [i for i in range(40) if i not in (7, 39)]
    alone = linear_cross_entropy(x[rest], weight, None, targets[rest])
    wanted_x, wanted_weight = torch.autograd.grad(alone, (x, weight))
    torch.testing.assert_close(loss, alone)
    torch.testing.assert_close(d_weight, wanted_weight, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(d_x, wanted_x, rtol=1e-4, atol=1e-5)
