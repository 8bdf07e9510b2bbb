"""Finite differences: whether each backward is the derivative of its forward, over every input, weight and bias.

For a scalar L(θ) the central difference of one element is

    (L(θ + δ) - L(θ - δ)) / 2δ  =  L'(θ) + δ² L''' / 6 + …

L = Σ d_out ⊙ out sums over all N output values, the last states among them, with given random gradients d_out; so its
derivative is what backward must return when it is given d_out.

How close is close enough. All values are drawn of order one: |d_out| ≤ 1 and |out| ≤ 1 or so, hence each of the N terms
of L carries a rounding error of a few ε and a third derivative of order one. The difference then errs by about N ε / δ
by rounding and N δ² / 6 by truncation; δ = ε^(1/3), about 6e-6, balances the two, and together they come to

    |backward - difference|  ≤  ALLOWANCE · N ε^(2/3)          ε = 2.2e-16 of float64, so ε^(2/3) = 3.7e-11

where ALLOWANCE = 8 stands for "a few" and "order one" (over a thousand draws of small sizes needed at most 1.4). A
mistake in a formula changes the gradient by a good part of itself, a million times more. This bound is absolute, since
rounding does not shrink with the gradient; so that a small gradient cannot be wrong within it, its largest element must
also be right to three digits: the relative error is the absolute one divided by the array's largest element (not by
each element: single ones are near zero by cancellation), and at most 1e-3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidegate.theory import normalization, output
from tidegate.theory.cells import cell_named
from tidegate.theory.state import Array

EPSILON = float(np.finfo(np.float64).eps)
DELTA = EPSILON ** (1 / 3)
ALLOWANCE = 8
RELATIVE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Row:
    """How far backward is from the central differences, for one argument."""

    name: str
    """The argument, in the symbols of the equations."""
    shape: tuple[int, ...]
    """Its shape; every element was checked."""
    absolute: float
    """max |backward - differences|."""
    relative: float
    """The same, divided by the largest element of either; 0 where both are zero throughout."""
    tolerance: float
    """The largest absolute error that rounding and truncation explain, ALLOWANCE · N ε^(2/3)."""

    @property
    def passed(self) -> bool:
        """Whether both errors are within their tolerance; NaN is not."""
        return self.absolute <= self.tolerance and self.relative <= RELATIVE_TOLERANCE


def central_differences(loss: Callable[[Array], float], theta: Array) -> Array:
    """Return the derivative of ``loss`` by every element of ``theta``, any shape, in float64."""
    theta = np.array(theta, np.float64)
    result = np.empty_like(theta)
    for at in np.ndindex(theta.shape):
        kept = theta[at]
        above, below = kept + DELTA, kept - DELTA
        theta[at] = above
        loss_above = loss(theta)
        theta[at] = below
        loss_below = loss(theta)
        theta[at] = kept
        result[at] = (loss_above - loss_below) / (above - below)  # the distance as rounded, not as meant
    return result


def compare(
    loss: Callable[[Mapping[str, Array]], float],
    arguments: Mapping[str, Array],
    gradients: Mapping[str, Array],
    outputs: int,
) -> list[Row]:
    """Return one row an argument: ``gradients`` against the central differences of ``loss``, of ``outputs`` values."""
    rows = []
    for name, theta in arguments.items():
        numeric = central_differences(lambda changed, name=name: loss({**arguments, name: changed}), theta)  # type: ignore[misc]
        absolute = float(np.max(np.abs(gradients[name] - numeric), initial=0.0))
        largest = float(max(np.max(np.abs(gradients[name]), initial=0.0), np.max(np.abs(numeric), initial=0.0)))
        relative = absolute / largest if largest != 0 else 0.0
        rows.append(Row(name, theta.shape, absolute, relative, ALLOWANCE * outputs * EPSILON ** (2 / 3)))
    return rows


def random_values(rng: np.random.Generator, *shape: int) -> NDArray[np.float64]:
    """Return float64 values between 0.25 and 1 with random signs: none is zero, so that no mistake hides behind one."""
    return rng.uniform(0.25, 1, shape) * rng.choice([-1.0, 1.0], shape)


def random_parameters(cell: str, I: int, H: int, rng: np.random.Generator) -> Any:
    """Return random non-zero `Parameters`; weights are scaled by 1 / sqrt(columns), against saturation."""
    kind = cell_named(cell).Parameters
    values = {}
    for name in kind._fields:
        columns = I if name.startswith("W_x") else H
        values[name] = random_values(rng, H, columns) / columns**0.5 if name[0] == "W" else random_values(rng, H)
    return kind(**values)


def random_state(cell: str, B: int, H: int, rng: np.random.Generator) -> Any:
    """Return a random non-zero state; for an LSTM h and c differ."""
    kind = cell_named(cell).State
    return kind(*(random_values(rng, B, H) for _ in kind._fields))


def random_fresh(T: int, B: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return ``fresh (T, B)``: about a quarter True, but never lane 0 at step 0, so that ``state_0`` counts."""
    fresh = rng.random((T, B)) < 0.25
    fresh[T // 2, B - 1] = True
    fresh[0, 0] = False
    return fresh


def check_cell(cell: str, T: int, B: int, I: int, H: int, seed: int, *, fresh: bool = True) -> list[Row]:
    """Check a cell's backward over x, each state, each weight and each bias, from random non-zero values.

    Random gradients are given into every output and into the last states; with ``fresh``, some lanes start afresh.
    """
    rng, equations = np.random.default_rng(seed), cell_named(cell)
    x, p, state_0 = random_values(rng, T, B, I), random_parameters(cell, I, H, rng), random_state(cell, B, H, rng)
    d_h, d_state_T = random_values(rng, T, B, H), random_state(cell, B, H, rng)
    starts = random_fresh(T, B, rng) if fresh else None

    state_names = [f"{name}_0" for name in state_0._fields]
    arguments = {"x": x, **dict(zip(state_names, state_0, strict=True)), **p._asdict()}

    def loss(values: Mapping[str, Array]) -> float:
        state = type(state_0)(*(values[name] for name in state_names))
        parameters = type(p)(*(values[name] for name in p._fields))
        h, state_T, _ = equations.forward(values["x"], state, parameters, fresh=starts)
        return float(np.sum(d_h * h) + sum(np.sum(d * s) for d, s in zip(d_state_T, state_T, strict=True)))

    _, _, saved = equations.forward(x, state_0, p, fresh=starts)
    d_x, d_state_0, d_p = equations.backward(d_h, d_state_T, saved, p)
    gradients = {"x": d_x, **dict(zip(state_names, d_state_0, strict=True)), **d_p._asdict()}
    return compare(loss, arguments, gradients, d_h.size + sum(d.size for d in d_state_T))


def check_output(T: int, B: int, H: int, V: int, seed: int) -> list[Row]:
    """Check the output layer and softmax cross-entropy over h, W_hy and b_y, with weights of which some are zero."""
    rng = np.random.default_rng(seed)
    p = output.Parameters(random_values(rng, V, H) / H**0.5, random_values(rng, V))
    targets, weights = rng.integers(0, V, (T, B)), rng.uniform(0.25, 1, (T, B))
    weights[T // 2, B // 2] = 0 if T * B > 1 else 1
    arguments = {"h": random_values(rng, T, B, H), **p._asdict()}

    def loss(values: Mapping[str, Array]) -> float:
        parameters = output.Parameters(values["W_hy"], values["b_y"])
        return float(output.forward(values["h"], targets, weights, parameters)[0])

    d_h, d_p = output.backward(output.forward(arguments["h"], targets, weights, p)[1], p)
    return compare(loss, arguments, {"h": d_h, **d_p._asdict()}, T * B * V)


def check_rms_norm(T: int, B: int, H: int, seed: int) -> list[Row]:
    """Check RMS normalization over x and its weight."""
    rng = np.random.default_rng(seed)
    arguments, d_y = {"x": random_values(rng, T, B, H), "weight": random_values(rng, H)}, random_values(rng, T, B, H)

    def loss(values: Mapping[str, Array]) -> float:
        return float(np.sum(d_y * normalization.rms_norm(values["x"], values["weight"])))

    d_x, d_weight = normalization.backward(d_y, normalization.forward(arguments["x"], arguments["weight"])[1])
    return compare(loss, arguments, {"x": d_x, "weight": d_weight}, d_y.size)
