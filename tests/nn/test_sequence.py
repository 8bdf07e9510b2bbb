"""The seam against the float64 theory, and the properties that every cell behind it must keep."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.nn import composite
from tidegate.nn.composite import GATE_COUNT
from tidegate.nn.recurrent import Recurrent
from tidegate.nn.sequence import CellWeights, kernels_line, run_cell
from tidegate.theory import cells
from tidegate.theory.layout import GATES, from_stacked, stack_gradients
from tidegate.theory.state import HiddenState, LSTMState

CELL_NAMES = tuple(GATES)


def random_case(cell, T, B, I, H, seed, dtype=torch.float64):
    """Input, non-zero state and weights with non-zero biases."""
    g = torch.Generator().manual_seed(seed)
    rows = GATE_COUNT[cell] * H

    def draw(*shape):
        return torch.randn(*shape, generator=g, dtype=dtype) * 0.5

    x, weights = draw(T, B, I), CellWeights(draw(rows, I), draw(rows, H), draw(rows), draw(rows))
    state = LSTMState(draw(B, H), draw(B, H)) if cell == "lstm" else HiddenState(draw(B, H))
    return x, state, weights


def random_fresh(T, B, seed):
    return torch.rand(T, B, generator=torch.Generator().manual_seed(seed)) < 0.2


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (5, 3, 4, 7), (9, 2, 7, 3)])
@pytest.mark.parametrize("with_fresh", [False, True])
def test_forward_and_backward_agree_with_the_theory(cell, shape, with_fresh):
    """Outputs, last state and every gradient, from the outputs and from the last state, in float64."""
    T, B, I, H = shape
    x, state, weights = random_case(cell, T, B, I, H, seed=3)
    fresh = random_fresh(T, B, 5) if with_fresh else None
    leaves = [x, *state, *weights]
    for leaf in leaves:
        leaf.requires_grad_()
    h, last = run_cell(cell, x, state, weights, fresh)
    d_h = torch.randn(h.shape, dtype=h.dtype)
    d_last = [torch.randn(s.shape, dtype=s.dtype) for s in last]
    gradients = torch.autograd.grad((h, *last), leaves, (d_h, *d_last))

    module = cells.CELLS[cell]
    p = from_stacked(cell, *(w.detach().numpy() for w in weights))
    kind = type(state)
    numpy_fresh = None if fresh is None else fresh.numpy()
    h_theory, last_theory, saved = module.forward(
        x.detach().numpy(), kind(*(s.detach().numpy() for s in state)), p, fresh=numpy_fresh
    )
    d_x, d_state, d_p = module.backward(d_h.numpy(), kind(*(d.numpy() for d in d_last)), saved, p)
    stacked = stack_gradients(cell, d_p)
    expected = [d_x, *d_state, *(stacked[name] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))]

    # float64 sums of fewer than 200 terms of about unit size: far below 1e-10
    np.testing.assert_allclose(h.detach().numpy(), h_theory, atol=1e-10)
    for mine, theirs in zip(last, last_theory, strict=True):
        np.testing.assert_allclose(mine.detach().numpy(), theirs, atol=1e-10)
    for name, mine, theirs in zip(["x", *state._fields, *weights._fields], gradients, expected, strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_no_state_means_zeros(cell):
    x, state, weights = random_case(cell, 4, 3, 2, 5, seed=1)
    zeros = type(state)(*(torch.zeros_like(s) for s in state))
    none, given_zeros = run_cell(cell, x, None, weights), run_cell(cell, x, zeros, weights)
    assert torch.equal(none[0], given_zeros[0])
    assert all(torch.equal(a, b) for a, b in zip(none[1], given_zeros[1], strict=True))


@settings(max_examples=25, deadline=None)
@given(cell=st.sampled_from(CELL_NAMES), cut=st.integers(1, 6), seed=st.integers(0, 1000))
def test_two_windows_with_carried_state_are_one_long_window(cell, cut, seed):
    x, state, weights = random_case(cell, 7, 3, 2, 4, seed)
    fresh = random_fresh(7, 3, seed)
    whole, last = run_cell(cell, x, state, weights, fresh)
    first, between = run_cell(cell, x[:cut], state, weights, fresh[:cut])
    second, end = run_cell(cell, x[cut:], between, weights, fresh[cut:])
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=1e-12)
    for a, b in zip(end, last, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(cell=st.sampled_from(CELL_NAMES), order=st.permutations(range(4)), seed=st.integers(0, 1000))
def test_lanes_do_not_touch_each_other(cell, order, seed):
    x, state, weights = random_case(cell, 5, 4, 2, 3, seed)
    fresh = random_fresh(5, 4, seed)
    whole, last = run_cell(cell, x, state, weights, fresh)
    permuted, last_permuted = run_cell(
        cell, x[:, order], type(state)(*(s[list(order)] for s in state)), weights, fresh[:, order]
    )
    torch.testing.assert_close(permuted, whole[:, order], rtol=0, atol=1e-12)
    torch.testing.assert_close(last_permuted.h, last.h[list(order)], rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_a_fresh_lane_forgets_all_that_was_before(cell):
    """From its fresh step on, a lane gives what a run from no state gives, and nothing flows back across it."""
    x, state, weights = random_case(cell, 6, 2, 3, 4, seed=8)
    fresh = torch.zeros(6, 2, dtype=torch.bool)
    fresh[3, 1] = True
    x.requires_grad_()
    h, _ = run_cell(cell, x, state, weights, fresh)
    alone, _ = run_cell(cell, x[3:, 1:], None, weights)
    torch.testing.assert_close(h[3:, 1:], alone, rtol=0, atol=1e-12)
    (d_x,) = torch.autograd.grad(h[3:, 1].sum(), x)
    assert torch.count_nonzero(d_x[:3]) == 0
    assert torch.count_nonzero(d_x[3:, 1]) > 0


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_backward_twice_gives_the_same(cell):
    x, state, weights = random_case(cell, 4, 2, 3, 5, seed=2)
    weights[1].requires_grad_()
    h, _ = run_cell(cell, x, state, weights)
    first = torch.autograd.grad(h.sum(), weights[1], retain_graph=True)[0].clone()
    assert torch.equal(torch.autograd.grad(h.sum(), weights[1])[0], first)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_start_values(cell):
    """Each gate's W_hh is orthogonal, biases are zero, but the LSTM's forget gate starts at one."""
    layer = Recurrent(cell, 6, 5)
    for w in layer.weight_hh_l0.detach().chunk(len(GATES[cell])):
        torch.testing.assert_close(w.T @ w, torch.eye(5), rtol=0, atol=1e-5)
    bias = (layer.bias_ih_l0 + layer.bias_hh_l0).detach().reshape(-1, 5)
    expected = torch.zeros_like(bias)
    if cell == "lstm":
        expected[1] = 1
    assert torch.equal(bias, expected)


@pytest.mark.parametrize(("cell", "peer"), [("rnn", torch.nn.RNN), ("lstm", torch.nn.LSTM), ("gru", torch.nn.GRU)])
def test_parameters_are_those_of_torch_nn(cell, peer):
    """The same names and shapes, and, with them loaded, the same outputs."""
    mine, theirs = Recurrent(cell, 6, 5), peer(6, 5)
    mine.load_state_dict(theirs.state_dict())
    x = torch.randn(7, 3, 6)
    torch.testing.assert_close(mine(x)[0], theirs(x)[0])


def test_the_two_grus_differ():
    x, state, weights = random_case("gru", 4, 2, 3, 5, seed=4)
    assert not torch.allclose(run_cell("gru", x, state, weights)[0], run_cell("gru_reset_before", x, state, weights)[0])


# ---- The composite's two ways, lengths, biases that are left out -----------------------------------------------------

WAYS = [composite.run_segments, composite.run_steps]


def results(way, cell, x, state, weights, fresh=None, lengths=None):
    """Outputs, last state and all gradients by one way."""
    leaves = [x, *state, *(w for w in weights if w is not None)]
    for leaf in leaves:
        leaf.requires_grad_()
    h, last = way(cell, x, state, weights, fresh, lengths)
    objective = sum((o * o).sum() for o in (h, *last))
    return [h, *last, *torch.autograd.grad(objective, leaves, materialize_grads=True)]


@settings(max_examples=40, deadline=None)
@given(
    cell=st.sampled_from(tuple(GATE_COUNT)),
    fresh=st.booleans(),
    lengths=st.lists(st.integers(0, 6), min_size=3, max_size=3),
    without=st.sets(st.sampled_from(["bias_ih", "bias_hh"])),
    seed=st.integers(0, 1000),
)
def test_both_ways_are_one(cell, fresh, lengths, without, seed):
    x, state, weights = random_case(cell, 6, 3, 2, 4, seed)
    weights = weights._replace(**dict.fromkeys(without))
    arguments = (x, state, weights, random_fresh(6, 3, seed) if fresh else None, torch.tensor(lengths))
    for a, b in zip(*(results(way, cell, *arguments) for way in WAYS), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)  # relu's values grow


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cell", GATE_COUNT)
def test_a_lane_that_ended(way, cell):
    """Its outputs are zeros, its state stays, no gradient flows, and what stands in its padding reaches nothing."""
    x, state, weights = random_case(cell, 6, 3, 2, 4, seed=1)
    lengths = [6, 2, 0]
    for b, n in enumerate(lengths):
        x[n:, b] = torch.nan
    fresh = torch.zeros(6, 3, dtype=torch.bool)
    fresh[4, 1:] = True  # after their ends: there is no step to start afresh before
    h, *rest = results(way, cell, x, state, weights, fresh, torch.tensor(lengths))
    last, d_x = rest[: len(state)], rest[len(state)]
    assert all(torch.isfinite(r).all() for r in rest)
    for b, n in enumerate(lengths):
        assert torch.count_nonzero(h[n:, b]) == 0
        assert torch.count_nonzero(d_x[n:, b]) == 0
        lane = type(state)(*(s[b : b + 1].detach() for s in state))
        if n == 0:
            assert all(torch.equal(s, before) for s, before in zip((s[b : b + 1] for s in last), lane, strict=True))
        else:
            alone, end = run_cell(cell, x[:n, b : b + 1].detach(), lane, weights)
            torch.testing.assert_close(h[:n, b : b + 1], alone, rtol=0, atol=1e-12)
            for s, e in zip(last, end, strict=True):
                torch.testing.assert_close(s[b : b + 1], e, rtol=0, atol=1e-12)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cell", GATE_COUNT)
@pytest.mark.parametrize("without", [("bias_ih",), ("bias_hh",), ("bias_ih", "bias_hh")])
def test_no_bias_means_zeros(way, cell, without):
    x, state, weights = random_case(cell, 4, 3, 2, 5, seed=1)
    zeros = weights._replace(**{name: torch.zeros_like(getattr(weights, name)) for name in without})
    found = way(cell, x, state, weights._replace(**dict.fromkeys(without)), None, None)
    torch.testing.assert_close(found, way(cell, x, state, zeros, None, None), rtol=0, atol=1e-12)


def test_relu_is_torchs():
    x, state, weights = random_case("rnn_relu", 4, 3, 2, 5, seed=1)
    peer = torch.nn.RNN(2, 5, nonlinearity="relu", dtype=torch.float64)
    peer.load_state_dict({f"{name}_l0": w for name, w in weights._asdict().items()})
    torch.testing.assert_close(run_cell("rnn_relu", x, state, weights)[0], peer(x, state.h[None])[0])


@pytest.mark.parametrize(("change", "error", "sentence"), [
    (lambda a: a | {"cell": "lstn"}, ValueError, "There is no cell 'lstn'"),
    (lambda a: a | {"x": a["x"][0]}, ValueError, "x has 2 dimensions"),
    (lambda a: a | {"x": a["x"][:, :, 1:]}, ValueError, "weight_ih has shape"),
    (lambda a: a | {"weights": a["weights"]._replace(bias_hh=a["x"][0, 0])}, ValueError, "bias"),
    (lambda a: a | {"weights": a["weights"]._replace(weight_hh=torch.ones(7, 5).double())}, ValueError, "weight_hh"),
    (lambda a: a | {"weights": CellWeights(*(w.float() for w in a["weights"]))}, TypeError, "weight_ih is"),
    (lambda a: a | {"state": HiddenState(a["state"].h)}, TypeError, "LSTMState"),
    (lambda a: a | {"state": a["state"]._replace(c=a["state"].c[1:])}, ValueError, "state.c has shape"),
    (lambda a: a | {"state": a["state"]._replace(h=a["state"].h.float())}, TypeError, "state.h is torch.float32"),
    (lambda a: a | {"fresh": torch.zeros(4, 2, dtype=torch.bool)}, ValueError, "fresh has shape"),
    (lambda a: a | {"fresh": torch.zeros(4, 3)}, TypeError, "fresh is torch.float32"),
    (lambda a: a | {"fresh": torch.zeros(4, 3, dtype=torch.bool, device="meta")}, ValueError, "fresh is on meta"),
    (lambda a: a | {"lengths": torch.ones(2, dtype=torch.int64)}, ValueError, "lengths has shape"),
    (lambda a: a | {"lengths": torch.ones(3)}, TypeError, "lengths is torch.float32"),
    (lambda a: a | {"lengths": torch.tensor([1, 2, 5])}, ValueError, "lengths are 1 … 5"),
    (lambda a: a | {"lengths": torch.tensor([1, -1, 4])}, ValueError, "lengths are -1 … 4"),
], ids=range(16))  # fmt: skip
def test_a_wrong_argument_is_named(change, error, sentence):
    x, state, weights = random_case("lstm", 4, 3, 2, 5, seed=1)
    with pytest.raises(error, match=sentence):
        run_cell(**change({"cell": "lstm", "x": x, "state": state, "weights": weights}))


def test_the_kernels_are_named(monkeypatch):
    """Which run, and why not the core's."""
    monkeypatch.setattr("tidegate.native.core", lambda: None)
    monkeypatch.setattr("tidegate.native.reason", lambda: "TIDEGATE_NATIVE=0")
    line = kernels_line()
    assert line.startswith(f"Kernels: PyTorch {torch.__version__}")
    assert line.endswith("(no native core: TIDEGATE_NATIVE=0), 1 thread")
    monkeypatch.setattr("tidegate.native.core", lambda: object())
    monkeypatch.setattr("tidegate.native.isa", lambda: "avx2")
    assert kernels_line() == "Kernels: native avx2, 1 thread"
