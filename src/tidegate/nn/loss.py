"""The loss as sums: nats, tokens and bytes are added up apart and divided once, at the end."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from tidegate.nn.loss_operator import cross_entropy_rows, summed_cross_entropy
from tidegate.nn.sequence import can_look, native_fits

LOGITS_AT_ONCE = 2**24
"""logits made at once where PyTorch computes them, rows × V: 64 MiB, twice for the softmax"""
Reduction = Literal["sum", "mean", "none"]


def cross_entropy_sum(logits: Tensor, targets: Tensor, weight: Tensor | None = None) -> Tensor:
    """Sum over steps and lanes of ``weight · -ln softmax(logits)[target]``, in nats.

    logits: ``(T, B, V)``; targets: ``(T, B)`` int64; weight: ``(T, B)``, None means ones. Returns a scalar.
    """
    if weight is None:
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
    nats = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return torch.dot(nats, weight.flatten().to(nats))


def linear_cross_entropy(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    row_weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: Reduction = "sum",
) -> Tensor:
    """Compute the cross-entropy of a linear layer's logits, ``x @ weight.T + bias``, without holding them all.

    x: ``(…, H)``; weight: ``(V, H)``; bias: ``(V,)`` or None; targets: ``(…)`` int64 in 0 … V - 1, or `ignore_index`,
    which counts nothing; row_weight: ``(…)``, a factor on each row's loss, None means ones; label_smoothing in [0, 1]:
    the share of the target that is spread over the whole vocabulary, as in `torch.nn.functional.cross_entropy`.

    Returns the sum of the losses in nats; under ``reduction="mean"`` that sum divided by the row weights' own, over all
    rows that are not ignored (NaN if there are none); under ``"none"`` each row's loss ``(…)``. ValueError where a
    shape or a setting is wrong, TypeError where a dtype is, IndexError where a target is outside the vocabulary.
    """
    _check(x, weight, bias, targets, row_weight, label_smoothing, reduction)
    rows, aims = x.reshape(-1, x.shape[-1]), targets.reshape(-1)
    factors = None if row_weight is None else row_weight.reshape(-1)
    settings = (ignore_index, label_smoothing)
    if reduction == "none":
        return _rows(rows, weight, bias, aims, factors, *settings).view(targets.shape)
    # the core gives no gradient of the row weights
    learns_factors = factors is not None and factors.requires_grad and torch.is_grad_enabled()
    if not learns_factors and native_fits(rows, weight, bias, factors) and aims.device == rows.device:
        _check_targets(aims, weight.shape[0], ignore_index)
        total = summed_cross_entropy(rows, weight, bias, aims, factors, *settings)
    else:
        total = _rows(rows, weight, bias, aims, factors, *settings).sum()
    if reduction == "sum":
        return total
    counted = (aims != ignore_index).to(total.dtype)
    return total / (counted if factors is None else counted * factors).sum()


def _rows(
    x: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, row_weight: Tensor | None, *settings: float
) -> Tensor:
    """Return each row's loss by PyTorch's operators, some rows at a time."""
    at_once = max(1, LOGITS_AT_ONCE // weight.shape[0])
    losses = [
        cross_entropy_rows(
            x[start : start + at_once],
            weight,
            bias,
            targets[start : start + at_once],
            None if row_weight is None else row_weight[start : start + at_once],
            int(settings[0]),
            settings[1],
        )
        for start in range(0, max(1, x.shape[0]), at_once)
    ]
    return losses[0] if len(losses) == 1 else torch.cat(losses)


def _check(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    row_weight: Tensor | None,
    label_smoothing: float,
    reduction: str,
) -> None:
    if reduction not in ("sum", "mean", "none"):
        raise ValueError(f"reduction is {reduction!r}, but 'sum', 'mean' or 'none' is wanted.")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing is {label_smoothing}, but a number from 0 to 1 is wanted.")
    if weight.dim() != 2 or x.dim() < 1 or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"x is {tuple(x.shape)}, weight {tuple(weight.shape)}, but (…, H) and (V, H) are wanted.")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias has shape {tuple(bias.shape)}, but (V,) = {tuple(weight.shape[:1])} is wanted.")
    if targets.shape != x.shape[:-1]:
        raise ValueError(f"targets have shape {tuple(targets.shape)}, but x's without the last, {tuple(x.shape[:-1])}.")
    if targets.dtype is not torch.int64:
        raise TypeError(f"targets are {targets.dtype}, but torch.int64 is wanted: convert them with .long().")
    if row_weight is not None and row_weight.shape != targets.shape:
        raise ValueError(f"row_weight has shape {tuple(row_weight.shape)}, but targets' is {tuple(targets.shape)}.")


def _check_targets(targets: Tensor, V: int, ignore_index: int) -> None:
    """IndexError as by PyTorch's own, before the core reads a row of the matrix that is not there."""
    if not can_look(targets):
        return
    wrong = (targets != ignore_index) & ((targets < 0) | (targets >= V))
    if bool(wrong.any()):
        found = int(targets[wrong][0])
        raise IndexError(f"Target {found} is out of bounds: the weight has {V} rows, so 0 … {V - 1} are wanted.")
