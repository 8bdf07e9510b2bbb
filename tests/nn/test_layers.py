"""`tidegate.nn.RNN`, `GRU` and `LSTM` in the place of `torch.nn`'s: the same in all that a user can see."""

from __future__ import annotations

import copy
import io
import itertools
import subprocess
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import tidegate.nn
from tidegate import native

KINDS = ("RNN", "GRU", "LSTM")
# outputs of a few layers of some ten terms, all below 1; gradients sum some hundred of them
CLOSE = {"rtol": 1e-4, "atol": 2e-5}


@pytest.fixture(params=["native", "pytorch"])
def _kernels(request, monkeypatch):
    """With the core and without."""
    if request.param == "pytorch":
        monkeypatch.setattr(native, "core", lambda: None)
    elif native.core() is None:
        pytest.skip("the native core is not here")


def pair(kind, *sizes, **options):
    """Mine and PyTorch's from the same seed."""
    made = []
    for namespace in (tidegate.nn, torch.nn):
        torch.manual_seed(7)
        made.append(getattr(namespace, kind)(*sizes, **options))
    return made


def states(kind, *shape):
    h = torch.randn(*shape)
    return (h, torch.randn(*shape)) if kind == "LSTM" else h


def flat(result):
    y, last = result
    return [y, *last] if isinstance(last, tuple) else [y, last]


def same(mine, theirs, **tolerance):
    for a, b in zip(flat(mine), flat(theirs), strict=True):
        torch.testing.assert_close(a, b, **(tolerance or CLOSE))


CONSTRUCTORS = [
    dict(zip(("num_layers", "bias", "batch_first", "dropout", "bidirectional"), values, strict=True))
    for values in itertools.product((1, 2), (True, False), (False, True), (0.0,), (False, True))
] + [{"num_layers": 3, "dropout": 0.4}]


@pytest.mark.usefixtures("_kernels")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", CONSTRUCTORS, ids=lambda o: "-".join(map(str, o.values())))
def test_the_same_as_torch_nn(kind, options):
    """Parameters, start values, outputs, state, gradients; with a state, without, and for one sequence alone."""
    mine, theirs = (m.eval() for m in pair(kind, 5, 6, **options))
    assert list(mine.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), theirs.parameters(), strict=True))
    depth = mine.num_layers * (2 if mine.bidirectional else 1)
    x = torch.randn(4, 3, 5)
    B = 4 if mine.batch_first else 3
    for input, hx in (
        (x, None),
        (x, states(kind, depth, B, 6)),
        (x[0], None),
        (x[0], states(kind, depth, 6)),
        (x.transpose(0, 1).contiguous().transpose(0, 1), None),
    ):
        results = []
        for module in (mine, theirs):
            leaf = input.detach().requires_grad_()
            result = module(leaf, hx)
            gradients = torch.autograd.grad(sum((o * o).sum() for o in flat(result)), [leaf, *module.parameters()])
            results.append((result, gradients))
        same(results[0][0], results[1][0])
        for a, b in zip(results[0][1], results[1][1], strict=True):
            torch.testing.assert_close(a, b, **CLOSE)


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")  # torch.nn.LSTM's own
@pytest.mark.usefixtures("_kernels")
@pytest.mark.parametrize("build", [
    lambda n: n.RNN(5, 6, nonlinearity="relu"), lambda n: n.RNN(5, 6, 2, "relu"), lambda n: n.LSTM(5, 6, proj_size=3),
    lambda n: n.GRU(5, 6, dtype=torch.float64), lambda n: n.LSTM(5, 6, dtype=torch.bfloat16, device="cpu"),
], ids=range(5))  # fmt: skip
def test_what_few_use(build):
    mine, theirs = (torch.manual_seed(3) and build(namespace) for namespace in (tidegate.nn, torch.nn))
    x = torch.randn(4, 3, 5, dtype=mine.weight_ih_l0.dtype)
    same(mine(x), theirs(x))


@pytest.mark.usefixtures("_kernels")
@pytest.mark.parametrize("kind", KINDS)
def test_state_dicts_load_both_ways(kind):
    mine, theirs = getattr(tidegate.nn, kind)(5, 6, 2), getattr(torch.nn, kind)(5, 6, 2)
    x = torch.randn(4, 3, 5)
    mine.load_state_dict(theirs.state_dict())
    same(mine(x), theirs(x))
    mine.reset_parameters()
    theirs.load_state_dict(mine.state_dict())
    same(mine(x), theirs(x))


@pytest.mark.usefixtures("_kernels")
@pytest.mark.parametrize("kind", KINDS)
def test_it_may_be_copied_pickled_moved_and_swapped(kind):
    module = getattr(tidegate.nn, kind)(5, 6, 2)
    x = torch.randn(4, 3, 5)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    module.flatten_parameters()
    for other in (copy.deepcopy(module), torch.load(file, weights_only=False), module.double().float()):
        assert type(other) is type(module)
        same(other(x), module(x))
    assert module.double()(x.double())[0].dtype == torch.float64
    module.float()
    weights = {name: p.detach() * 0.5 for name, p in module.named_parameters()}
    halved = copy.deepcopy(module)
    with torch.no_grad():
        for p in halved.parameters():
            p.mul_(0.5)
    same(torch.func.functional_call(module, weights, (x,)), halved(x))
    same(module(x), copy.deepcopy(module)(x))


@pytest.mark.usefixtures("_kernels")
def test_a_weight_that_is_computed_counts():
    """The weight drop bug: a parametrized W_hh must be the one that is used."""

    class Half(torch.nn.Module):
        def forward(self, w):
            return w / 2

    module = tidegate.nn.LSTM(5, 6)
    x = torch.randn(4, 3, 5)
    plain = copy.deepcopy(module)
    torch.nn.utils.parametrize.register_parametrization(module, "weight_hh_l0", Half())
    with torch.no_grad():
        plain.weight_hh_l0.div_(2)
    same(module(x), plain(x))
    module(x)[0].sum().backward()
    assert torch.count_nonzero(module.parametrizations.weight_hh_l0.original.grad) > 0


@pytest.mark.usefixtures("_kernels")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("extra", [{}, {"lengths": True}])
def test_errors_are_those_of_torch_nn(kind, extra):
    """The same type, whatever is wrong with the shapes, with the two arguments more and without."""
    mine, theirs = pair(kind, 5, 6, 2)
    right = states(kind, 2, 3, 6)
    wrong = states(kind, 2, 3, 5), states(kind, 1, 3, 6), states(kind, 2, 6)
    cases = [(torch.randn(4, 3, 7), None), (torch.randn(5), None), (torch.randn(1, 4, 3, 5), None)]
    cases += [(torch.randn(4, 3, 5), hx) for hx in wrong] + [(torch.randn(4, 5), right)]
    cases += [(torch.randn(4, 3, 5, dtype=torch.float64), None), (torch.randn(4, 2, 5), right)]
    for input, hx in cases:
        with pytest.raises((ValueError, RuntimeError)) as expected:
            theirs(input, hx)
        with pytest.raises(expected.type):
            mine(input, hx, **{name: torch.tensor([4, 4, 4]) for name in extra})
    with pytest.raises(ValueError, match="hidden_size"):
        getattr(tidegate.nn, kind)(5, 0)


@pytest.mark.usefixtures("_kernels")
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(KINDS),
    layers=st.integers(1, 2),
    batch_first=st.booleans(),
    with_state=st.booleans(),
    bidirectional=st.booleans(),
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    seed=st.integers(0, 100),
)
def test_lengths_do_what_packing_does(kind, layers, batch_first, with_state, bidirectional, lengths, seed):
    torch.manual_seed(seed)
    mine, theirs = pair(kind, 3, 4, layers, batch_first=batch_first, bidirectional=bidirectional)
    B, T, steps = len(lengths), 6, torch.tensor(lengths)
    x = torch.randn(*((B, T) if batch_first else (T, B)), 3)
    hx = states(kind, layers * (2 if bidirectional else 1), B, 4) if with_state else None
    packed, last = theirs(pack_padded_sequence(x, steps, batch_first, enforce_sorted=False), hx)
    padded = pad_packed_sequence(packed, batch_first, total_length=T)[0]
    same(mine(x, hx, lengths=steps), (padded, last))
    again, last_again = mine(pack_padded_sequence(x, steps, batch_first, enforce_sorted=False), hx)
    same((pad_packed_sequence(again, batch_first, total_length=T)[0], last_again), (padded, last))


@pytest.mark.usefixtures("_kernels")
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_lane_without_steps_in_two_directions(kind, batch_first, with_state):
    """Its outputs are zeros, its state stays, and what its input holds reaches nobody."""
    module = getattr(tidegate.nn, kind)(3, 4, bidirectional=True, batch_first=batch_first)
    x = torch.randn(3, 5, 3) if batch_first else torch.randn(5, 3, 3)
    (x[1] if batch_first else x[:, 1]).fill_(float("nan"))
    hx = states(kind, 2, 3, 4) if with_state else None
    y, last = module(x, hx, lengths=torch.tensor([5, 0, 2]))
    y = y if batch_first else y.transpose(0, 1)
    last, hx = (s if kind == "LSTM" else (s,) for s in (last, hx if with_state else last))
    assert not bool(y[1].any())
    for after, before in zip(last, hx, strict=True):
        assert torch.equal(after[:, 1], before[:, 1]) if with_state else not bool(after[:, 1].any())
    y.sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in module.parameters())
    with pytest.raises(ValueError, match="T = 5 steps"):
        module(x, lengths=torch.tensor([6, 0, 2]))


@pytest.mark.usefixtures("_kernels")
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_lane_starts_from_zeros_in_every_layer(kind, batch_first):
    module = getattr(tidegate.nn, kind)(3, 4, 2, batch_first=batch_first)
    x = torch.randn(7, 2, 3)
    fresh = torch.zeros(7, 2, dtype=torch.bool)
    fresh[4, 1] = True
    hx = states(kind, 2, 2, 4)
    if batch_first:
        y, _ = module(x.transpose(0, 1), hx, fresh=fresh.t())
        y, alone = y.transpose(0, 1), module(x[4:, 1:].transpose(0, 1))[0].transpose(0, 1)
    else:
        (y, _), (alone, _) = module(x, hx, fresh=fresh), module(x[4:, 1:])
    torch.testing.assert_close(y[4:, 1:], alone, **CLOSE)
    one, _ = module(x[:, 1], fresh=fresh[:, 1])
    torch.testing.assert_close(one[4:], alone[:, 0], **CLOSE)


@pytest.mark.usefixtures("_kernels")
def test_one_sequence_has_one_length():
    module, x = tidegate.nn.GRU(3, 4), torch.randn(5, 3)
    y, last = module(x, lengths=torch.tensor(3))
    torch.testing.assert_close(y[:3], module(x[:3])[0], **CLOSE)
    torch.testing.assert_close(last, module(x[:3])[1], **CLOSE)
    assert torch.count_nonzero(y[3:]) == 0


@pytest.mark.usefixtures("_kernels")
def test_dropout_between_layers():
    """A share p of what passes between layers is dropped, in training alone; the rest grows by 1 / (1 - p)."""
    module = tidegate.nn.RNN(3, 500, 2, dropout=0.3)
    with torch.no_grad():
        module.weight_ih_l1.copy_(torch.eye(500))
        module.weight_hh_l1.zero_()
        module.bias_ih_l1.zero_()
        module.bias_hh_l1.zero_()
    x = torch.randn(4, 20, 3)
    kept = torch.atanh(module.eval()(x)[0])
    dropped = torch.atanh(module.train()(x)[0])
    gone = (dropped == 0) & (kept != 0)
    # 40,000 independent units: six standard deviations are 0.014
    assert abs(gone.float().mean().item() - 0.3) < 0.014
    torch.testing.assert_close(dropped[~gone], kept[~gone] / 0.7, rtol=1e-2, atol=1e-3)
    torch.manual_seed(1)
    first = module(x)[0]
    torch.manual_seed(1)
    assert torch.equal(module(x)[0], first)


@pytest.mark.usefixtures("_kernels")
def test_what_does_not_go_together_is_said():
    module, both = tidegate.nn.LSTM(3, 4), tidegate.nn.LSTM(3, 4, bidirectional=True)
    x, fresh = torch.randn(5, 2, 3), torch.zeros(5, 2, dtype=torch.bool)
    with pytest.raises(TypeError, match="PackedSequence"):
        module(pack_padded_sequence(x, torch.tensor([5, 4])), fresh=fresh)
    with pytest.raises(ValueError, match="one direction"):
        both(x, fresh=fresh)
    with pytest.raises(ValueError, match="fresh has shape"):
        module(x, fresh=fresh.t())
    with pytest.raises(TypeError, match=r"fresh is torch\.float32"):
        module(x, fresh=fresh.float())
    with pytest.raises(TypeError, match=r"lengths is torch\.int32"):
        module(x, lengths=torch.tensor([5, 4], dtype=torch.int32))
    for wrong in ([6, 1], [-1, 2]):
        with pytest.raises(ValueError, match="lengths are"):
            module(x, lengths=torch.tensor(wrong))


def test_the_package_does_no_work():
    """The names are there, and PyTorch is imported when one is used."""
    code = "import sys, tidegate.nn; print('torch' in sys.modules, tidegate.nn.LSTM.__name__, 'torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["False", "LSTM", "True"]
    with pytest.raises(AttributeError, match="has no attribute 'LSTN'"):
        _ = tidegate.nn.LSTN
