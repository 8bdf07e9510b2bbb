"""`RNN`, `GRU` and `LSTM`: `torch.nn`'s modules, computed by the native core where it can.

Each is a subclass of its namesake: the same constructor, parameters, start values, checks, `state_dict` and results.
Only `forward` is another: it runs float32 on the CPU, in one direction and without projections, through
`tidegate.nn.sequence.run_cell`, and leaves everything else to PyTorch. And it takes two arguments more:

- ``fresh``, bool of the input's shape without the last axis: where True, the lane's state before that step is replaced
  by zeros, in every layer. So several documents can follow one another in a lane.
- ``lengths``, ``(B,)`` int64 in 0 … T: lane b has so many steps; from there on its outputs are zeros, its state stays
  and no gradient flows. It does what packing does, without sorting or copying.

Backward needs the outputs of all three, as it does those of `torch.nn.LSTM`: change a copy of them, not themselves.

`torch.compile` breaks its graph at these modules as it does at `torch.nn`'s own, unless
``torch._dynamo.config.allow_rnn`` is set. `torch.jit.script`, `torch.jit.trace` and `torch.onnx.export` find PyTorch's
operators in them. `torch.ao.quantization` looks for `torch.nn`'s modules by their exact type: give it
``tidegate.nn.to_torch(model)``.

TorchScript reads the annotations of this file as objects, so they are not put off by ``from __future__``.
"""

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch._C import _disabled_torch_function_impl
from torch._jit_internal import _overload_method
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from tidegate.nn import scripted
from tidegate.nn.as_torch import AsTorch
from tidegate.nn.sequence import CellWeights, LayerState, check_lengths, native_fits, run_cell
from tidegate.theory.state import HiddenState, LSTMState

Module = nn.RNN | nn.GRU | nn.LSTM


class RNN(AsTorch, nn.RNN):
    """`torch.nn.RNN` with ``nonlinearity`` tanh or relu; see `torch.nn.RNN` for constructor, inputs and outputs."""

    _padded, _packed = scripted._padded, scripted._packed

    @overload
    @_overload_method
    def forward(
        self, input: Tensor, hx: Tensor | None = None, fresh: Tensor | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        pass

    @overload
    @_overload_method
    def forward(
        self,
        input: PackedSequence,
        hx: Tensor | None = None,
        fresh: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[PackedSequence, Tensor]:
        pass

    def forward(self, input, hx=None, fresh=None, lengths=None):  # type: ignore[no-untyped-def]
        """Return the outputs and the last state, as `torch.nn.RNN` does; fresh and lengths: see this file's head."""
        if torch.jit.is_scripting():
            scripted.refuse(fresh, lengths)
            if isinstance(input, PackedSequence):
                return self._packed(input, hx)
            else:
                return self._padded(input, hx)
        else:
            cell = "rnn_relu" if self.mode == "RNN_RELU" else "rnn"
            return _forward(self, cell, input, hx, fresh, lengths, super().forward)


class GRU(AsTorch, nn.GRU):
    """`torch.nn.GRU`; see there for constructor, inputs and outputs."""

    _padded, _packed = scripted._padded, scripted._packed

    @overload
    @_overload_method
    def forward(
        self, input: Tensor, hx: Tensor | None = None, fresh: Tensor | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        pass

    @overload
    @_overload_method
    def forward(
        self,
        input: PackedSequence,
        hx: Tensor | None = None,
        fresh: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[PackedSequence, Tensor]:
        pass

    def forward(self, input, hx=None, fresh=None, lengths=None):  # type: ignore[no-untyped-def]
        """Return the outputs and the last state, as `torch.nn.GRU` does; fresh and lengths: see this file's head."""
        if torch.jit.is_scripting():
            scripted.refuse(fresh, lengths)
            if isinstance(input, PackedSequence):
                return self._packed(input, hx)
            else:
                return self._padded(input, hx)
        else:
            return _forward(self, "gru", input, hx, fresh, lengths, super().forward)


class LSTM(AsTorch, nn.LSTM):
    """`torch.nn.LSTM`; see there for constructor, inputs and outputs."""

    _lstm_padded, _lstm_packed = scripted._lstm_padded, scripted._lstm_packed

    @overload
    @_overload_method
    def forward(
        self,
        input: Tensor,
        hx: tuple[Tensor, Tensor] | None = None,
        fresh: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        pass

    @overload
    @_overload_method
    def forward(
        self,
        input: PackedSequence,
        hx: tuple[Tensor, Tensor] | None = None,
        fresh: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[PackedSequence, tuple[Tensor, Tensor]]:
        pass

    def forward(self, input, hx=None, fresh=None, lengths=None):  # type: ignore[no-untyped-def]
        """Return the outputs and the last h and c, as `torch.nn.LSTM` does; fresh and lengths: see this file's head."""
        if torch.jit.is_scripting():
            scripted.refuse(fresh, lengths)
            if isinstance(input, PackedSequence):
                return self._lstm_packed(input, hx)
            else:
                return self._lstm_padded(input, hx)
        else:
            return _forward(self, "lstm", input, hx, fresh, lengths, super().forward)


def _forward(
    module: Module,
    cell: str,
    input: Any,
    hx: Any,
    fresh: Tensor | None,
    lengths: Tensor | None,
    parent: Callable[..., Any],
) -> Any:
    if fresh is None and lengths is None and not _native(module, cell, input, hx):
        return parent(input, hx)
    if isinstance(input, PackedSequence):
        raise TypeError("fresh and lengths go with a padded tensor, but a PackedSequence came: unpack it.")
    if module.bidirectional or module.proj_size:
        return _packed(module, input, hx, fresh, lengths, parent)
    x, state = _batched(module, cell, input, hx)
    if input.dim() == 2:
        fresh = None if fresh is None else fresh.unsqueeze(1)
        lengths = None if lengths is None else lengths.reshape(1)
    elif module.batch_first:
        fresh = None if fresh is None else fresh.transpose(0, 1)
    y, last = _layers(module, cell, x, state, fresh, lengths)
    if input.dim() == 2:
        y, last = y.squeeze(1), [s.squeeze(1) for s in last]
    elif module.batch_first:
        y = y.transpose(0, 1)
    return y, (last[0], last[1]) if cell == "lstm" else last[0]


def _native(module: Module, cell: str, input: Any, hx: Any) -> bool:
    """Whether the core computes this call. It need not be a right one: what does not fit goes to PyTorch, whose own
    errors are then the user's."""
    if module.bidirectional or module.proj_size or not isinstance(input, Tensor) or input.is_nested:
        return False
    if input.dim() not in (2, 3):
        return False
    state = () if hx is None else tuple(hx) if cell == "lstm" else (hx,)
    if hx is not None and len(state) != (2 if cell == "lstm" else 1):
        return False
    if any(not isinstance(s, Tensor) or s.dim() != input.dim() for s in state):
        return False
    weight = getattr(module, "weight_ih_l0", None)  # a replica may have its weights in the parent's list alone
    if weight is None:
        return False
    for t in (input, weight, *state):
        kind = type(t)
        if kind is not Tensor and kind is not nn.Parameter and not _is_plain(kind):
            return False
    return native_fits(input, *state, weight)


def _is_plain(kind: type[Tensor]) -> bool:
    """Whether this subclass of Tensor leaves PyTorch's functions as they are."""
    return kind.__torch_function__ is _disabled_torch_function_impl


def _batched(module: Module, cell: str, input: Tensor, hx: Any) -> tuple[Tensor, list[LayerState | None]]:
    """Return the input as ``(T, B, I)`` and each layer's state ``(B, H)``, checked as `torch.nn` checks them."""
    if input.dim() not in (2, 3):
        raise ValueError(f"{type(module).__name__}: Expected input to be 2D or 3D, got {input.dim()}D instead")
    batched = input.dim() == 3
    x = input if batched else input.unsqueeze(0 if module.batch_first else 1)
    states: list[LayerState | None] = [None] * module.num_layers
    if hx is None:
        module.check_input(x, None)
    else:
        whole = tuple(hx) if cell == "lstm" else (hx,)
        if any(s.dim() != input.dim() for s in whole):
            raise RuntimeError(
                f"For {'batched 3-D' if batched else 'unbatched 2-D'} input, hx should also be {input.dim()}-D but got "
                f"{', '.join(f'{s.dim()}-D' for s in whole)} tensors"
            )
        whole = whole if batched else tuple(s.unsqueeze(1) for s in whole)
        module.check_forward_args(x, whole if cell == "lstm" else whole[0], None)  # type: ignore[arg-type]
        kind = LSTMState if cell == "lstm" else HiddenState
        states = [kind(*(s[k] for s in whole)) for k in range(module.num_layers)]
    return x.transpose(0, 1) if module.batch_first else x, states


def _layers(
    module: Module,
    cell: str,
    x: Tensor,
    states: list[LayerState | None],
    fresh: Tensor | None,
    lengths: Tensor | None,
) -> tuple[Tensor, list[Tensor]]:
    """Run all layers; return the last one's outputs, and the state's parts, each ``(layers, B, H)``."""
    after = []
    for k, state in enumerate(states):
        if k and module.dropout and module.training:
            x = F.dropout(x, module.dropout)
        # by name, not from the parent's list: what was put in a parameter's place is then found, whoever put it there
        biases = (getattr(module, f"bias_ih_l{k}"), getattr(module, f"bias_hh_l{k}")) if module.bias else (None, None)
        weights = CellWeights(getattr(module, f"weight_ih_l{k}"), getattr(module, f"weight_hh_l{k}"), *biases)
        x, last = run_cell(cell, x, state, weights, fresh, lengths)
        after.append(last)
    if len(after) == 1:  # a view: of one layer there is nothing to stack
        return x, [part.unsqueeze(0) for part in after[0]]
    return x, [torch.stack(part) for part in zip(*after, strict=True)]


def _packed(
    module: Module, input: Tensor, hx: Any, fresh: Tensor | None, lengths: Tensor | None, parent: Callable[..., Any]
) -> Any:
    """Serve lengths where the core does not compute, in two directions or with projections, by packing."""
    if fresh is not None:
        raise ValueError("fresh goes with one direction and no projection: else give each document a lane of its own.")
    assert lengths is not None
    if input.dim() != 3:
        raise ValueError(f"With lengths, two directions or projections need a 3-D input, but it is {input.dim()}-D.")
    lane, time = (0, 1) if module.batch_first else (1, 0)
    check_lengths(lengths, input.shape[time], input.shape[lane], input)
    empty = lengths == 0  # packing knows no empty lane: it takes one step, of which nothing is kept
    masked = empty.view(-1, 1, 1) if module.batch_first else empty.view(1, -1, 1)
    packed = pack_padded_sequence(
        input.masked_fill(masked, 0), lengths.clamp(min=1).cpu(), module.batch_first, enforce_sorted=False
    )
    y, last = parent(packed, hx)
    y = pad_packed_sequence(y, module.batch_first, total_length=input.shape[time])[0].masked_fill(masked, 0)
    after = last if isinstance(last, tuple) else (last,)
    before = [0] * len(after) if hx is None else hx if isinstance(last, tuple) else [hx]
    kept = [torch.where(empty.view(1, -1, 1), b, a) for a, b in zip(after, before, strict=True)]
    return y, tuple(kept) if isinstance(last, tuple) else kept[0]
