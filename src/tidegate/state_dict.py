"""A state dict of torch.nn's layers, told apart by the ends of its names and by shapes, whatever the names begin with.

A layer's tensors are ``weight_ih_l0 … bias_hh_l{n}``: of one stack, or of several stacks of one layer, numbered as in
``rnns.0``, ``rnns.1``. Weight dropout keeps the trained matrix as ``weight_hh_l0_raw`` and wraps the layer as
``module``; the matrix of the plain name beside it, if any, is one with dropout applied, and is not used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tidegate.config import Cell
from tidegate.errors import TidegateError

LAYER = re.compile(r"(?P<prefix>.*?)(?P<kind>(?:weight|bias)_(?:ih|hh))_l(?P<number>\d+)(?P<rest>.*)$")
PROJECTION = re.compile(r"weight_hr_l\d+")
EMBEDDING = re.compile(r"emb|encoder|wte")
RAW = "_raw"
GATE_COUNTS: dict[int, Cell] = {1: "rnn", 3: "gru", 4: "lstm"}
SHOWN = 40
"""names of tensors that an error lists"""

Array = NDArray[np.float32]
Tensors = Mapping[str, Array]


class Parts(NamedTuple):
    """A state dict's tensors, told apart."""

    embedding: Array
    """``(V, E)``"""
    layers: list[dict[str, Array]]
    """of each layer ``weight_ih``, ``weight_hh`` and, where it has them, ``bias_ih`` and ``bias_hh``"""
    decoder: Array
    """``(V, units of the last layer)``; the embedding itself where the file has one of the two alone"""
    bias: Array | None
    """``(V,)``"""

    @property
    def cell(self) -> Cell:
        """The layers' kind, by the number of gates."""
        rows, units = self.layers[0]["weight_hh"].shape
        return GATE_COUNTS[rows // units]


def told_apart(path: str, tensors: Tensors) -> Parts:
    """Return the parts of a state dict; a TidegateError says what was found, and what is missing or too many."""
    if name := next(filter(PROJECTION.search, tensors), None):
        raise TidegateError(f"{path} has {name}: an LSTM with projections (proj_size) cannot be imported.")
    layers = _layers(path, tensors)
    I, H = layers[0]["weight_ih"].shape[1], layers[-1]["weight_hh"].shape[1]
    others = {name: tensor for name, tensor in tensors.items() if LAYER.match(name) is None}
    matrices = {name: tensor for name, tensor in others.items() if tensor.ndim == 2}
    read = [name for name in matrices if EMBEDDING.search(name) and matrices[name].shape[1] == I]
    copies = [name for name in read[1:] if np.array_equal(matrices[name], matrices[read[0]])]
    read = [name for name in read if name not in copies]  # one matrix under two names, as of an embedding's dropout
    written = [name for name in matrices if name not in read and name not in copies and matrices[name].shape[1] == H]
    if not read and len(written) == 1 and I == H:  # tied, and saved by the decoder's name alone
        read, written = written, []
    if len(read) != 1 or len(written) > 1 or (not written and I != H):
        raise TidegateError(
            f"{path} has, beside its layers, {_listed(others)}; expected are one embedding (V, {I}), with emb or "
            f"encoder in its name, and one decoder (V, {H}), or one matrix for both where these are tied."
        )
    embedding = matrices[read[0]]
    decoder = matrices[written[0]] if written else embedding
    if decoder.shape != (len(embedding), H):
        raise TidegateError(f"{path}: {written[0]} is {decoder.shape}, but the decoder must be {(len(embedding), H)}.")
    biases = [name for name, tensor in others.items() if tensor.shape == (len(embedding),)]
    rest = {name: others[name] for name in others if name not in (*read, *copies, *written, *biases[:1])}
    if rest:
        raise TidegateError(
            f"{path} has, beside an embedding, its layers and a decoder, {_listed(rest)}: remove what belongs to "
            "another layer from the state dict."
        )
    return Parts(embedding, layers, decoder, others[biases[0]] if biases else None)


def _listed(tensors: Tensors) -> str:
    shown = ", ".join(f"{name} {tensor.shape}" for name, tensor in list(tensors.items())[:SHOWN])
    return (shown + (f" and {len(tensors) - SHOWN} more" if len(tensors) > SHOWN else "")) or "no tensor"


def _layers(path: str, tensors: Tensors) -> list[dict[str, Array]]:
    """Return each layer's tensors by kind, in the layers' order, of right shapes."""
    stacks: dict[str, dict[int, dict[str, Array]]] = {}
    trained = {_unwrapped(name).removesuffix(RAW) for name in tensors if name.endswith(RAW)}
    for name, tensor in tensors.items():
        if (match := LAYER.match(name)) is None or _unwrapped(name) in trained:
            continue
        if match["rest"] not in ("", RAW):
            raise TidegateError(f"{path} has {name}: a bidirectional model cannot be imported, as it cannot generate.")
        prefix = _unwrapped(name)[: _unwrapped(name).index(match["kind"])]
        stacks.setdefault(prefix, {}).setdefault(int(match["number"]), {})[match["kind"]] = tensor
    layers = _in_order(path, tensors, stacks)
    for number, layer in enumerate(layers):
        _check_layer(path, number, layer, layers)
    return layers


def _unwrapped(name: str) -> str:
    """Return a name without the ``module`` that a wrapper puts before a layer's own tensors."""
    return re.sub(r"(^|\.)module\.(?=(?:weight|bias)_(?:ih|hh)_l\d+)", r"\1", name)


def _in_order(path: str, tensors: Tensors, stacks: dict[str, dict[int, dict[str, Array]]]) -> list[dict[str, Array]]:
    """Return the layers of one stack, or of stacks of one layer each that are numbered."""
    if len(stacks) == 1:
        [found] = stacks.values()
    else:
        numbers = {prefix: re.sub(r".*?(\d+)\.$", r"\1", prefix) for prefix in stacks}
        names = {prefix.removesuffix(f"{numbers[prefix]}.") for prefix in stacks}
        single = all(list(layers) == [0] for layers in stacks.values()) and all(n.isdigit() for n in numbers.values())
        found = {int(numbers[p]): layers[0] for p, layers in stacks.items()} if single and len(names) == 1 else {}
    if not found or sorted(found) != list(range(len(found))):
        raise TidegateError(
            f"{path} has {_listed(tensors)}; expected is one stack of layers, named weight_ih_l0, weight_hh_l0, "
            "weight_ih_l1 … of torch.nn's RNN, LSTM or GRU, or one layer each under rnns.0, rnns.1 …"
        )
    return [found[number] for number in sorted(found)]


def _check_layer(path: str, number: int, layer: dict[str, Array], layers: list[dict[str, Array]]) -> None:
    """Raise a TidegateError where a layer lacks a matrix, or has one of another shape than the others ask for."""
    square = layer.get("weight_hh")
    if square is None or not _gates(square) or _gates(square) != _gates(layers[0]["weight_hh"]):
        shown = "missing" if square is None else str(square.shape)
        hint = " (its transpose would fit)" if square is not None and _gates(square.T) else ""
        raise TidegateError(
            f"{path}: weight_hh_l{number} is {shown}{hint}, but a matrix is expected with 1, 3 or 4 times as many rows "
            "as columns, of one cell in all layers."
        )
    rows, H = square.shape
    first = layer["weight_ih"].shape[-1] if number == 0 and "weight_ih" in layer else None
    inputs = first if first is not None else layers[number - 1]["weight_hh"].shape[1] if number else "I"
    wanted = {"weight_ih": (rows, inputs), "weight_hh": (rows, H), "bias_ih": (rows,), "bias_hh": (rows,)}
    for kind, shape in wanted.items():
        if (kind in layer and layer[kind].shape != shape) or (kind not in layer and kind.startswith("weight")):
            shown = str(layer[kind].shape) if kind in layer else "missing"
            raise TidegateError(f"{path}: {kind}_l{number} is {shown}, but {shape} is expected.")


def _gates(weight_hh: Array) -> int:
    """Return the number of gates in a matrix ``(G·H, H)``, 0 where it is none."""
    if weight_hh.ndim != 2 or 0 in weight_hh.shape or weight_hh.shape[0] % weight_hh.shape[1]:
        return 0
    gates = weight_hh.shape[0] // weight_hh.shape[1]
    return gates if gates in GATE_COUNTS else 0
