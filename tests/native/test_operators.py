"""The sequence operators as PyTorch sees them: registered right, compiled whole, differentiable, twice too."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import tidegate.nn
from tidegate import native
from tidegate.nn.composite import CellWeights
from tidegate.nn.loss import linear_cross_entropy
from tidegate.nn.sequence import run_cell
from tidegate.theory.state import HiddenState, LSTMState

from .cases import CELLS, INPUTS, WEIGHTS, random_case

EPS = torch.finfo(torch.float32).eps


def tensors(cell, T=5, B=3, I=4, H=7, dtype=torch.float32, fresh=True, lengths=True, seed=0, **kinds):
    """Leaves by name, fresh and lengths."""
    case = random_case(cell, T, B, I, H, seed, fresh=fresh, lengths=lengths, **kinds)
    leaves = {name: getattr(case, name) for name in INPUTS}
    leaves = {n: None if a is None else torch.from_numpy(a).to(dtype).requires_grad_() for n, a in leaves.items()}
    return leaves, *(None if a is None else torch.from_numpy(a) for a in (case.fresh, case.lengths))


def call(cell, leaves, fresh=None, lengths=None):
    """Run the seam; outputs as one tuple."""
    state = None
    if leaves["h_0"] is not None:
        state = LSTMState(leaves["h_0"], leaves["c_0"]) if cell == "lstm" else HiddenState(leaves["h_0"])
    h, last = run_cell(cell, leaves["x"], state, CellWeights(*(leaves[n] for n in WEIGHTS)), fresh, lengths)
    return (h, *last)


def known(leaves):
    return [t for t in leaves.values() if t is not None]


def arguments(cell, leaves, fresh, lengths, save=True):
    return (native.CELLS[cell], *(leaves[name] for name in INPUTS), fresh, lengths, save)


@pytest.fixture
def filled(any_core, monkeypatch):
    """Parts of what is saved, those of a lane that ended for one, are neither written nor read; opcheck, which compares
    all of it, must find the same there each time."""
    right = any_core.sequence_forward

    def forward(*inputs):
        if inputs[-2] is not None:
            inputs[-2].fill(0)
        right(*inputs)

    monkeypatch.setattr(any_core, "sequence_forward", forward)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_opcheck_forward(any_core, filled, cell, bias):
    leaves, fresh, lengths = tensors(cell, 2, 3, 2, 3, without=() if bias else ("bias_ih", "bias_hh"))
    torch.library.opcheck(torch.ops.tidegate.sequence.default, arguments(cell, leaves, fresh, lengths))


@pytest.mark.parametrize("cell", CELLS)
def test_opcheck_backward(any_core, cell):
    leaves, fresh, lengths = tensors(cell, 2, 3, 2, 3)
    inputs = arguments(cell, leaves, fresh, lengths)
    h, h_T, c_T, saved = (t.detach() for t in torch.ops.tidegate.sequence.default(*inputs))
    d_h, d_h_T = torch.randn_like(h).requires_grad_(), torch.randn_like(h_T).requires_grad_()
    d_c_T = torch.randn_like(c_T).requires_grad_() if cell == "lstm" else None
    wanted = [True, True, cell == "lstm", True, True, True, True]
    torch.library.opcheck(
        torch.ops.tidegate.sequence_backward.default, (*inputs[:-1], h, saved, d_h, d_h_T, d_c_T, wanted)
    )


@pytest.mark.parametrize("cell", CELLS)
def test_the_operator_is_what_runs(any_core, cell):
    """One operator forward and one backward, under the profiler's eyes; without grad mode nothing is saved."""
    leaves, fresh, lengths = tensors(cell)
    with torch.profiler.profile() as profile:
        sum(o.sum() for o in call(cell, leaves, fresh, lengths)).backward()
    counts = {e.key: e.count for e in profile.key_averages()}
    assert counts["tidegate::sequence"] == 1
    assert counts["tidegate::sequence_backward"] == 1
    with torch.no_grad():
        *_, saved = torch.ops.tidegate.sequence.default(*arguments(cell, leaves, fresh, lengths, save=False))
    assert saved.numel() == 0


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_compiled_whole(any_core, cell, dynamic):
    """No graph break, forward and backward, with sizes fixed or free; the same results."""
    torch.compiler.reset()
    compiled = torch.compile(call, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    for T in (4, 6):
        leaves, fresh, lengths = tensors(cell, T)
        results = []
        for function in (call, compiled):
            outputs = function(cell, leaves, fresh, lengths)
            gradients = torch.autograd.grad(sum((o * o).sum() for o in outputs), known(leaves))
            results.append([*outputs, *gradients])
            with torch.no_grad():
                results[-1] += function(cell, leaves, fresh, lengths)
        for eager, graph in zip(*results, strict=True):
            assert torch.equal(eager, graph)


def test_a_compiled_graph_may_surround_the_operator(any_core):
    """What comes before and after is compiled with it."""
    torch.compiler.reset()
    leaves, fresh, _ = tensors("lstm")

    def model(x):
        return call("lstm", {**leaves, "x": torch.tanh(x) * 2}, fresh)[0].relu().sum()

    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    x = leaves["x"]
    expected = torch.autograd.grad(model(x), x)[0]
    torch.testing.assert_close(torch.autograd.grad(compiled(x), x)[0], expected)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # Dynamo's own, where it breaks a graph
def test_a_module_is_compiled_whole_where_torch_allows_it(any_core):
    """Dynamo leaves modules of these kinds out of its graphs; told not to, it finds no break."""
    module, x = tidegate.nn.LSTM(3, 4, 2), torch.randn(5, 2, 3)
    for allow in (True, False):
        torch.compiler.reset()
        with torch._dynamo.config.patch(allow_rnn=allow):
            compiled = torch.compile(module, backend="aot_eager", fullgraph=allow)
            for a, b in zip(compiled(x), module(x), strict=True):
                torch.testing.assert_close(a, b)


def test_fake_tensors_know_the_shapes(any_core):
    leaves, fresh, lengths = tensors("lstm")
    with FakeTensorMode() as mode:
        fakes = {n: mode.from_tensor(t) for n, t in leaves.items()}
        found = torch.ops.tidegate.sequence.default(
            *arguments("lstm", fakes, mode.from_tensor(fresh), mode.from_tensor(lengths))
        )
    real = torch.ops.tidegate.sequence.default(*arguments("lstm", leaves, fresh, lengths))
    assert [f.shape for f in found] == [r.shape for r in real]


@pytest.mark.parametrize("cell", CELLS)
def test_backward_twice_gives_the_same_and_changes_nothing(any_core, cell):
    leaves, fresh, lengths = tensors(cell)
    before = [t.detach().clone() for t in known(leaves)]
    outputs = call(cell, leaves, fresh, lengths)
    kept = [o.detach().clone() for o in outputs]
    d = [torch.randn_like(o) for o in outputs]
    first, second = (torch.autograd.grad(outputs, known(leaves), d, retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(kept, outputs, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, known(leaves), strict=True))


@pytest.mark.parametrize("cell", CELLS)
def test_a_gradient_from_each_output_alone(any_core, cell):
    """From h, h_T and c_T apart: together they must give the sum."""
    leaves, fresh, lengths = tensors(cell)
    outputs = call(cell, leaves, fresh, lengths)
    d = [torch.randn_like(o) for o in outputs]
    whole = torch.autograd.grad(outputs, known(leaves), d, retain_graph=True)
    parts = [torch.autograd.grad(o, known(leaves), d_o, retain_graph=True) for o, d_o in zip(outputs, d, strict=True)]
    for gradient, *shares in zip(whole, *parts, strict=True):
        # a sum of T·B products at the most, made once whole and once in parts
        torch.testing.assert_close(sum(shares), gradient, rtol=0, atol=100 * EPS * max(1, float(gradient.abs().max())))


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_gradients(any_core, cell):
    """A second derivative of the float32 operator against the float64 composite, through every input and gradient."""
    results = []
    for dtype in (torch.float32, torch.float64):
        leaves, fresh, lengths = tensors(cell, dtype=dtype)
        outputs = call(cell, leaves, fresh, lengths)
        generator = torch.Generator().manual_seed(1)
        d = [torch.randn(o.shape, generator=generator).to(dtype).requires_grad_() for o in outputs]
        first = torch.autograd.grad(outputs, known(leaves), d, create_graph=True)
        penalty = sum((g * g).sum() for g in first)
        results.append([*first, *torch.autograd.grad(penalty, [*known(leaves), *d], retain_graph=True)])
        results[-1] += torch.autograd.grad(first[0].sum(), leaves["weight_hh"])
    for single, double in zip(*results, strict=True):
        # sums of at most T·B·G·H = 420 products of terms that float32 rounds, twice over
        limit = 1000 * EPS * max(1.0, float(double.detach().abs().max()))
        torch.testing.assert_close(single.double(), double, rtol=0, atol=limit)


def test_third_derivatives_too(any_core):
    found = []
    for dtype in (torch.float32, torch.float64):
        leaves, _, _ = tensors("gru", 2, 1, 2, 3, dtype=dtype, fresh=False, lengths=False)
        g = call("gru", leaves)[0].pow(2).sum()
        for _ in range(3):
            (g,) = torch.autograd.grad(g, leaves["x"], create_graph=True)
            g = g.pow(2).sum()
        found.append(g)
    torch.testing.assert_close(found[0].double(), found[1], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_only_what_is_asked_for(any_core, cell):
    """Each input alone asks for a gradient; the others get none, and it is the same as when all ask."""
    leaves, fresh, lengths = tensors(cell)
    whole = dict(zip([n for n, t in leaves.items() if t is not None],
                     torch.autograd.grad(call(cell, leaves, fresh, lengths)[0].sum(), known(leaves),
                                         materialize_grads=True), strict=True))  # fmt: skip
    for name, tensor in leaves.items():
        if tensor is not None:
            alone = {n: None if t is None else t.detach().requires_grad_(n == name) for n, t in leaves.items()}
            call(cell, alone, fresh, lengths)[0].sum().backward()
            assert torch.equal(alone[name].grad, whole[name]), name


def test_any_strides(any_core):
    """A transposed, expanded or sliced tensor gives what its dense copy gives, and expanded gradients come in."""
    leaves, fresh, lengths = tensors("lstm", T=4, B=4, I=6, H=6)
    expected = call("lstm", leaves, fresh, lengths)
    expected_gradients = torch.autograd.grad(expected[0].sum(), known(leaves))
    strided = {
        "x": leaves["x"].transpose(0, 1).contiguous().transpose(0, 1),
        **{n: torch.stack([leaves[n], leaves[n]], -1)[..., 0] for n in INPUTS if n != "x"},
    }
    assert not strided["x"].is_contiguous()
    found = call("lstm", strided, fresh.t().contiguous().t(), lengths.repeat_interleave(2)[::2])
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    found_gradients = torch.autograd.grad(found[0].sum(), known(leaves))
    assert all(torch.equal(a, b) for a, b in zip(expected_gradients, found_gradients, strict=True))


def test_an_input_changed_in_place_is_noticed(any_core):
    """PyTorch counts versions of what an operator saved; a gradient from changed weights would be wrong."""
    leaves, _, _ = tensors("gru", fresh=False, lengths=False)
    h, _ = call("gru", leaves)
    with torch.no_grad():
        leaves["weight_hh"].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        h.sum().backward()


def test_outputs_are_no_inputs(any_core):
    """Not even where there is no step: the last state may be written over."""
    leaves, _, _ = tensors("lstm", fresh=False, lengths=False)
    _, h_T, c_T = call("lstm", leaves, lengths=torch.zeros(3, dtype=torch.int64))
    assert torch.equal(h_T, leaves["h_0"])
    assert torch.equal(c_T, leaves["c_0"])
    assert h_T.data_ptr() != leaves["h_0"].data_ptr()


def test_forward_without_saving_has_no_backward(any_core):
    leaves, _, _ = tensors("rnn", fresh=False, lengths=False)
    h, *_ = torch.ops.tidegate.sequence.default(*arguments("rnn", leaves, None, None, save=False))
    with pytest.raises(RuntimeError, match="save=True"):
        h.sum().backward()


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # of torch.func.jvp itself
def test_what_the_core_cannot_do_goes_to_pytorch(any_core):
    """float64, bfloat16, autocast, transforms and forward mode give results as before."""
    leaves, _, _ = tensors("lstm", fresh=False, lengths=False)
    expected = call("lstm", leaves)[0]
    gradient = torch.autograd.grad(expected.sum(), leaves["x"])[0]
    for dtype, tolerance in ((torch.float64, 1e-5), (torch.bfloat16, 0.1)):
        other = {n: None if t is None else t.detach().to(dtype) for n, t in leaves.items()}
        found = call("lstm", other)[0]
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), expected, rtol=0, atol=tolerance)
        learning = call("lstm", {n: None if t is None else t.requires_grad_() for n, t in other.items()})[0]
        torch.testing.assert_close(learning, found, rtol=0, atol=tolerance)
        learning.float().sum().backward()
        torch.testing.assert_close(other["x"].grad.float(), gradient, rtol=0, atol=tolerance)
    with torch.autocast("cpu", torch.bfloat16):
        for some in (None, torch.tensor([5, 5, 5])):
            found = call("lstm", leaves, lengths=some)[0]
            assert found.dtype in (torch.bfloat16, torch.float32)  # float32 where oneDNN has no such LSTM
            torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.1)
        assert not call("lstm", leaves, lengths=torch.tensor([5, 1, 0]))[0][1:, 1:2].any()
    plain = {n: t.detach() for n, t in leaves.items()}

    def of_x(x):
        return call("lstm", {**plain, "x": x})[0].sum()

    x, tangent = plain["x"], torch.randn_like(plain["x"])
    torch.testing.assert_close(torch.func.grad(of_x)(x), gradient, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.func.vmap(of_x)(torch.stack([x, x]))[1], of_x(x), rtol=1e-4, atol=1e-5)
    _, directional = torch.func.jvp(of_x, (x,), (tangent,))
    torch.testing.assert_close(directional, (gradient * tangent).sum(), rtol=1e-4, atol=1e-4)
    meta = {n: t.to("meta") for n, t in plain.items()}
    assert call("lstm", meta, torch.zeros(5, 3, dtype=torch.bool, device="meta"))[0].shape == (5, 3, 7)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_transform_inside_a_compiled_function(any_core, cell):
    leaves, fresh, lengths = tensors(cell)
    plain = {n: None if t is None else t.detach() for n, t in leaves.items()}

    def gradient(x):
        return torch.func.grad(lambda x: call(cell, {**plain, "x": x}, fresh, lengths)[0].square().sum())(x)

    compiled = torch.compile(gradient, backend="aot_eager")
    torch.testing.assert_close(compiled(plain["x"]), gradient(plain["x"]), rtol=1e-4, atol=1e-5)


def test_the_public_functions_take_fake_tensors(any_core):
    """What has no values cannot be looked at: neither lengths nor targets."""
    leaves, fresh, lengths = tensors("lstm")
    with FakeTensorMode() as mode:
        fake = {name: None if t is None else mode.from_tensor(t) for name, t in leaves.items()}
        h, *_ = call("lstm", fake, mode.from_tensor(fresh), mode.from_tensor(lengths))
        assert h.shape == (5, 3, 7)
        x, weight = torch.empty(6, 4, requires_grad=True), torch.empty(9, 4, requires_grad=True)
        loss = linear_cross_entropy(x, weight, None, torch.empty(6, dtype=torch.int64), reduction="mean")
        assert [g.shape for g in torch.autograd.grad(loss, (x, weight))] == [x.shape, weight.shape]


def test_many_gradients_at_once(any_core):
    """One loss, several factors: scaling in place would need one array for each."""
    x, weight = torch.randn(6, 4, requires_grad=True), torch.randn(9, 4, requires_grad=True)
    loss = linear_cross_entropy(x, weight, None, torch.randint(9, (6,)))
    factors = torch.tensor([1.0, 2.0, -3.0])
    many = torch.autograd.grad(loss, (x, weight), factors, retain_graph=True, is_grads_batched=True)
    for found, one in zip(many, torch.autograd.grad(loss, (x, weight)), strict=True):
        torch.testing.assert_close(found, factors[:, None, None] * one)
    last = linear_cross_entropy(x, weight, None, torch.randint(9, (6,)))
    assert torch.autograd.grad(last, weight, factors, is_grads_batched=True)[0].shape == (3, 9, 4)


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler: not on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Inductor's own
def test_inductor(any_core):
    """The compiler that users have: elementary operators around the core's are fused, the core's stays."""
    torch.compiler.reset()
    leaves, fresh, lengths = tensors("gru")

    def model(x):
        return (call("gru", {**leaves, "x": torch.tanh(x) * 2}, fresh, lengths)[0] ** 2).sum()

    compiled = torch.compile(model, fullgraph=True)
    found, expected = (torch.autograd.grad(f(leaves["x"]), leaves["x"])[0] for f in (compiled, model))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="oneDNN's name of an instruction set of x86-64")
def test_where_onednn_has_no_lstm_in_bfloat16():
    """The test above, in a process in which oneDNN is held to AVX2, for which PyTorch calls it in vain."""
    chosen = "test_what_the_core_cannot_do_goes_to_pytorch"
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-x", __file__, "-k", chosen],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}, check=True, timeout=300,
    )  # fmt: skip
