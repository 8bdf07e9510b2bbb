"""The operators ``tidegate::sequence`` and ``tidegate::sequence_backward``: the core's recurrent layer for PyTorch.

They are registered with the dispatcher, so `torch.compile`, `torch.export`, profilers and fake tensors see two
operators and no Python. The backward is an operator of its own, so that it stands in a compiled graph as well; what
differentiates it again recomputes the cell in elementary operators. No operator changes a tensor that was saved, or
returns an input.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DynamicOutputShapeException

from tidegate import native
from tidegate.nn.composite import CellWeights, run_steps, transformed, zero_state
from tidegate.nn.differentiate import backward_of_backward
from tidegate.theory.state import LSTMState

_library = torch.library.Library("tidegate", "FRAGMENT")
_INPUTS = (
    "int cell, Tensor x, Tensor? h_0, Tensor? c_0, Tensor weight_ih, Tensor weight_hh, Tensor? bias_ih, "
    "Tensor? bias_hh, Tensor? fresh, Tensor? lengths"
)
# outputs h, h_T, c_T, saved: c_T is empty but for the LSTM; saved, opaque, is empty where save is False
_library.define(f"sequence({_INPUTS}, bool save) -> (Tensor, Tensor, Tensor, Tensor)")
# outputs d_x, d_h_0, d_c_0, d_weight_ih, d_weight_hh, d_bias_ih, d_bias_hh: empty where not wanted
_library.define(
    f"sequence_backward({_INPUTS}, Tensor h, Tensor saved, Tensor? d_h, Tensor? d_h_T, Tensor? d_c_T, bool[] wanted)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
)
native.core()  # loaded now: while a graph is traced, torch.compile and torch.export could not
_forward = torch.ops.tidegate.sequence.default
_backward = torch.ops.tidegate.sequence_backward.default
_LSTM = native.CELLS["lstm"]
_NAMES = {number: name for name, number in native.CELLS.items()}


def sequence(
    cell: str,
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    weights: CellWeights,
    fresh: Tensor | None,
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a layer in the native core. Float32 on the CPU, any strides; shapes as in csrc/tidegate.h.

    Returns h ``(T, B, H)``, h_T ``(B, H)`` and c_T ``(B, H)``, which is empty but for the LSTM.
    """
    save = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, h_0, c_0, *weights))
    inputs = (native.CELLS[cell], x, h_0, c_0, *weights, fresh, lengths, save)
    # autograd's key of the dispatcher would come to the same, after one trip through the dispatcher more; but while a
    # graph is traced, the operator itself is what it has to find
    h, h_T, c_T, _ = _forward(*inputs) if torch.compiler.is_compiling() else _forward_autograd(*inputs)
    return h, h_T, c_T


# ---- On the CPU ------------------------------------------------------------------------------------------------------


def dense(tensor: Tensor | None) -> Any:
    """Return a tensor as the core takes it: an array in row-major order, the tensor's own memory where that is so."""
    if tensor is None:
        return None
    if tensor.requires_grad:
        tensor = tensor.detach()
    return tensor.contiguous().numpy()


KEPT_FROM = 1 << 14
"""Elements from which an array's memory is worth keeping; below, an allocator has it at hand anyway."""


def empty(x: Tensor, *shape: int) -> Tensor:
    """Return a tensor of any content, float32 on the CPU. The core keeps a large one's memory when it is freed: the
    system's zeroing of fresh pages costs a small layer more than its products. PyTorch cannot resize such a tensor's
    storage."""
    if math.prod(shape) < KEPT_FROM:
        return x.new_empty(shape)
    return torch.from_numpy(core().empty(shape))


def core() -> Any:
    """Return the native core. RuntimeError where it is not there."""
    found = native.core()
    if found is None:
        raise RuntimeError("This operator runs in the native core, which is not here; tidegate doctor says why.")
    return found


def _forward_cpu(
    cell: int, x: Tensor, h_0: Tensor | None, c_0: Tensor | None, weight_ih: Tensor, weight_hh: Tensor,
    bias_ih: Tensor | None, bias_hh: Tensor | None, fresh: Tensor | None, lengths: Tensor | None, save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    kernels = core()
    (T, B, I), H = x.shape, weight_hh.shape[1]
    h, h_T = empty(x, T, B, H), empty(x, B, H)
    c_T = empty(x, B, H) if cell & 15 == _LSTM else empty(x, 0)
    saved = empty(x, kernels.saved_size(cell, T, B, I, H) if save else 0)
    kernels.sequence_forward(
        cell, dense(x), dense(h_0), dense(c_0), dense(weight_ih), dense(weight_hh), dense(bias_ih), dense(bias_hh),
        dense(fresh), dense(lengths), h.numpy(), h_T.numpy(), c_T.numpy() if cell & 15 == _LSTM else None,
        saved.numpy() if save else None, native.team(torch.get_num_threads()),
    )  # fmt: skip
    return h, h_T, c_T, saved


def _backward_cpu(
    cell: int, x: Tensor, h_0: Tensor | None, c_0: Tensor | None, weight_ih: Tensor, weight_hh: Tensor,
    bias_ih: Tensor | None, bias_hh: Tensor | None, fresh: Tensor | None, lengths: Tensor | None,
    h: Tensor, saved: Tensor, d_h: Tensor | None, d_h_T: Tensor | None, d_c_T: Tensor | None, wanted: list[bool],
) -> tuple[Tensor, ...]:  # fmt: skip
    shapes = _gradient_shapes(x, weight_ih, weight_hh, wanted)
    gradients = tuple(empty(x, *shape) for shape in shapes)
    core().sequence_backward(
        cell, dense(x), dense(h_0), dense(c_0), dense(weight_ih), dense(weight_hh), dense(fresh), dense(lengths),
        dense(h), dense(saved), dense(d_h), dense(d_h_T), dense(d_c_T),
        *(g.numpy() if want else None for g, want in zip(gradients, wanted, strict=True)),
        native.team(torch.get_num_threads()),
    )  # fmt: skip
    return gradients


def _gradient_shapes(x: Tensor, weight_ih: Tensor, weight_hh: Tensor, wanted: list[bool]) -> list[Any]:
    B, H, rows = x.shape[1], weight_hh.shape[1], weight_hh.shape[0]
    shapes = (x.shape, (B, H), (B, H), weight_ih.shape, weight_hh.shape, (rows,), (rows,))
    return [shape if want else (0,) for shape, want in zip(shapes, wanted, strict=True)]


# ---- Shapes alone ----------------------------------------------------------------------------------------------------


def _forward_fake(
    cell: int, x: Tensor, h_0: Tensor | None, c_0: Tensor | None, weight_ih: Tensor, weight_hh: Tensor,
    bias_ih: Tensor | None, bias_hh: Tensor | None, fresh: Tensor | None, lengths: Tensor | None, save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    (T, B, I), H = x.shape, weight_hh.shape[1]
    saved: Any = 0
    if save:
        # how much is saved is the core's to say at run time: a compiled graph that is kept on disk and used again may
        # meet another instruction set or another version
        try:
            saved = torch.library.get_ctx().new_dynamic_size()
        except DynamicOutputShapeException:  # no graph is being traced that could hold a size that is not known
            saved = core().saved_size(cell, T, B, I, H)
    c_T = x.new_empty(B, H) if cell & 15 == _LSTM else x.new_empty(0)
    return x.new_empty(T, B, H), x.new_empty(B, H), c_T, x.new_empty(saved)


def _backward_fake(*inputs: Any) -> tuple[Tensor, ...]:
    x, weight_ih, weight_hh, wanted = inputs[1], inputs[4], inputs[5], inputs[-1]
    return tuple(x.new_empty(shape) for shape in _gradient_shapes(x, weight_ih, weight_hh, wanted))


# ---- Autograd --------------------------------------------------------------------------------------------------------


class _Sequence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cell: int, *inputs: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        with torch._C._AutoDispatchBelowAutograd():
            h, h_T, c_T, saved = _forward(cell, *inputs)
        ctx.cell, ctx.was_saved = cell, inputs[-1]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[:-1], h, saved)
        ctx.mark_non_differentiable(*((saved,) if cell & 15 == _LSTM else (c_T, saved)))
        return h, h_T, c_T, saved

    @staticmethod
    def backward(ctx: Any, d_h: Tensor | None, d_h_T: Tensor | None, d_c_T: Tensor | None, _: Any) -> tuple[Any, ...]:
        if not ctx.was_saved:
            raise RuntimeError("tidegate::sequence ran with save=False, so it has no backward: run it with save=True.")
        wanted = list(ctx.needs_input_grad[1:8])
        if (d_h is None and d_h_T is None and d_c_T is None) or not any(wanted):
            return (None,) * 11
        inputs = (ctx.cell, *ctx.saved_tensors, d_h, d_h_T, d_c_T, wanted)
        gradients = _backward_autograd(*inputs)
        return (None, *(g if want else None for g, want in zip(gradients, wanted, strict=True)), None, None, None)


class _SequenceBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cell: int, *inputs: Any) -> tuple[Tensor, ...]:
        with torch._C._AutoDispatchBelowAutograd():
            gradients = _backward(cell, *inputs)
        ctx.cell, ctx.wanted = cell, inputs[-1]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[:9], *inputs[11:14])
        ctx.mark_non_differentiable(*(g for g, want in zip(gradients, ctx.wanted, strict=True) if not want))
        return gradients

    @staticmethod
    def backward(ctx: Any, *d_gradients: Tensor | None) -> tuple[Any, ...]:
        *inputs, fresh, lengths, d_h, d_h_T, d_c_T = ctx.saved_tensors
        if ctx.cell not in _NAMES:
            raise RuntimeError("The identity cells are for tests of the kernels and have no second derivative.")
        cell = _NAMES[ctx.cell]

        def forward(*inputs: Any) -> tuple[Tensor, ...]:
            return _composite(*(cell, *inputs, fresh, lengths))

        needs = ctx.needs_input_grad
        second = backward_of_backward(
            forward, inputs, (d_h, d_h_T, d_c_T), ctx.wanted, d_gradients, (*needs[1:8], *needs[12:15])
        )
        # h and saved are functions of the inputs: their share is in the inputs' gradients
        return (None, *second[:7], None, None, None, None, *second[7:], None)


def _composite(
    cell: str, x: Tensor, h_0: Tensor | None, c_0: Tensor | None, weight_ih: Tensor, weight_hh: Tensor,
    bias_ih: Tensor | None, bias_hh: Tensor | None, fresh: Tensor | None, lengths: Tensor | None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Compute h and the state's parts by PyTorch's operators, which every transform knows."""
    state = zero_state(cell, x.shape[1], weight_hh.shape[1], x)
    state = state if h_0 is None else state._replace(h=h_0)
    state = state if c_0 is None or not isinstance(state, LSTMState) else state._replace(c=c_0)
    h, last = run_steps(cell, x, state, CellWeights(weight_ih, weight_hh, bias_ih, bias_hh), fresh, lengths)
    return (h, *last)


def _forward_autograd(*inputs: Any) -> Any:
    """Differentiable where grad mode is on and an input asks for it, else the operator below autograd."""
    if transformed():  # a traced graph met a transform of torch.func
        h, h_T, *c_T = _composite(_NAMES[inputs[0]], *inputs[1:-1])
        return h, h_T, c_T[0] if c_T else h.new_empty(0), h.new_empty(0)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs[1:8]):
        return _Sequence.apply(*inputs)
    with torch._C._AutoDispatchBelowAutograd():
        return _forward(*inputs)


def _backward_autograd(*inputs: Any) -> Any:
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs[1:-1]):
        return _SequenceBackward.apply(*inputs)
    with torch._C._AutoDispatchBelowAutograd():
        return _backward(*inputs)


_library.impl("sequence", _forward_cpu, "CPU")
_library.impl("sequence_backward", _backward_cpu, "CPU")
_library.impl("sequence", _forward_autograd, "Autograd")
_library.impl("sequence_backward", _backward_autograd, "Autograd")
torch.library.register_fake("tidegate::sequence", _forward_fake, lib=_library)
torch.library.register_fake("tidegate::sequence_backward", _backward_fake, lib=_library)
