"""Small models of every kind with random weights: what the tests of folder, runtime and generate run on."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tidegate.config import ModelConfig
from tidegate.folder.model_folder import write_config, write_weights
from tidegate.folder.tensors import expected_shapes
from tidegate.runtime.model import Model
from tidegate.text.tokenizer import Tokenizer, train
from tidegate.theory.layout import GATES

TEXT = "ROMEO: But soft, what light?\n春眠不覺曉，處處聞啼鳥。\nIt is the east!\n" * 4
KINDS = ("bytes", "characters", "words", "bpe")
FORMS = [
    ModelConfig(cell=cell, block=block, tied=tied, embedding_size=E, hidden_size=7, layers=2)
    for cell, block, tied, E in itertools.product(GATES, ("residual", "plain"), (False, True), (None, 5))
]


def tokenizer_of(kind: str = "characters") -> Tokenizer:
    return train(kind, [TEXT], 300 if kind in ("words", "bpe") else None)


def random_tensors(config: ModelConfig, vocabulary_size: int, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Weights and biases of about unit influence, none of them zero."""
    rng = np.random.default_rng(seed)
    shapes = expected_shapes(config, vocabulary_size)
    return {name: rng.normal(size=shape).astype(np.float32) * np.float32(0.5) for name, shape in shapes.items()}


def small_model(kind: str = "characters", seed: int = 0, config: ModelConfig | None = None) -> Model:
    config = config or ModelConfig(hidden_size=8, layers=2)
    tokenizer = tokenizer_of(kind)
    return Model(config, tokenizer, random_tensors(config, tokenizer.vocabulary_size, seed))


def write_folder(path: Path, kind: str = "characters", config: ModelConfig | None = None, seed: int = 0) -> Path:
    config = config or ModelConfig(hidden_size=8, layers=2)
    tokenizer = tokenizer_of(kind)
    write_config(path, config, tokenizer)
    write_weights(path, random_tensors(config, tokenizer.vocabulary_size, seed), tokenizer)
    return path
