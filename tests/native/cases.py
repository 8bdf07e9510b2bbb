"""A case for the recurrent kernels, what the float64 theory and autograd expect of it, and the core's own answer."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import torch

from tidegate import native
from tidegate.nn.composite import GATE_COUNT, CellWeights, run_steps
from tidegate.theory import cells
from tidegate.theory.layout import from_stacked, stack_gradients
from tidegate.theory.state import HiddenState, LSTMState

CELLS = tuple(GATE_COUNT)
WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
INPUTS = ("x", "h_0", "c_0", *WEIGHTS)
IDENTITY = 16


@dataclass
class Case:
    """All that goes into forward and backward; float32 arrays, None for what is left out."""

    cell: str
    x: Any
    h_0: Any
    c_0: Any
    weight_ih: Any
    weight_hh: Any
    bias_ih: Any
    bias_hh: Any
    fresh: Any
    lengths: Any
    d_h: Any
    d_h_T: Any
    d_c_T: Any

    @property
    def sizes(self):
        """T, B, I, H."""
        return (*self.x.shape, self.weight_hh.shape[1])

    @property
    def tolerance(self):
        """The bound on an element's error, relative to the largest of its array.

        A result of forward is a sum of I + H + 2 products, each rounded once as the sum is; a gradient of a weight is a
        sum of T·B more. So a step adds at most (I + H + 2 + T·B) eps of the terms' size. The matrices of `random_case`
        have norms of about one half of what σ' ≤ 1/4 and tanh' ≤ 1 then damp, and forget gates stay below 0.8: errors
        of earlier steps come in with a weight below 1 / (1 - 0.8) = 5 in all. 8 leaves room for the activations, whose
        own error is a few eps, and for terms that are larger than the largest result.
        """
        T, B, I, H = self.sizes
        return 8 * (I + H + 2 + T * B) * float(np.finfo(np.float32).eps)


def random_case(cell, T, B, I, H, seed=0, *, without=(), fresh=False, lengths=False):
    """Random non-zero states, weights, biases and gradients; `without` names what is left out."""
    rng, rows = np.random.default_rng([seed, T, B, I, H]), GATE_COUNT[cell] * H

    def draw(name, *shape, scale=0.5):
        values = (rng.standard_normal(shape) * scale).astype(np.float32)
        return None if name in without or (name in ("c_0", "d_c_T") and cell != "lstm") else values

    return Case(
        cell, draw("x", T, B, I), draw("h_0", B, H), draw("c_0", B, H),
        draw("weight_ih", rows, I, scale=0.5 / I**0.5), draw("weight_hh", rows, H, scale=0.25 / H**0.5),
        draw("bias_ih", rows, scale=0.3), draw("bias_hh", rows, scale=0.3),
        rng.random((T, B)) < 0.2 if fresh else None, rng.integers(0, T + 1, B) if lengths else None,
        draw("d_h", T, B, H), draw("d_h_T", B, H), draw("d_c_T", B, H),
    )  # fmt: skip


def integer_case(cell, T, B, I, H, seed=0):
    """Small integers, so few that with the identity for activation every sum is exact in float32."""
    case, rng = random_case(cell, T, B, I, H, seed, fresh=True, lengths=True), np.random.default_rng(seed)
    for name in (*INPUTS, "d_h", "d_h_T", "d_c_T"):
        array = getattr(case, name)
        if array is not None:
            dense = min(0.7, 2 / array.shape[1]) if name.startswith("weight") else 0.7
            array[:] = rng.integers(-1, 2, array.shape) * (rng.random(array.shape) < dense)
    return case


# ---- What is expected ------------------------------------------------------------------------------------------------


def by_theory(case):
    """Outputs and gradients by the hand-written float64 equations, lane by lane, since each ends at its own length."""
    module, (T, B, I, H) = cells.CELLS[case.cell], case.sizes
    rows = len(case.weight_ih)
    weights = [np.zeros(rows) if w is None else w.astype(float) for w in (getattr(case, name) for name in WEIGHTS)]
    p, kind = from_stacked(case.cell, *weights), module.State
    found = {"h": np.zeros((T, B, H)), "h_T": np.zeros((B, H)), "c_T": np.zeros((B, H))}
    found |= {"d_x": np.zeros((T, B, I)), "d_h_0": np.zeros((B, H)), "d_c_0": np.zeros((B, H))}
    found |= {f"d_{name}": np.zeros(w.shape) for name, w in zip(WEIGHTS, weights, strict=True)}
    parts = kind._fields
    for b in range(B):
        n, lane = T if case.lengths is None else int(case.lengths[b]), slice(b, b + 1)
        state = kind(*(_lane(getattr(case, f"{s}_0"), lane, H) for s in parts))
        d_last = kind(*(_lane(getattr(case, f"d_{s}_T"), lane, H) for s in parts))
        fresh = None if case.fresh is None else case.fresh[:n, lane]
        h, last, saved = module.forward(case.x[:n, lane].astype(float), state, p, fresh=fresh)
        d_h = np.zeros_like(h) if case.d_h is None else case.d_h[:n, lane].astype(float)
        d_x, d_state, d_p = module.backward(d_h, d_last, saved, p)
        found["h"][:n, lane], found["d_x"][:n, lane] = h, d_x
        for s in parts:
            found[f"{s}_T"][lane], found[f"d_{s}_0"][lane] = getattr(last, s), getattr(d_state, s)
        for name, gradient in stack_gradients(case.cell, d_p).items():
            found[f"d_{name}"] += gradient
    return _of_this(case, found)


def _lane(array, lane, H):
    return np.zeros((1, H)) if array is None else array[lane].astype(float)


def by_autograd(case, identity=False):
    """The same by PyTorch's autograd in float64, from elementary operators."""
    T, B, I, H = case.sizes
    rows = len(case.weight_ih)
    shapes = dict(zip(INPUTS, ((T, B, I), (B, H), (B, H), (rows, I), (rows, H), (rows,), (rows,)), strict=True))
    leaves = {}
    for name, shape in shapes.items():
        array = getattr(case, name)
        leaves[name] = torch.zeros(shape).double() if array is None else torch.from_numpy(array).double()
        leaves[name].requires_grad_()
    state = LSTMState(leaves["h_0"], leaves["c_0"]) if case.cell == "lstm" else HiddenState(leaves["h_0"])
    fresh, lengths = (None if a is None else torch.from_numpy(a) for a in (case.fresh, case.lengths))
    same = dict.fromkeys(("sigmoid", "tanh", "relu"), lambda a: a)
    with mock.patch.multiple(torch, **same) if identity else contextlib.nullcontext():
        weights = CellWeights(*(leaves[name] for name in WEIGHTS))
        h, last = run_steps(case.cell, leaves["x"], state, weights, fresh, lengths)
    pairs = zip((h, *last), (case.d_h, case.d_h_T, case.d_c_T), strict=False)
    given = [(o, torch.from_numpy(d).double()) for o, d in pairs if d is not None]
    gradients = torch.autograd.grad(
        [o for o, _ in given], list(leaves.values()), [d for _, d in given], allow_unused=True
    )
    found = {"h": h, "h_T": last.h, "c_T": getattr(last, "c", None)}
    found |= {
        f"d_{name}": torch.zeros(shapes[name]) if d is None else d for name, d in zip(leaves, gradients, strict=True)
    }
    return _of_this(case, {name: None if t is None else t.detach().numpy() for name, t in found.items()})


def _of_this(case, found):
    """Only what this cell has."""
    return {name: array for name, array in found.items() if case.cell == "lstm" or name not in ("c_T", "d_c_0")}


# ---- What the core answers -------------------------------------------------------------------------------------------


def by_core(core, case, threads=1, identity=False, unwanted=()):
    """Forward and backward in buffers full of NaN: whatever is not written shows."""
    T, B, I, H = case.sizes
    rows, number = len(case.weight_ih), native.CELLS[case.cell] + IDENTITY * identity
    shapes = {"h": (T, B, H), "h_T": (B, H), "c_T": (B, H), "d_x": (T, B, I), "d_h_0": (B, H), "d_c_0": (B, H)}
    shapes |= {"d_weight_ih": (rows, I), "d_weight_hh": (rows, H), "d_bias_ih": (rows,), "d_bias_hh": (rows,)}
    found = {name: np.full(shape, np.nan, np.float32) for name, shape in shapes.items()}
    found = {name: None if name in unwanted else array for name, array in _of_this(case, found).items()}
    saved = np.full(core.saved_size(number, T, B, I, H), np.nan, np.float32)
    fresh = case.fresh
    core.sequence_forward(
        number, case.x, case.h_0, case.c_0, case.weight_ih, case.weight_hh, case.bias_ih, case.bias_hh, fresh,
        case.lengths, found["h"], found["h_T"], found.get("c_T"), saved, threads,
    )  # fmt: skip
    kept = saved.copy()
    core.sequence_backward(
        number, case.x, case.h_0, case.c_0, case.weight_ih, case.weight_hh, fresh, case.lengths, found["h"], saved,
        case.d_h, case.d_h_T, case.d_c_T, *(found.get(f"d_{name}") for name in INPUTS), threads,
    )  # fmt: skip
    np.testing.assert_array_equal(kept, saved, err_msg="backward changed what forward saved")
    return {name: array for name, array in found.items() if array is not None}


def check(found, expected, tolerance, case=None):
    """Compare each array with what is expected, up to `tolerance` of its largest value."""
    for name, array in found.items():
        limit = tolerance * max(1.0, float(np.abs(expected[name]).max(initial=0)))
        worst = np.abs(array - expected[name]).max(initial=0)
        assert worst <= limit, f"{name} is wrong by {worst:.3g}, {limit:.3g} is allowed, {case and case.sizes}"
