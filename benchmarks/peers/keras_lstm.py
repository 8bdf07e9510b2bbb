"""The peer Keras of kernels.py: its layers LSTM and GRU on the JAX backend, jit-compiled.
python benchmarks/peers/keras_lstm.py 2 0.05    then: {"case": ["gru", 32, 64, 128, 128]}   {"run": "inference"}
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from serve import Operation, hold_to_threads, serve

hold_to_threads()
os.environ["KERAS_BACKEND"] = "jax"
jax: Any = importlib.import_module("jax")
keras: Any = importlib.import_module("keras")


def build(cell: str, B: int, T: int, I: int, H: int) -> dict[str, Operation]:
    """Compile training (gradients of x and all weights) and inference; Keras has the lanes first."""
    layer = (keras.layers.LSTM if cell == "lstm" else keras.layers.GRU)(H, return_sequences=True)
    layer.build((B, T, I))
    weights = [variable.value for variable in layer.trainable_variables]
    others = [variable.value for variable in layer.non_trainable_variables]
    keys = jax.random.split(jax.random.key(0), 2)
    x, d_y = jax.random.normal(keys[0], (B, T, I)), jax.random.normal(keys[1], (B, T, H))

    def run(weights: Any, x: Any) -> Any:
        return layer.stateless_call(weights, others, x)[0]

    @jax.jit
    def training(weights: Any, x: Any, d_y: Any) -> Any:
        y, backward = jax.vjp(run, weights, x)
        return y, backward(d_y)

    inference = jax.jit(run)
    return {
        "training": lambda: jax.block_until_ready(training(weights, x, d_y)),
        "inference": lambda: jax.block_until_ready(inference(weights, x)),
    }


if __name__ == "__main__":
    serve({"keras": keras.__version__, "jax": jax.__version__}, build)
