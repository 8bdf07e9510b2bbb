"""How PyTorch's tools take `tidegate.nn`'s layers: as the modules of `torch.nn` that they stand for, where they can."""

from __future__ import annotations

import warnings
from typing import Any, Self

from torch import nn

LAYERS = "tidegate.nn.layers"


class AsTorch:
    """The part of a layer that `torch.fx` and `torch.ao.quantization` look at."""

    __jit_unused_properties__: list[str] = ["all_weights", "qconfig"]  # noqa: RUF012 (as in torch.nn)

    def __new__(cls, *_arguments: Any, **_settings: Any) -> Self:
        """Make a leaf of it, as all modules of `torch.nn` are to `torch.fx`, which asks each one for its __module__. A
        subclass, which may have a forward of its own, is traced through."""
        layer = super().__new__(cls)
        if cls.__module__ == LAYERS:
            layer.__dict__["__module__"] = "torch.nn"
        return layer

    @property
    def qconfig(self) -> Any:
        """How `torch.ao.quantization` would quantize the layer: it sets this on all modules of a model."""
        try:
            return self.__dict__["qconfig"]
        except KeyError:
            raise AttributeError("qconfig") from None

    @qconfig.setter
    def qconfig(self, value: Any) -> None:
        self.__dict__["qconfig"] = value
        if isinstance(self, nn.RNN):  # which it does not quantize
            return
        name = "LSTM" if isinstance(self, nn.LSTM) else "GRU"
        warnings.warn(
            f"torch.ao.quantization finds torch.nn.{name} by its exact type, so it leaves this tidegate.nn.{name} in "
            "floating point. To quantize it too, call tidegate.nn.to_torch(model) first.",
            stacklevel=2,
        )

    @qconfig.deleter
    def qconfig(self) -> None:
        self.__dict__.pop("qconfig", None)
