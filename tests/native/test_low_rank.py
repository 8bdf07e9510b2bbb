"""Gradients of low-rank changes: d_A = Bᵀ d_W and d_B = d_W Aᵀ, without d_W, at every shape and cell."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tidegate import native
from tidegate.nn.low_rank import Changes, LowRank, run_changed_cell
from tidegate.nn.sequence import CellWeights
from tidegate.theory.state import HiddenState, LSTMState

from .cases import CELLS, IDENTITY, INPUTS, by_autograd, by_core, by_theory, integer_case, random_case

SHAPES = [(1, 1, 1, 1), (5, 3, 7, 9), (9, 17, 33, 40), (70, 1, 16, 16), (13, 40, 48, 31)]
RANKS = [1, 7, 16, 17, 40]


def low_rank_of(case, rank, seed=1, integers=False):
    """A and B of both weights, none of them zero."""
    rng = np.random.default_rng(seed)
    _, _, I, H = case.sizes
    rows = len(case.weight_ih)

    def draw(*shape):
        values = rng.integers(-1, 2, shape) if integers else rng.standard_normal(shape) * 0.3
        return values.astype(np.float32)

    return {"ih": (draw(rank, I), draw(rows, rank)), "hh": (draw(rank, H), draw(rows, rank))}


def gradients_by_core(core, case, low, threads=1, identity=False, only=("ih", "hh")):
    """The core's answer, in buffers full of NaN: whatever is not written shows."""
    number = native.CELLS[case.cell] + IDENTITY * identity
    T, B, I, H = case.sizes
    h, h_T = np.empty((T, B, H), np.float32), np.empty((B, H), np.float32)
    c_T = np.empty((B, H), np.float32) if case.cell == "lstm" else None
    saved = np.empty(core.saved_size(number, T, B, I, H), np.float32)
    core.sequence_forward(
        number, case.x, case.h_0, case.c_0, case.weight_ih, case.weight_hh, case.bias_ih, case.bias_hh, case.fresh,
        case.lengths, h, h_T, c_T, saved, threads,
    )  # fmt: skip
    found = {name: tuple(np.full_like(m, np.nan) for m in low[name]) for name in only}
    pairs = [(*low[name], *found[name]) if name in only else None for name in ("ih", "hh")]
    core.sequence_backward(
        number, case.x, case.h_0, case.c_0, case.weight_ih, case.weight_hh, case.fresh, case.lengths, h, saved,
        case.d_h, case.d_h_T, case.d_c_T, *(None for _ in INPUTS), threads, *pairs,
    )  # fmt: skip
    return found


def expected_of(gradients, low):
    """Both gradients of each weight from that of the weight itself."""
    d_weights = {name: gradients[f"d_weight_{name}"].astype(float) for name in low}
    return {name: (B.T.astype(float) @ d_weights[name], d_weights[name] @ A.T) for name, (A, B) in low.items()}


def check_low(found, expected, tolerance):
    for name, pair in found.items():
        for matrix, wanted, of in zip(pair, expected[name], "AB", strict=True):
            limit = tolerance * max(1.0, float(np.abs(wanted).max()))
            worst = np.abs(matrix - wanted).max()
            assert worst <= limit, f"d_{of} of weight_{name} is wrong by {worst:.3g}, {limit:.3g} is allowed"


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_against_the_theory(core, cell, shape, rank):
    """d_A and d_B are sums of one product more than d_W is: over the gates' rows, at most 4·H, and over I or H."""
    case = random_case(cell, *shape, seed=rank, fresh=True, lengths=True)
    low = low_rank_of(case, rank)
    _, _, I, H = shape
    tolerance = case.tolerance + 8 * (I + 4 * H) * float(np.finfo(np.float32).eps)
    expected = expected_of(by_autograd(case) if cell == "rnn_relu" else by_theory(case), low)
    for threads in (1, 2):
        check_low(gradients_by_core(core, case, low, threads), expected, tolerance)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != "rnn_relu"])
def test_exact_on_integers(core, cell):
    """With small integers and the identity for activation every sum is exact, so any term too many or too few shows."""
    case = integer_case(cell, 2, 3, 20, 18)
    low = low_rank_of(case, 5, integers=True)
    whole = by_core(core, case, identity=True)
    found = gradients_by_core(core, case, low, identity=True)
    check_low(found, expected_of(whole, low), 0.0)


@pytest.mark.parametrize("only", [("ih",), ("hh",)])
@pytest.mark.parametrize("cell", CELLS)
def test_one_weight_alone(core, cell, only):
    case = random_case(cell, 9, 17, 33, 40, fresh=True)
    low = low_rank_of(case, 3)
    both = gradients_by_core(core, case, low)
    alone = gradients_by_core(core, case, low, only=only)
    for name in only:
        for a, b in zip(alone[name], both[name], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("wrong", ["A", "B", "d_A", "none"])
def test_wrong_shapes_are_refused(core, wrong):
    case = random_case("lstm", 3, 2, 4, 5)
    low = low_rank_of(case, 2)
    A, B = low["ih"]
    d_A, d_B = np.empty_like(A), np.empty_like(B)
    four = {
        "A": (A[:, 1:].copy(), B, d_A, d_B),
        "B": (A, B[1:].copy(), d_A, d_B),
        "d_A": (A, B, A, d_B),
        "none": (A, B, None, d_B),
    }[wrong]
    h, saved = np.zeros((3, 2, 5), np.float32), np.zeros(core.saved_size(2, 3, 2, 4, 5), np.float32)
    with pytest.raises(ValueError, match=r"shape|memory|d_A|low rank"):
        core.sequence_backward(
            2, case.x, None, None, case.weight_ih, case.weight_hh, None, None, h, saved, case.d_h, None, None,
            *(None for _ in INPUTS), 1, four, None,
        )  # fmt: skip


@pytest.mark.parametrize("hh", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_the_module_s_way_agrees_with_the_way_through_the_whole_weight(core, cell, hh):
    """All gradients, the scale among them: what is recorded and what PyTorch's own rules find."""
    case = random_case(cell, 9, 5, 17, 20, fresh=True)
    low = low_rank_of(case, 3)
    weights = CellWeights(
        *(torch.from_numpy(getattr(case, n)) for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    )
    found = []
    for learns_weights in (False, True):  # a weight that is learnt itself takes the way through W'
        of = {name: tuple(torch.from_numpy(m.copy()).requires_grad_() for m in pair) for name, pair in low.items()}
        changes = Changes(LowRank(*of["ih"], 1.5), LowRank(*of["hh"], 0.5) if hh else None)
        x, h_0 = (torch.from_numpy(a.copy()).requires_grad_() for a in (case.x, case.h_0))
        state = LSTMState(h_0, torch.from_numpy(case.c_0)) if cell == "lstm" else HiddenState(h_0)
        these = [w.clone().requires_grad_(learns_weights) for w in weights]
        y, last = run_changed_cell(cell, x, state, CellWeights(*these), changes, torch.from_numpy(case.fresh))
        ((y * torch.from_numpy(case.d_h)).sum() + (last.h * torch.from_numpy(case.d_h_T)).sum()).backward()
        found.append([y, x.grad, h_0.grad, *(m.grad for m in of["ih"]), *(m.grad for m in of["hh"])])
    for a, b in zip(*found, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_canary_a_wrong_gradient_is_found(core):
    case = random_case("lstm", 5, 3, 7, 9)
    low = low_rank_of(case, 2)
    expected = expected_of(by_theory(case), low)
    found = gradients_by_core(core, case, low)
    found["hh"][0][1, 3] += 0.01
    with pytest.raises(AssertionError, match="d_A of weight_hh"):
        check_low(found, expected, case.tolerance)
