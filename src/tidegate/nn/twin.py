"""The way back: a model's `tidegate.nn` layers as those of `torch.nn`."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from tidegate.nn.layers import GRU, LSTM, RNN

TWINS: dict[type[nn.Module], type[nn.Module]] = {RNN: nn.RNN, GRU: nn.GRU, LSTM: nn.LSTM}
Model = TypeVar("Model", bound=nn.Module)


def to_torch(model: Model) -> Model:
    """Return a copy of a model in which each RNN, GRU and LSTM of `tidegate.nn` is that of `torch.nn`.

    Weights, buffers, hooks and parametrizations are copied with it. For tools that find `torch.nn`'s modules by their
    exact type, such as `torch.ao.quantization`, and to save a model that is loaded where Tidegate is not installed.
    Subclasses stay as they are: their forward is their own.
    """
    copied = copy.deepcopy(model)
    for layer in copied.modules():
        own = type(layer)
        if own in TWINS:
            layer.__class__ = TWINS[own]
        elif is_parametrized(layer) and own.__bases__[0] in TWINS:
            # PyTorch made a subclass for this layer alone, which holds a property for each computed weight
            parts = {name: part for name, part in vars(own).items() if name not in ("__dict__", "__weakref__")}
            layer.__class__ = type(own.__name__, (TWINS[own.__bases__[0]],), parts)
        else:
            continue
        layer.__dict__.pop("__module__", None)
    return copied
