"""The output layer with its loss: the operator against float64, and `linear_cross_entropy` under every setting."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tidegate.nn.loss import linear_cross_entropy

EPS = torch.finfo(torch.float32).eps
SIZES = [
    (1, 1, 1), (3, 7, 3), (7, 65, 7), (63, 1000, 64), (300, 65, 33), (1, 1000, 20), (63, 1, 5), (300, 1000, 7),
    (7, 1, 65),
]  # fmt: skip
"""N, V, H"""


def problem(N, V, H, seed=0, bias=True, ignored=False, weighted=False):
    """x, weight, bias, targets, row_weight and the index that is ignored."""
    g = torch.Generator().manual_seed(seed)
    x, weight = torch.randn(N, H, generator=g), torch.randn(V, H, generator=g)
    b = torch.randn(V, generator=g) if bias else None
    targets = torch.randint(0, V, (N,), generator=g)
    if ignored:
        targets[torch.rand(N, generator=g) < 0.3] = -100
    return x, weight, b, targets, torch.rand(N, generator=g) * 2 if weighted else None


def expected(x, weight, b, targets, row_weight, scale=1.0, **options):
    """Loss and gradients in float64."""
    leaves = [None if t is None else t.detach().double().requires_grad_() for t in (x, weight, b)]
    nats = F.cross_entropy(F.linear(*leaves), targets, reduction="none", **options)
    total = (nats if row_weight is None else nats * row_weight.double()).sum() * scale
    return total.detach(), torch.autograd.grad(total, [t for t in leaves if t is not None])


def tolerance(x, weight):
    """A logit is a sum of H + 1 products of size |x| |w|, each rounded; the softmax subtracts, exponentiates and sums V
    of them, which keeps the absolute error of a logit as a relative one and adds V eps; a gradient sums N or V rows."""
    (N, H), V = x.shape, weight.shape[0]
    size = float((x.abs().max() * weight.abs().max()).clamp(min=1))
    return 4 * (H + V + N) * EPS * size


def assert_near(found, wanted, limit, what=""):
    scale = max(1.0, float(wanted.abs().max()))
    worst = float((found.double() - wanted).abs().max())
    assert worst <= limit * scale, f"{what} is wrong by {worst:.3g}, {limit * scale:.3g} is allowed"


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("options", [{}, {"ignored": True}, {"weighted": True}, {"bias": False},
                                     {"ignored": True, "weighted": True, "bias": False}], ids=str)  # fmt: skip
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_the_core_against_float64(core, size, options, smoothing):
    """Straight into the core, in buffers full of NaN, in one thread and in two."""
    x, weight, b, targets, row_weight = problem(*size, **options)
    total, gradients = expected(x, weight, b, targets, row_weight, label_smoothing=smoothing)
    arrays = [None if t is None else t.numpy() for t in (x, weight, b, targets, row_weight)]
    for threads in (1, 2):
        losses = np.full(len(x), np.nan, np.float32)
        found = [np.full(t.shape, np.nan, np.float32) for t in (x, weight, weight[:, 0])]
        core.linear_cross_entropy(*arrays, -100, smoothing, losses, *found, threads)
        assert_near(torch.from_numpy(losses).double().sum(), total, tolerance(x, weight), "the loss")
        assert (losses[targets.numpy() == -100] == 0).all()
        for name, mine, theirs in zip(("d_x", "d_W", "d_b"), found, gradients, strict=False):
            assert_near(torch.from_numpy(mine), theirs, tolerance(x, weight), name)
        for left_out in range(3):
            again = [None if k == left_out else np.full_like(a, np.nan) for k, a in enumerate(found)]
            core.linear_cross_entropy(*arrays, -100, smoothing, losses, *again, threads)
            assert all(a is None or np.array_equal(a, f) for a, f in zip(again, found, strict=True))


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("size", [(7, 65, 5), (63, 7, 33)], ids=str)
def test_the_function_is_torchs_under_every_setting(any_core, size, reduction):
    for options in ({}, {"ignored": True}, {"bias": False}):
        for smoothing in (0.0, 0.2):
            x, weight, b, targets, _ = problem(*size, **options)
            leaves = [t for t in (x, weight, b) if t is not None]
            for leaf in leaves:
                leaf.requires_grad_()
            mine = linear_cross_entropy(x, weight, b, targets, label_smoothing=smoothing, reduction=reduction)
            theirs = F.cross_entropy(F.linear(x, weight, b), targets, label_smoothing=smoothing, reduction=reduction)
            assert_near(mine.detach(), theirs.detach().double(), tolerance(x.detach(), weight.detach()))
            # scaled from above, as by a mean or a factor on the loss
            pairs = zip(torch.autograd.grad(3 * mine, leaves), torch.autograd.grad(3 * theirs, leaves), strict=True)
            for a, e in pairs:
                assert_near(a, e.double(), 3 * tolerance(x.detach(), weight.detach()))


def test_row_weights_are_factors_and_their_mean_is_weighted(any_core):
    x, weight, b, targets, row_weight = problem(20, 9, 4, ignored=True, weighted=True)
    rows = F.cross_entropy(F.linear(x, weight, b), targets, reduction="none") * row_weight
    torch.testing.assert_close(linear_cross_entropy(x, weight, b, targets, row_weight), rows.sum())
    mean = rows.sum() / row_weight[targets != -100].sum()
    torch.testing.assert_close(linear_cross_entropy(x, weight, b, targets, row_weight, reduction="mean"), mean)
    none = linear_cross_entropy(x.view(4, 5, 4), weight, b, targets.view(4, 5), row_weight.view(4, 5), reduction="none")
    torch.testing.assert_close(none, rows.view(4, 5))


def test_row_weights_may_be_learnt(any_core):
    x, weight, b, targets, row_weight = problem(20, 9, 4, weighted=True)
    row_weight.requires_grad_()
    linear_cross_entropy(x, weight, b, targets, row_weight).backward()
    torch.testing.assert_close(row_weight.grad, F.cross_entropy(F.linear(x, weight, b), targets, reduction="none"))


def test_nothing_counted(any_core):
    """A sum of nothing is 0 with gradient 0; a mean of nothing is no number, as in PyTorch."""
    x, weight, b, _, _ = problem(5, 4, 3)
    x.requires_grad_()
    ignored = torch.full((5,), -100)
    total = linear_cross_entropy(x, weight, b, ignored)
    total.backward()
    assert total == 0
    assert torch.count_nonzero(x.grad) == 0
    assert linear_cross_entropy(x, weight, b, ignored, reduction="mean").isnan()
    assert linear_cross_entropy(x[:0], weight, b, ignored[:0]) == 0


def test_a_tied_matrix_gets_both_gradients(any_core):
    """Once as the embedding, once as the output layer."""
    ids, results = torch.randint(0, 11, (6, 3)), []
    start = torch.randn(11, 5)
    for by_hand in (False, True):
        matrix = start.clone().requires_grad_()
        x, targets = F.embedding(ids, matrix).tanh(), ids.roll(-1, 0)
        if by_hand:
            loss = F.cross_entropy(F.linear(x, matrix).flatten(0, 1), targets.flatten(), reduction="sum")
        else:
            loss = linear_cross_entropy(x, matrix, None, targets)
        results.append(torch.autograd.grad(loss, matrix)[0])
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)


def test_backward_twice_and_gradients_of_gradients(any_core):
    found = []
    for dtype in (torch.float32, torch.float64):
        x, weight, b, targets, row_weight = problem(7, 9, 4, ignored=True, weighted=True)
        leaves = [t.to(dtype).requires_grad_() for t in (x, weight, b)]
        scale = torch.tensor(1.5, dtype=dtype, requires_grad=True)
        loss = linear_cross_entropy(*leaves, targets, row_weight.to(dtype), label_smoothing=0.1) * scale
        first, second = (torch.autograd.grad(loss, leaves, retain_graph=True) for _ in range(2))
        assert all(torch.equal(a, c) for a, c in zip(first, second, strict=True))
        gradients = torch.autograd.grad(loss, leaves, create_graph=True)
        found.append([*first, *torch.autograd.grad(sum((g * g).sum() for g in gradients), [*leaves, scale])])
    for single, double in zip(*found, strict=True):
        assert_near(single, double, 4 * tolerance(x, weight))


def test_opcheck(any_core):
    x, weight, b, targets, row_weight = problem(7, 11, 5, ignored=True, weighted=True)
    leaves = [t.requires_grad_() for t in (x, weight, b)]
    rest = (targets, row_weight, -100, 0.1)
    forward, backward = torch.ops.tidegate.linear_cross_entropy, torch.ops.tidegate.linear_cross_entropy_backward
    for wanted in ([True, True, True], [False, False, False]):
        inputs = leaves if any(wanted) else [t.detach() for t in leaves]
        torch.library.opcheck(forward.default, (*inputs, *rest, wanted))
    _, *gradients = (t.detach() for t in forward.default(*leaves, *rest, [True] * 3))
    d_total = torch.tensor(2.0, requires_grad=True)
    torch.library.opcheck(backward.default, (d_total, *leaves, *rest, *gradients))


def test_compiled_whole(any_core):
    torch.compiler.reset()
    x, weight, b, targets, row_weight = problem(7, 11, 5, weighted=True)
    leaves = [t.requires_grad_() for t in (x, weight, b)]

    def loss(x, weight, b):
        return linear_cross_entropy(x.tanh(), weight, b, targets, row_weight, reduction="mean")

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*leaves), loss(*leaves))
    for a, e in zip(*(torch.autograd.grad(f(*leaves), leaves) for f in (compiled, loss)), strict=True):
        torch.testing.assert_close(a, e)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 90), st.integers(1, 40)),
    options=st.fixed_dictionaries({name: st.booleans() for name in ("bias", "ignored", "weighted")}),
    smoothing=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 100),
)
def test_any_problem(core, size, options, smoothing, seed):
    x, weight, b, targets, row_weight = problem(*size, seed, **options)
    leaves = [t.requires_grad_() for t in (x, weight, b) if t is not None]
    found = linear_cross_entropy(x, weight, b, targets, row_weight, label_smoothing=smoothing)
    total, gradients = expected(x, weight, b, targets, row_weight, label_smoothing=smoothing)
    limit = tolerance(x.detach(), weight.detach())
    assert_near(found.detach(), total, limit)
    for mine, theirs in zip(torch.autograd.grad(found, leaves), gradients, strict=True):
        assert_near(mine, theirs, limit)


def test_wrong_arguments_are_named(any_core):
    x, weight, b, targets, _ = problem(4, 5, 3)
    for error, named, arguments in (
        (ValueError, "x is .* weight", (x[:, :2], weight, b, targets)),
        (ValueError, "bias", (x, weight, b[1:], targets)),
        (ValueError, "targets", (x, weight, b, targets[1:])),
        (TypeError, "targets", (x, weight, b, targets.int())),
        (ValueError, "row_weight", (x, weight, b, targets, torch.ones(3))),
        (IndexError, "Target 5", (x, weight, b, torch.tensor([0, 1, 2, 5]))),
        (IndexError, "Target -1", (x, weight, b, torch.tensor([0, 1, -1, 4]))),
    ):
        with pytest.raises(error, match=named):
            linear_cross_entropy(*arguments)
    with pytest.raises(ValueError, match="label_smoothing"):
        linear_cross_entropy(x, weight, b, targets, label_smoothing=1.5)
    with pytest.raises(ValueError, match="reduction"):
        linear_cross_entropy(x, weight, b, targets, reduction="avg")


def test_large_logits_do_not_overflow(any_core):
    x, weight = torch.full((2, 1), 100.0), torch.tensor([[100.0], [-100.0]])
    loss = linear_cross_entropy(x, weight, None, torch.tensor([0, 1]))
    torch.testing.assert_close(loss, torch.tensor(20000.0))
