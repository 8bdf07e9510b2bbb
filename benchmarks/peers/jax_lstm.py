"""The peer JAX of kernels.py: LSTM and GRU by lax.scan, jit-compiled, the product with x hoisted out of the loop.
python benchmarks/peers/jax_lstm.py 2 0.05      then: {"case": ["lstm", 32, 64, 128, 128]}   {"run": "training"}
"""

from __future__ import annotations

import importlib
from typing import Any

from serve import Operation, hold_to_threads, serve

hold_to_threads()
jax: Any = importlib.import_module("jax")
jnp: Any = importlib.import_module("jax.numpy")

Weights = tuple[Any, Any, Any, Any]


def lstm(weights: Weights, x: Any) -> Any:
    """Map x ``(T, B, I)`` to h ``(T, B, H)`` from zero states."""
    W_x, W_h, b_x, b_h = weights
    from_x = x @ W_x + (b_x + b_h)
    zeros = jnp.zeros((x.shape[1], W_h.shape[0]), x.dtype)

    def step(state: Any, from_x_t: Any) -> Any:
        h, c = state
        i, f, g, o = jnp.split(from_x_t + h @ W_h, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return jax.lax.scan(step, (zeros, zeros), from_x)[1]


def gru(weights: Weights, x: Any) -> Any:
    """Map x ``(T, B, I)`` to h ``(T, B, H)``; the reset gate acts after the product."""
    W_x, W_h, b_x, b_h = weights
    from_x = x @ W_x + b_x
    zeros = jnp.zeros((x.shape[1], W_h.shape[0]), x.dtype)

    def step(h: Any, from_x_t: Any) -> Any:
        r_x, z_x, n_x = jnp.split(from_x_t, 3, axis=-1)
        r_h, z_h, n_h = jnp.split(h @ W_h + b_h, 3, axis=-1)
        r, z = jax.nn.sigmoid(r_x + r_h), jax.nn.sigmoid(z_x + z_h)
        n = jnp.tanh(n_x + r * n_h)
        h = n + z * (h - n)
        return h, h

    return jax.lax.scan(step, zeros, from_x)[1]


def build(cell: str, B: int, T: int, I: int, H: int) -> dict[str, Operation]:
    """Compile training (gradients of x and all weights) and inference."""
    run, gates = (lstm, 4) if cell == "lstm" else (gru, 3)
    keys = jax.random.split(jax.random.key(0), 6)
    sizes = ((I, gates * H), (H, gates * H), (gates * H,), (gates * H,))
    weights = tuple(
        jax.random.uniform(key, size, minval=-(H**-0.5), maxval=H**-0.5)
        for key, size in zip(keys[:4], sizes, strict=True)
    )
    x, d_y = jax.random.normal(keys[4], (T, B, I)), jax.random.normal(keys[5], (T, B, H))

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
    serve({"jax": jax.__version__}, build)
