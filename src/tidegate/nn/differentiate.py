"""The derivative of a backward pass, by running the same computation in PyTorch's elementary operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Tensors = Sequence[Tensor | None]


def backward_of_backward(
    forward: Callable[..., tuple[Tensor, ...]],
    inputs: Tensors,
    d_outputs: Tensors,
    wanted: Sequence[bool],
    d_gradients: Tensors,
    needed: Sequence[bool],
) -> list[Tensor | None]:
    """Differentiate the gradients of ``forward(*inputs)``.

    A backward pass maps `inputs` and the gradients `d_outputs` of forward's outputs to the gradients of those inputs
    that are `wanted`. Given the gradients `d_gradients` of what it returned, one an input, return those of ``[*inputs,
    *d_outputs]``, None where not `needed` or where nothing flows. None stands for an input or a gradient that is not
    there. The result can be differentiated in turn where grad mode is on.
    """
    further = torch.is_grad_enabled()
    with torch.enable_grad():
        leaves, d_leaves = [_leaf(t, further) for t in inputs], [_leaf(t, further) for t in d_outputs]
        pairs = [(o, d) for o, d in zip(forward(*leaves), d_leaves, strict=False) if d is not None]
        targets = [t for t, want in zip(leaves, wanted, strict=True) if want and t is not None]
        first = iter(
            torch.autograd.grad([o for o, _ in pairs], targets, [d for _, d in pairs], create_graph=True,
                                allow_unused=True)
        )  # fmt: skip
        gradients = [next(first) if want and t is not None else None for t, want in zip(leaves, wanted, strict=True)]
        flows = [(g, d) for g, d in zip(gradients, d_gradients, strict=True) if g is not None and d is not None]
        chosen = [t for t, need in zip([*leaves, *d_leaves], needed, strict=True) if need and t is not None]
        if not flows or not chosen:
            return [None] * len(needed)
        second = iter(
            torch.autograd.grad([g for g, _ in flows], chosen, [d for _, d in flows], create_graph=further,
                                allow_unused=True)
        )  # fmt: skip
    pairs_needed = zip([*leaves, *d_leaves], needed, strict=True)
    return [next(second) if need and t is not None else None for t, need in pairs_needed]


def _leaf(tensor: Tensor | None, further: bool) -> Tensor | None:
    """Return a stand-in for a tensor, at which a gradient can be asked for apart from what the tensor was made of."""
    if tensor is None:
        return None
    if further and tensor.requires_grad:
        return tensor.view_as(tensor)
    return tensor.detach().requires_grad_()
