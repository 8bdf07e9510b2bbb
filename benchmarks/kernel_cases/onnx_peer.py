"""The peer ONNX Runtime: the operators LSTM and GRU, written out by hand, since an exporter may choose worse ones."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from torch import nn

ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}
"""Where each of ONNX's gates (LSTM: i o f c, GRU: z r h) stands in PyTorch's (i f g o, r z n)."""
STATES = {"lstm": ("h", "c"), "gru": ("h",)}


def why_missing() -> str | None:
    """Say why this peer cannot be measured; None where it can."""
    for name in ("onnx", "onnxruntime"):
        try:
            importlib.import_module(name)
        except ImportError:
            return f"{name} is not installed (pip install onnx onnxruntime)"
    return None


def version() -> str:
    """Return the version of ONNX Runtime, or why there is none."""
    return why_missing() or str(importlib.import_module("onnxruntime").__version__)


def reordered(cell: str, stacked: np.ndarray) -> np.ndarray:
    """Bring gates that are stacked along the first axis into ONNX's order."""
    gates = np.split(stacked, len(ORDER[cell]))
    return np.concatenate([gates[i] for i in ORDER[cell]])


def _layer(cell: str, module: nn.Module, i: int, source: str, B: int) -> tuple[list[Any], list[Any], str]:
    """Build one layer: its nodes, its weights, and the name of its output ``(T, B, H)``."""
    helper = importlib.import_module("onnx.helper")
    to_tensor = importlib.import_module("onnx.numpy_helper").from_array

    def weight(name: str) -> np.ndarray:
        return reordered(cell, module.get_parameter(f"{name}_l{i}").detach().numpy())

    W, R = weight("weight_ih"), weight("weight_hh")
    biases = np.concatenate([weight("bias_ih"), weight("bias_hh")])
    H = R.shape[1]
    constants = {f"W{i}": W[None], f"R{i}": R[None], f"B{i}": biases[None]}
    tensors = [to_tensor(np.ascontiguousarray(array), name) for name, array in constants.items()]
    tensors.append(to_tensor(np.array([1], dtype=np.int64), f"directions{i}"))
    states = STATES[cell]
    options = {"hidden_size": H} | ({"linear_before_reset": 1} if cell == "gru" else {})
    inputs = [source, f"W{i}", f"R{i}", f"B{i}", "", *(f"{s}_in{i}" for s in states)]
    outputs = [f"all{i}", *(f"{s}_out{i}" for s in states)]
    nodes = [
        helper.make_node(cell.upper(), inputs, outputs, **options),
        # (T, directions, B, H) → (T, B, H)
        helper.make_node("Squeeze", [f"all{i}", f"directions{i}"], [f"y{i}"]),
    ]
    return nodes, tensors, f"y{i}"


def session(cell: str, module: nn.Module, T: int, B: int, threads: int) -> Any:
    """Make a session that computes what a torch.nn module of any number of layers does.

    Inputs: x ``(T, B, I)``, h_in0, c_in0, h_in1, … ``(1, B, H)``; outputs: y, h_out0, c_out0, …
    """
    onnx, ort = importlib.import_module("onnx"), importlib.import_module("onnxruntime")
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    I, H, layers = int(module.input_size), int(module.hidden_size), int(module.num_layers)  # type: ignore[arg-type]
    source, nodes, tensors = "x", [], []
    for i in range(layers):
        more, weights, source = _layer(cell, module, i, source, B)
        nodes += more
        tensors += weights
    nodes.append(helper.make_node("Identity", [source], ["y"]))
    names = [f"{s}_{{}}{i}" for i in range(layers) for s in STATES[cell]]
    inputs = [("x", (T, B, I)), *((name.format("in"), (1, B, H)) for name in names)]
    outputs = [("y", (T, B, H)), *((name.format("out"), (1, B, H)) for name in names)]
    described = [[helper.make_tensor_value_info(name, real, form) for name, form in side] for side in (inputs, outputs)]
    graph = helper.make_graph(nodes, cell, *described, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


class Sequences:
    """A session over one sequence from zero states. Inputs are bound once, without a copy; the outputs are allocated by
    the runtime in every run and never copied: the quickest way that its interface has."""

    def __init__(self, running: Any, x: np.ndarray) -> None:
        self.session, self.binding = running, running.io_binding()
        make = importlib.import_module("onnxruntime").OrtValue.ortvalue_from_numpy
        self.kept = [make(x)]
        self.binding.bind_ortvalue_input("x", self.kept[0])
        for given in running.get_inputs()[1:]:
            self.kept.append(make(np.zeros(given.shape, dtype=np.float32)))
            self.binding.bind_ortvalue_input(given.name, self.kept[-1])
        for returned in running.get_outputs():
            self.binding.bind_output(returned.name, "cpu")

    def run(self) -> None:
        """Run once."""
        self.session.run_with_iobinding(self.binding)

    def output(self) -> np.ndarray:
        """Return the outputs y of the last run."""
        return np.asarray(self.binding.get_outputs()[0].numpy())


class OneToken:
    """A session of one step, its states fed back: two bindings in turn, each reading what the other wrote."""

    def __init__(self, running: Any, x: np.ndarray) -> None:
        self.session, self.turn = running, 0
        make = importlib.import_module("onnxruntime").OrtValue.ortvalue_from_numpy
        self.x = make(x)
        names = [given.name for given in running.get_inputs()[1:]]
        shape = running.get_inputs()[1].shape
        self.states = [[make(np.zeros(shape, dtype=np.float32)) for _ in names] for _ in range(2)]
        self.y = make(np.zeros(running.get_outputs()[0].shape, dtype=np.float32))
        self.bindings = [running.io_binding() for _ in range(2)]
        for turn, binding in enumerate(self.bindings):
            binding.bind_ortvalue_input("x", self.x)
            binding.bind_ortvalue_output("y", self.y)
            for name, before, after in zip(names, self.states[turn], self.states[1 - turn], strict=True):
                binding.bind_ortvalue_input(name, before)
                binding.bind_ortvalue_output(name.replace("_in", "_out"), after)

    def run(self) -> None:
        """Take one step."""
        self.session.run_with_iobinding(self.bindings[self.turn])
        self.turn = 1 - self.turn

    def output(self) -> np.ndarray:
        """Return y of the last step."""
        return np.array(self.y.numpy())
