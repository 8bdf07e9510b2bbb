"""The operators ``tidegate::linear_cross_entropy`` and its backward: output layer and loss in one pass of the core.

The gradient of the summed loss is computed together with it, while a block of logits is at hand; what is left for the
backward is to scale it. The backward is an operator of its own; differentiating it again recomputes the loss in
elementary operators. No operator changes a tensor that was saved, or returns an input.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tidegate import native
from tidegate.nn.composite import transformed
from tidegate.nn.differentiate import backward_of_backward
from tidegate.nn.sequence_operator import core, dense, empty

_library = torch.library.Library("tidegate", "FRAGMENT")
_INPUTS = (
    "Tensor x, Tensor weight, Tensor? bias, Tensor targets, Tensor? row_weight, int ignore_index, float label_smoothing"
)
# outputs total (), and the gradients of x, weight and bias, each empty where not wanted
_library.define(f"linear_cross_entropy({_INPUTS}, bool[] wanted) -> (Tensor, Tensor, Tensor, Tensor)")
# outputs d_x, d_weight, d_bias times d_total; empty where what comes in is
_library.define(
    f"linear_cross_entropy_backward(Tensor d_total, {_INPUTS}, Tensor d_x, Tensor d_weight, Tensor d_bias) -> "
    "(Tensor, Tensor, Tensor)"
)
_forward = torch.ops.tidegate.linear_cross_entropy.default
_backward = torch.ops.tidegate.linear_cross_entropy_backward.default


def summed_cross_entropy(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    row_weight: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
) -> Tensor:
    """Sum the losses of all rows in the native core, in float32 on the CPU, any strides.

    x ``(N, H)``, weight ``(V, H)``, bias ``(V,)``, targets ``(N,)`` int64, row_weight ``(N,)``. Returns a scalar.
    """
    wanted = [torch.is_grad_enabled() and t is not None and t.requires_grad for t in (x, weight, bias)]
    inputs = (x, weight, bias, targets, row_weight, ignore_index, label_smoothing, wanted)
    # while a graph is traced, the operator itself is what it has to find
    total: Tensor = _forward(*inputs)[0] if torch.compiler.is_compiling() else _SummedCrossEntropy.apply(*inputs)
    return total


def cross_entropy_rows(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    row_weight: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
) -> Tensor:
    """Return each row's loss ``(N,)`` by PyTorch's operators; arguments as of `summed_cross_entropy`, any dtype."""
    nats = F.cross_entropy(
        F.linear(x, weight, bias), targets, ignore_index=ignore_index, label_smoothing=label_smoothing, reduction="none"
    )
    return nats if row_weight is None else nats * row_weight


# ---- On the CPU, and shapes alone ------------------------------------------------------------------------------------


def _forward_cpu(
    x: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, row_weight: Tensor | None, ignore_index: int,
    label_smoothing: float, wanted: list[bool],
) -> tuple[Tensor, ...]:  # fmt: skip
    losses, gradients = empty(x, x.shape[0]), [empty(x, *shape) for shape in _gradient_shapes(x, weight, wanted)]
    core().linear_cross_entropy(
        dense(x), dense(weight), dense(bias), dense(targets), dense(row_weight), ignore_index, label_smoothing,
        losses.numpy(), *(g.numpy() if want else None for g, want in zip(gradients, wanted, strict=True)),
        native.team(torch.get_num_threads()),
    )  # fmt: skip
    return (losses.sum(dtype=torch.float64).to(x.dtype), *gradients)


def _backward_cpu(d_total: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
    return tuple(gradient * d_total for gradient in inputs[-3:])


def _gradient_shapes(x: Tensor, weight: Tensor, wanted: list[bool]) -> list[Any]:
    shapes = (x.shape, weight.shape, weight.shape[:1])
    return [shape if want else (0,) for shape, want in zip(shapes, wanted, strict=True)]


def _forward_fake(*inputs: Any) -> tuple[Tensor, ...]:
    x, weight, wanted = inputs[0], inputs[1], inputs[-1]
    return (x.new_empty(()), *(x.new_empty(shape) for shape in _gradient_shapes(x, weight, wanted)))


def _backward_fake(*inputs: Any) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(gradient) for gradient in inputs[-3:])


# ---- Autograd --------------------------------------------------------------------------------------------------------


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        with torch._C._AutoDispatchBelowAutograd():
            total, *gradients = _forward(*inputs)
        *ctx.settings, ctx.wanted = inputs[5:]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[:5], *gradients)
        ctx.mark_non_differentiable(*gradients)
        return (total, *gradients)

    @staticmethod
    def backward(ctx: Any, d_total: Tensor | None, *_: Any) -> tuple[Any, ...]:
        needed = ctx.needs_input_grad[:3]
        if d_total is None:
            return (None,) * 8
        if any(need and not want for need, want in zip(needed, ctx.wanted, strict=True)):
            raise RuntimeError("tidegate::linear_cross_entropy was not asked for this gradient: say so in `wanted`.")
        if ctx.needs_input_grad[4]:
            raise RuntimeError("tidegate::linear_cross_entropy has no gradient of row_weight: detach it.")
        gradients = _backward_autograd(d_total, *ctx.saved_tensors[:5], *ctx.settings, *ctx.saved_tensors[5:])
        return (*(g if need else None for g, need in zip(gradients, needed, strict=True)), *(None,) * 5)


class _LinearCrossEntropyBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, d_total: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
        with torch._C._AutoDispatchBelowAutograd():
            gradients = _backward(d_total, *inputs)
        ctx.settings, ctx.wanted = inputs[5:7], [g.numel() > 0 for g in gradients]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(d_total, *inputs[:5])
        ctx.mark_non_differentiable(*(g for g, want in zip(gradients, ctx.wanted, strict=True) if not want))
        return tuple(gradients)

    @staticmethod
    def backward(ctx: Any, *d_gradients: Tensor | None) -> tuple[Any, ...]:
        d_total, x, weight, bias, targets, row_weight = ctx.saved_tensors

        def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, ...]:
            return (cross_entropy_rows(x, weight, bias, targets, row_weight, *ctx.settings).sum(),)

        needs = ctx.needs_input_grad
        *d_inputs, d_d_total = backward_of_backward(
            forward, (x, weight, bias), (d_total,), ctx.wanted, d_gradients, (*needs[1:4], needs[0])
        )
        # the gradients that came in are functions of the inputs: their share is in the inputs' gradients
        return (d_d_total, *d_inputs, *(None,) * 7)


class _SummedCrossEntropy(torch.autograd.Function):
    """The loss alone: its gradients are nobody else's, so the last backward through it may scale them where they lie.

    A second array of the size of the weight is work space that a large vocabulary notices.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        with torch._C._AutoDispatchBelowAutograd():
            total, *ctx.gradients = _forward(*inputs)
        ctx.settings = inputs[5:7]
        ctx.save_for_backward(*inputs[:5])
        return total

    @staticmethod
    def backward(ctx: Any, d_total: Tensor) -> tuple[Any, ...]:
        if ctx.needs_input_grad[4]:
            raise RuntimeError("tidegate::linear_cross_entropy has no gradient of row_weight: detach it.")
        inputs, gradients = ctx.saved_tensors, ctx.gradients
        again = torch.is_grad_enabled() or torch._C._autograd._get_current_graph_task_keep_graph()
        if again or torch._C._functorch.is_legacy_batchedtensor(d_total):  # one d_total of many, under vmap
            gradients = _backward_autograd(d_total, *inputs, *ctx.settings, *gradients)
        else:
            ctx.gradients = None
            for gradient in gradients:
                gradient.mul_(d_total)
        return (*(g if need else None for g, need in zip(gradients, ctx.needs_input_grad, strict=False)), *(None,) * 5)


def _forward_autograd(*inputs: Any) -> Any:
    """Differentiable where grad mode is on and an input asks for it, else the operator below autograd."""
    if transformed():  # a traced graph met a transform of torch.func
        none = inputs[0].new_empty(0)
        return cross_entropy_rows(*inputs[:-1]).sum(), none, none, none
    if torch.is_grad_enabled() and any(isinstance(t, Tensor) and t.requires_grad for t in inputs):
        return _LinearCrossEntropy.apply(*inputs)
    with torch._C._AutoDispatchBelowAutograd():
        return _forward(*inputs)


def _backward_autograd(*inputs: Any) -> Any:
    if torch.is_grad_enabled() and any(isinstance(t, Tensor) and t.requires_grad for t in inputs):
        return _LinearCrossEntropyBackward.apply(*inputs)
    with torch._C._AutoDispatchBelowAutograd():
        return _backward(*inputs)


_library.impl("linear_cross_entropy", _forward_cpu, "CPU")
_library.impl("linear_cross_entropy_backward", _backward_cpu, "CPU")
_library.impl("linear_cross_entropy", _forward_autograd, "Autograd")
_library.impl("linear_cross_entropy_backward", _backward_autograd, "Autograd")
torch.library.register_fake("tidegate::linear_cross_entropy", _forward_fake, lib=_library)
torch.library.register_fake("tidegate::linear_cross_entropy_backward", _backward_fake, lib=_library)
