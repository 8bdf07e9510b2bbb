"""The stack of recurrent layers that a running model steps through: in the native core, or in NumPy where that is not.

    x = x + cell(rms_norm(x)) for each block      (residual: every layer has a norm)
    x = cell(x) for each block                    (plain)

Both take what the other gives: the state is one `HiddenState` or `LSTMState` a layer, arrays ``(1, H)`` float32.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tidegate import native
from tidegate.folder.tensors import Tensors
from tidegate.theory.cells import cell_named
from tidegate.theory.layout import from_stacked
from tidegate.theory.normalization import EPS, rms_norm
from tidegate.theory.state import HiddenState, LSTMState

State: TypeAlias = tuple[Any, ...]
Array: TypeAlias = NDArray[np.float32]

ENOUGH_TOKENS = 16
"""So many and more are read layer by layer, each over all of them; fewer step by step, all layers in one call."""


class LayerWeights(NamedTuple):
    """One layer: ``(G·H, I)``, ``(G·H, H)``, ``(G·H,)`` twice, and the norm's ``(I,)``, None in the plain form."""

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array
    bias_hh: Array
    norm: Array | None


def layer_weights(tensors: Tensors, i: int) -> LayerWeights:
    """Return the weights of a model folder's layer as a stack takes them."""
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    weight_ih, weight_hh, bias_ih, bias_hh = (
        np.ascontiguousarray(tensors[f"blocks.{i}.cell.{name}"]) for name in names
    )
    return LayerWeights(weight_ih, weight_hh, bias_ih, bias_hh, tensors.get(f"blocks.{i}.norm.weight"))


class Stack(Protocol):
    """Reads vectors one after another."""

    def read(self, x: Array, state: State) -> tuple[Array, State]:
        """Read x ``(T, H)``, T ≥ 1: return the last layer's output ``(1, H)`` after the last one, and the state."""

    def read_lanes(
        self, x: Array, state: State, lengths: NDArray[np.int64], fresh: NDArray[np.bool_] | None = None
    ) -> tuple[Array, State]:
        """Read x ``(T, B, H)``, of which lane b has ``lengths[b]`` steps, from a state of B lanes; where `fresh`
        ``(T, B)`` is set, a lane's state is zeros before the step.

        Returns the last layer's outputs ``(T, B, H)``, of no meaning beyond a lane's end, and the state at it.
        """


def stack(cell: str, layers: list[LayerWeights]) -> Stack:
    """Return the layers on the fastest kernels that are here."""
    return NumpyStack(cell, layers) if native.core() is None else NativeStack(cell, layers)


class NumpyStack:
    """The theory's own cells."""

    def __init__(self, cell: str, layers: list[LayerWeights]) -> None:
        """Take the weights as they lie, not copied."""
        self._step = cell_named(cell).step
        self._layers = [(from_stacked(cell, *layer[:4]), layer.norm) for layer in layers]

    def read(self, x: Array, state: State) -> tuple[Array, State]:
        """See `Stack`."""
        for t in range(len(x)):
            y, after = x[t : t + 1], []
            for (parameters, norm), before in zip(self._layers, state, strict=True):
                new = self._step(y if norm is None else rms_norm(y, norm), before, parameters)
                y = new.h if norm is None else y + new.h
                after.append(new)
            state = tuple(after)
        return y, state

    def read_lanes(
        self, x: Array, state: State, lengths: NDArray[np.int64], fresh: NDArray[np.bool_] | None = None
    ) -> tuple[Array, State]:
        """See `Stack`."""
        outputs = np.zeros((*x.shape[:2], state[-1].h.shape[1]), np.float32)
        for t in range(len(x)):
            lanes = np.flatnonzero(lengths > t)
            goes_on = 1 if fresh is None else ~fresh[t, lanes, None]
            y, after = x[t, lanes], []
            for (parameters, norm), before in zip(self._layers, state, strict=True):
                here = type(before)(*(part[lanes] * goes_on for part in before))
                new = self._step(y if norm is None else rms_norm(y, norm), here, parameters)
                y = new.h if norm is None else y + new.h
                after.append(type(before)(*(_put(p, lanes, n) for p, n in zip(before, new, strict=True))))
            outputs[t, lanes], state = y, tuple(after)
        return outputs, state


def _put(part: Array, lanes: NDArray[np.intp], new: Array) -> Array:
    changed = part.copy()
    changed[lanes] = new
    return changed


class NativeStack:
    """The core's kernels. Reading is stepping, to rounding."""

    def __init__(self, cell: str, layers: list[LayerWeights]) -> None:
        """Copy the weights into the decoder; the given ones stay in use for long readings."""
        core: Any = native.core()
        residual = layers[0].norm is not None
        self._name = cell
        self._cell, self._layers, self._has_c = native.CELLS[cell], layers, cell == "lstm"
        self._decoder = core.Decoder(self._cell, [tuple(layer) for layer in layers], residual, EPS)
        self._read_layer = core.sequence_forward
        self._threads = native.team()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle what it was made of: the decoder is made again, where a core is there."""
        return stack, (self._name, self._layers)

    def read(self, x: Array, state: State) -> tuple[Array, State]:
        """See `Stack`."""
        if len(x) >= ENOUGH_TOKENS:
            return self._read_by_layers(x, state)
        h = np.array([layer.h for layer in state])
        c = np.array([layer.c for layer in state]) if self._has_c else None
        y = np.empty((1, h.shape[-1]), np.float32)
        for t in range(len(x)):
            self._decoder.step(x[t : t + 1], h, c, y, h, c, self._threads)
        return y, tuple(HiddenState(h_i) for h_i in h) if c is None else tuple(map(LSTMState, h, c))

    def _read_by_layers(self, x: Array, state: State) -> tuple[Array, State]:
        outputs, after = self.read_lanes(x[:, None], state, None)
        return outputs[-1], after

    def read_lanes(
        self, x: Array, state: State, lengths: NDArray[np.int64] | None, fresh: NDArray[np.bool_] | None = None
    ) -> tuple[Array, State]:
        """See `Stack`; lengths None: all lanes are whole."""
        after = []
        for (*weights, norm), before in zip(self._layers, state, strict=True):
            inputs = x if norm is None else rms_norm(x, norm)
            h = np.empty((*x.shape[:2], before.h.shape[1]), np.float32)
            new = type(before)(*map(np.empty_like, before))
            c_0, c_T = (before.c, new.c) if self._has_c else (None, None)
            self._read_layer(
                self._cell, inputs, before.h, c_0, *weights, fresh, lengths, h, new.h, c_T, None, self._threads
            )
            x = h if norm is None else x + h
            after.append(new)
        return x, tuple(after)
