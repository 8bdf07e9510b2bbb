"""`tidegate.nn`'s layers under PyTorch's tools: tracing, scripting, export, quantization, transforms, wrappers.

Each case is done with `torch.nn`'s layer and with Tidegate's: the same numbers, or the same kind of error.
"""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence

import tidegate.nn
from tests.nn.test_layers import CLOSE, KINDS

x = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(1))
hx = torch.randn(1, 3, 6, generator=torch.Generator().manual_seed(2))


class Model(nn.Module):
    """A layer as models have them: its outputs alone are used, or its state as well."""

    def __init__(self, namespace, kind, layers=1, bidirectional=False):
        super().__init__()
        torch.manual_seed(7)
        self.rnn = getattr(namespace, kind)(5, 6, layers, bidirectional=bidirectional)
        self.out = nn.Linear(12 if bidirectional else 6, 3)

    def forward(self, x):
        y, _ = self.rnn(x)
        return self.out(y)


class Packed(Model):
    def forward(self, x, lengths):
        y, _ = self.rnn(pack_padded_sequence(x, lengths))
        return self.out(y.data)


def outcome(function, model):
    """What a call gives, or the kind of its error."""
    try:
        return function(model)
    except Exception as error:
        return type(error)


def both(function, kind, build=Model, **options):
    """The same for both, on models of the same weights."""
    theirs, mine = (outcome(function, build(n, kind, **options)) for n in (torch.nn, tidegate.nn))
    if isinstance(theirs, type) and isinstance(mine, type):
        assert issubclass(mine, theirs) or issubclass(theirs, mine)
    else:
        torch.testing.assert_close(mine, theirs, **CLOSE)
    return mine


def saved_and_loaded(scripted):
    file = io.BytesIO()
    torch.jit.save(scripted, file)
    file.seek(0)
    return torch.jit.load(file)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"layers": 2}, {"bidirectional": True}], ids=str)
def test_fx_sees_one_module(kind, options):
    def trace(model):
        calls = []
        model.rnn.register_forward_pre_hook(lambda *_: calls.append(1))
        graph = torch.fx.symbolic_trace(model)
        assert [node.op for node in graph.graph.nodes].count("call_module") == 2
        result = graph(x)
        return result, torch.tensor(len(calls))

    both(trace, kind, **options)


def test_fx_of_the_layer_alone_is_an_error_as_in_torch():
    assert both(lambda model: torch.fx.symbolic_trace(model.rnn), "GRU") is torch.fx.proxy.TraceError


class Own(tidegate.nn.LSTM):
    def forward(self, input):
        return super().forward(input * 2)[0]


def test_fx_traces_through_a_subclass_as_through_one_of_torch():
    class Theirs(torch.nn.LSTM):
        def forward(self, input):
            return super().forward(input * 2)[0]

    for kind in (Theirs, Own):
        with pytest.raises(torch.fx.proxy.TraceError):
            torch.fx.symbolic_trace(nn.Sequential(kind(5, 6)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"layers": 2, "bidirectional": True}], ids=str)
def test_jit(kind, options):
    """Traced and scripted, saved and loaded, for another length; what is saved names no operator of Tidegate's."""

    def trace(model):
        traced = torch.jit.trace(model, x)
        assert "tidegate" not in str(traced.inlined_graph.str()).replace("tidegate.nn", "")
        return saved_and_loaded(traced)(x[:2])

    both(trace, kind, **options)
    both(lambda model: saved_and_loaded(torch.jit.script(model))(x[:2]), kind, **options)
    packed = (x, torch.tensor([4, 3, 1]))
    both(lambda model: saved_and_loaded(torch.jit.script(model))(*packed), kind, Packed, **options)
    both(lambda model: torch.jit.script(model.rnn)(x), kind, **options)


class WithState(Model):
    def forward(self, x: torch.Tensor, h: torch.Tensor):
        y, last = self.rnn(x, h)
        return y, last


class WithStates(Model):
    def forward(self, x: torch.Tensor, h: torch.Tensor):
        y, last = self.rnn(x, (h, h))
        return y, last


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_scripts_with_a_state(kind):
    """For a batch and for one sequence; a state of a wrong shape is the error of torch.nn."""
    build = WithStates if kind == "LSTM" else WithState
    for state, input in ((hx, x), (hx[:, 0], x[:, 0]), (hx[:, :2], x), (hx, x[0])):
        both(lambda model, *given: torch.jit.script(model)(input, state), kind, build)  # noqa: B023


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripts_have_no_lengths():
    class Lengths(Model):
        def forward(self, x: torch.Tensor, lengths: torch.Tensor):
            y, _ = self.rnn(x, lengths=lengths)
            return y

    scripted = torch.jit.script(Lengths(tidegate.nn, "GRU"))
    with pytest.raises(torch.jit.Error, match="have no form in TorchScript"):
        scripted(x, torch.tensor([4, 3, 1]))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_a_trace_with_lengths_keeps_them_free():
    class Lengths(Model):
        def forward(self, x, lengths):
            return self.rnn(x, lengths=lengths)[0]

    model = Lengths(tidegate.nn, "LSTM")
    traced = torch.jit.trace(model, (x, torch.tensor([4, 3, 1])))
    torch.testing.assert_close(traced(x, torch.tensor([2, 4, 0])), model(x, torch.tensor([2, 4, 0])), **CLOSE)


@pytest.mark.filterwarnings("ignore")  # the exporter's own, of many kinds
@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_onnx_has_its_own_operator(kind, dynamo, tmp_path):
    onnx = pytest.importorskip("onnx")
    if dynamo:
        pytest.importorskip("onnxscript")
    path = tmp_path / "model.onnx"
    torch.onnx.export(Model(tidegate.nn, kind), (x,), path, dynamo=dynamo)
    assert kind in [node.op_type for node in onnx.load(path).graph.node]


FIRST_USES = {
    "export": "found = torch.export.export(model, (x,), strict=True).module()",
    "compile": "torch._dynamo.config.allow_rnn = True; "
    "found = torch.compile(model, fullgraph=True, backend='aot_eager')",
}


@pytest.mark.parametrize("use", FIRST_USES)
def test_as_the_first_use_in_a_process(use):
    """The core is loaded before a graph is traced."""
    code = (
        "import torch, tidegate.nn; from torch import nn\n"
        "class Model(nn.Module):\n"
        "    def __init__(self): super().__init__(); self.rnn = tidegate.nn.LSTM(5, 6)\n"
        "    def forward(self, x): return self.rnn(x)[0]\n"
        f"model, x = Model(), torch.randn(4, 3, 5); {FIRST_USES[use]}\n"
        "torch.testing.assert_close(found(x), model(x)); print('same')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "same", done.stderr[-3000:]


def test_without_leave_compile_refuses_as_torch_does():
    torch.compiler.reset()
    unsupported = torch._dynamo.exc.Unsupported
    assert both(lambda model: torch.compile(model, fullgraph=True, backend="eager")(x), "LSTM") is unsupported


# ---- Quantization, and the way back ----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:torch.quantize_per:UserWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_quantized_by_the_way_back(kind):
    """Given directly, the layer stays in float32, with a warning; the model with torch.nn's layers is quantized."""
    mine = Model(tidegate.nn, kind)
    quantize = torch.ao.quantization.quantize_dynamic
    twin = tidegate.nn.to_torch(mine)
    assert type(twin.rnn) is getattr(torch.nn, kind)
    assert type(mine.rnn) is getattr(tidegate.nn, kind)
    torch.testing.assert_close(quantize(twin)(x), quantize(Model(torch.nn, kind))(x), rtol=0, atol=0)
    if kind == "RNN":  # of which PyTorch has no quantized form
        assert type(quantize(mine).rnn) is tidegate.nn.RNN
        return
    assert type(quantize(twin).rnn).__module__.startswith("torch.ao")
    with pytest.warns(UserWarning, match=r"call tidegate\.nn\.to_torch\(model\) first"):
        quantized = quantize(mine)
    torch.testing.assert_close(quantized.rnn(x)[0], mine.rnn(x)[0])
    assert not hasattr(quantized.rnn, "qconfig")


def test_the_way_back_keeps_all_that_a_layer_has():
    """Hooks, parametrizations and frozen weights; subclasses, the original and its own layers stay."""
    model = nn.ModuleDict({"plain": tidegate.nn.LSTM(5, 6), "normed": tidegate.nn.GRU(5, 6), "own": Own(5, 6)})
    nn.utils.parametrizations.weight_norm(model["normed"], "weight_hh_l0")
    model["plain"].weight_hh_l0.requires_grad_(False)
    calls = []
    model["plain"].register_forward_hook(lambda *_: calls.append(1))
    twin = tidegate.nn.to_torch(model)
    assert type(twin["plain"]) is torch.nn.LSTM
    assert type(twin["own"]) is Own
    assert isinstance(twin["normed"], torch.nn.GRU)
    assert not isinstance(twin["normed"], tidegate.nn.GRU)
    assert not twin["plain"].weight_hh_l0.requires_grad
    for name in ("plain", "normed"):
        torch.testing.assert_close(twin[name](x)[0], model[name](x)[0], **CLOSE)
        assert isinstance(model[name], tidegate.nn.LSTM | tidegate.nn.GRU)
    assert len(calls) == 2
    assert b"tidegate" not in pickle.dumps(tidegate.nn.to_torch(Model(tidegate.nn, "LSTM").rnn))
    assert type(tidegate.nn.to_torch(tidegate.nn.RNN(5, 6))) is torch.nn.RNN


# ---- What surrounds a call -------------------------------------------------------------------------------------------


def gradients(model, y):
    y.sum().backward()
    return [p.grad for p in model.parameters() if p.grad is not None]


def parametrized(how):
    def run(model):
        how(model.rnn, "weight_hh_l0")
        return gradients(model, model(x))

    return run


def pruned(model):
    from torch.nn.utils import prune

    prune.l1_unstructured(model.rnn, "weight_hh_l0", 0.5)
    return gradients(model, model(x))


def hooked(model):
    order = []
    model.rnn.register_forward_pre_hook(lambda *_: order.append(1))
    model.rnn.register_forward_hook(lambda *_: order.append(2))
    model.rnn.register_full_backward_hook(lambda *_: order.append(3))
    return torch.tensor(order), gradients(model, model(x.clone().requires_grad_()))


def frozen_in_part(model):
    model.rnn.weight_hh_l0.requires_grad_(False)
    return gradients(model, model(x))


def twice_differentiated(model):
    leaf = x.clone().requires_grad_()
    (d_x,) = torch.autograd.grad(model(leaf).sum(), leaf, create_graph=True)
    return gradients(model, d_x.square())


def replicated(model):
    replica = model.rnn._replicate_for_data_parallel()
    replica_of_all = model._replicate_for_data_parallel()
    return replica(x)[0], replica_of_all(x), nn.DataParallel(model)(x)


def checkpointed(model):
    from torch.utils.checkpoint import checkpoint

    return gradients(model, checkpoint(model, x.clone().requires_grad_(), use_reentrant=False))


def per_model(model):
    weights = {name: p.detach() * 2 for name, p in model.named_parameters()}
    return torch.func.functional_call(model, weights, (x,))


def gradient_by_transform(model):
    weights = dict(model.named_parameters())
    return torch.func.grad(lambda w: torch.func.functional_call(model, w, (x,)).sum())(weights)


def in_inference_mode(model):
    with torch.inference_mode():
        y = model(x)
        return y.clone(), torch.tensor([y.is_inference(), y.requires_grad])


def of_inference_tensors(model):
    with torch.inference_mode():
        inside = x.clone()
    return gradients(model, model(inside))


def by_keyword(model):
    return model.rnn(input=x, hx=(hx, hx) if isinstance(model.rnn, nn.LSTM) else hx)[0]


def from_packed(model):
    y, _ = model.rnn(pack_sequence([x[:3, 0], x[:1, 1]]))
    return y.data


def from_lists(model):
    return model.rnn(x, [hx, hx] if isinstance(model.rnn, nn.LSTM) else [hx])[0]


class Counted(torch.Tensor):
    """A subclass that watches PyTorch's functions."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return super().__torch_function__(func, types, args, kwargs or {})


def of_a_subclass(model):
    y = model.rnn(x.as_subclass(Counted))[0]
    return y.as_subclass(torch.Tensor), torch.tensor(type(y) is Counted)


CASES = {
    "weight_norm": parametrized(nn.utils.parametrizations.weight_norm),
    # while training, each look at the weight is a step of its power iteration
    "spectral_norm": lambda model: parametrized(nn.utils.parametrizations.spectral_norm)(model.eval()),
    "vmap": lambda model: torch.func.vmap(model)(torch.stack([x, -x])),
    "jvp": lambda model: torch.func.jvp(model, (x,), (x,)),
    "orthogonal": parametrized(nn.utils.parametrizations.orthogonal),
    "prune": pruned,
    "hooks": hooked,
    "frozen in part": frozen_in_part,
    "frozen": lambda model: model.requires_grad_(False)(x),
    "double backward": twice_differentiated,
    "replicas": replicated,
    "checkpoint": checkpointed,
    "functional_call": per_model,
    "func.grad": gradient_by_transform,
    "inference_mode": in_inference_mode,
    "inference tensors": of_inference_tensors,
    "keywords": by_keyword,
    "packed": from_packed,
    "lists": from_lists,
    "a subclass of Tensor": of_a_subclass,
    "half": lambda model: model.half().rnn(x.half())[0].float().round(decimals=2),
    "bfloat16": lambda model: model.bfloat16().rnn(x.bfloat16())[0].float().round(decimals=2),
    "share_memory": lambda model: model.share_memory()(x),
    "flatten_parameters": lambda model: (model.rnn.flatten_parameters(), model(x))[1],
    "averaged": lambda model: torch.optim.swa_utils.AveragedModel(model)(x),
    "copied": lambda model: copy.deepcopy(model)(x),
    "pickled": lambda model: pickle.loads(pickle.dumps(model))(x),
    "all_weights": lambda model: model.rnn.all_weights,
    "no steps": lambda model: model(x[:0]),
    "no lanes": lambda model: model(x[:, :0]),
    "whole numbers": lambda model: model(x.long()),
    "nested": lambda model: model.rnn(torch.nested.nested_tensor([x[:, 0], x[:2, 0]]))[0].dim(),
    "a list": lambda model: model.rnn([[1.0]]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_the_same_in_every_use(case, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both(CASES[case], kind)


def test_it_is_one_of_torchs_and_shows_itself_as_such():
    for kind in KINDS:
        mine, theirs = (getattr(n, kind)(5, 6, 2, bias=False, dropout=0.5) for n in (tidegate.nn, torch.nn))
        assert isinstance(mine, getattr(torch.nn, kind))
        assert repr(mine) == repr(theirs)
        assert mine.extra_repr() == theirs.extra_repr()
    assert set(tidegate.nn.__all__) <= set(dir(tidegate.nn))
