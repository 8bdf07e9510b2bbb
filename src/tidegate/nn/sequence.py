"""The seam: one cell over one sequence. Whatever computes a cell stands behind `run_cell`; nothing else calls a kernel.

Two things stand behind it. The native core computes float32 on the CPU; PyTorch's own operators
(`tidegate.nn.composite`) compute everything else, with the same results. Gate orders and stacked weights are those of
`tidegate.theory.layout`; the equations are in `tidegate.theory`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from tidegate import native
from tidegate.nn import composite, sequence_operator
from tidegate.nn.composite import GATE_COUNT, CellWeights, LayerState, transformed, zero_state
from tidegate.theory.state import HiddenState, LSTMState

__all__ = ["CellWeights", "LayerState", "kernels", "kernels_line", "native_fits", "run_cell", "zero_state"]


def run_cell(
    cell: str,
    x: Tensor,
    state: LayerState | None,
    weights: CellWeights,
    fresh: Tensor | None = None,
    lengths: Tensor | None = None,
) -> tuple[Tensor, LayerState]:
    """Run a cell over a window.

    cell: a name of `theory.layout.GATES`, or ``rnn_relu``; x: ``(T, B, I)``; state: h, or h and c, ``(B, H)`` each,
    before the first step, None means zeros; weights: all of x's dtype and device. fresh: ``(T, B)`` bool, where True,
    lane b's state before step t is replaced by zeros. lengths: ``(B,)`` int64 in 0 … T, lane b has so many steps; from
    there on its outputs are zeros, its state stays, and no gradient flows; None means T for all.

    Returns the outputs h ``(T, B, H)`` and the state after each lane's last step. ValueError where a shape, a device or
    a length is wrong, TypeError where a dtype is.
    """
    _check(cell, x, state, weights, fresh, lengths)
    h_0 = None if state is None else state.h
    c_0 = state.c if isinstance(state, LSTMState) else None
    if native_fits(x, h_0, c_0, *weights):
        h, h_T, c_T = sequence_operator.sequence(cell, x, h_0, c_0, weights, fresh, lengths)
        return h, LSTMState(h_T, c_T) if cell == "lstm" else HiddenState(h_T)
    if state is None:
        state = zero_state(cell, x.shape[1], weights.weight_hh.shape[1], x)
    run = composite.run_steps if x.is_meta or transformed() or traced() else composite.run_segments
    return run(cell, x, state, weights, fresh, lengths)


def native_fits(*tensors: Tensor | None) -> bool:
    """Whether the native core is there and computes with such tensors: float32 on the CPU, none of them empty, and
    nothing around that it cannot do."""
    if native.core() is None or torch.is_autocast_enabled("cpu"):
        return False
    if torch._C._get_tracing_state() is not None:  # as `traced`, without a call: this stands before each small layer
        return False
    for t in tensors:
        if t is not None and not (
            t.dtype is torch.float32 and t.is_cpu and t.layout is torch.strided and t.numel() > 0
        ):
            return False
    # what runs elsewhere, as ONNX does, has no native core
    return not (torch.onnx.is_in_onnx_export() if torch.compiler.is_compiling() else transformed())


def traced() -> bool:
    """Whether `torch.jit.trace`, or the ONNX export by it, records PyTorch's operators now."""
    return torch._C._get_tracing_state() is not None


def can_look(tensor: Tensor) -> bool:
    """Whether a check may look at the tensor's values now: not while a graph is traced, or where there are none. The
    core looks at what it gets in any case."""
    return not (torch.compiler.is_compiling() or traced() or tensor.is_meta or isinstance(tensor, FakeTensor))


def kernels() -> str:
    """Say which kernels compute a recurrent layer in float32 on this CPU, and if not the core's, why."""
    if native.core() is None:
        capability = torch.backends.cpu.get_cpu_capability()
        return f"PyTorch {torch.__version__}, {capability} (no native core: {native.reason()})"
    return f"native {native.isa()}"


def kernels_line() -> str:
    """Return the sentence by which a command says what it computes with."""
    threads = torch.get_num_threads()
    return f"Kernels: {kernels()}, {native.counted(threads if native.core() is None else abs(native.team(threads)))}"


# ---- Checks ----------------------------------------------------------------------------------------------------------


def _check(
    cell: str,
    x: Tensor,
    state: LayerState | None,
    weights: CellWeights,
    fresh: Tensor | None,
    lengths: Tensor | None,
) -> None:
    if cell not in GATE_COUNT:
        raise ValueError(f"There is no cell {cell!r}: choose one of {', '.join(GATE_COUNT)}.")
    if x.dim() != 3:
        raise ValueError(f"x has {x.dim()} dimensions, but three are wanted, (T, B, I): add or remove one.")
    (T, B, I), H = x.shape, weights.weight_hh.shape[-1]
    rows = GATE_COUNT[cell] * H
    _check_tensor("weight_ih", weights.weight_ih, (rows, I), "(G·H, I)", x)
    _check_tensor("weight_hh", weights.weight_hh, (rows, H), "(G·H, H)", x)
    if weights.bias_ih is not None:
        _check_tensor("bias_ih", weights.bias_ih, (rows,), "(G·H,)", x)
    if weights.bias_hh is not None:
        _check_tensor("bias_hh", weights.bias_hh, (rows,), "(G·H,)", x)
    if state is not None:
        if isinstance(state, LSTMState) != (cell == "lstm"):
            kind = LSTMState if cell == "lstm" else HiddenState
            raise TypeError(f"state is a {type(state).__name__}, but {cell} has a {kind.__name__}.")
        for name, s in zip(state._fields, state, strict=True):
            _check_tensor(f"state.{name}", s, (B, H), "(B, H)", x)
    if fresh is not None:
        _check_tensor("fresh", fresh, (T, B), "(T, B)", x, torch.bool)
    if lengths is not None:
        check_lengths(lengths, T, B, x)


def _check_tensor(
    name: str, found: Tensor, shape: tuple[int, ...], letters: str, x: Tensor, dtype: torch.dtype | None = None
) -> None:
    if found.shape != shape:
        raise ValueError(f"{name} has shape {tuple(found.shape)}, but {letters} = {tuple(shape)} is wanted.")
    if found.device != x.device:
        raise ValueError(f"{name} is on {found.device}, x on {x.device}: move one of them with .to(device).")
    wanted = x.dtype if dtype is None else dtype
    # under autocast each operator chooses its dtype
    if found.dtype is not wanted and (dtype is not None or not torch.is_autocast_enabled(x.device.type)):
        raise TypeError(f"{name} is {found.dtype}, but {wanted} is wanted: convert it with .to({wanted}).")


def check_lengths(lengths: Tensor, T: int, B: int, x: Tensor) -> None:
    """ValueError or TypeError where lengths are not ``(B,)`` int64 in 0 … T on x's device."""
    _check_tensor("lengths", lengths, (B,), "(B,)", x, torch.int64)
    if not can_look(lengths) or transformed() or not lengths.numel():
        return
    if int(lengths.min()) < 0 or int(lengths.max()) > T:
        raise ValueError(
            f"lengths are {int(lengths.min())} … {int(lengths.max())}, but x has T = {T} steps: each must be 0 … {T}."
        )
