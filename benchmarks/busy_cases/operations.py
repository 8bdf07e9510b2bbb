"""Generation, training and classification: an operation of ours and one of torch.nn.LSTM of the same sizes each, and
how many tokens one operation reads or writes. The running half's are made without PyTorch, as its commands are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

BASE = "base-en"
VOCABULARY, EMBEDDING, HIDDEN, LAYERS = 8192, 256, 512, 2
"""of that model"""
WRITTEN = 50
"""tokens of one operation of generation"""
TEXTS, LONGEST, BATCH = 64, 200, 64
"""texts of one operation of classification, their longest, in tokens, and those read side by side"""
TRAINED = ("lstm", 65, 256, 32, 64)
"""cell, V, H, B, T of a training step"""


class Operation(NamedTuple):
    """What is timed."""

    run: Callable[[], object]
    tokens: int


def texts() -> list[np.ndarray]:
    """Return texts of all lengths, as ids."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(20, LONGEST + 1, TEXTS)
    return [rng.integers(0, VOCABULARY - 1, n).astype(np.uint32) for n in lengths]


def generation() -> Operation:
    """Write on and on."""
    import tidegate
    from tidegate.runtime.sampling import Sampling

    model = tidegate.load(BASE)
    pieces = model.stream("The", sampling=Sampling(seed=0), max_tokens=None, end_at_document=False)
    return Operation(lambda: [next(pieces) for _ in range(WRITTEN)], WRITTEN)


def classification() -> Operation:
    """Read texts into a vector each; the head above them costs nothing."""
    from tidegate.embed import load_encoder

    encoder, _ = load_encoder(BASE)
    ids = texts()
    return Operation(lambda: encoder.pooled(ids), sum(map(len, ids)))


def training() -> Operation:
    """Take a whole training step."""
    import torch
    from kernel_cases.step import Case, our_loss, training_step

    from tidegate.config import ModelConfig
    from tidegate.models.language_model import LanguageModel

    case = Case(*TRAINED)  # type: ignore[arg-type]  # "lstm" is a cell
    torch.manual_seed(0)
    model = LanguageModel(ModelConfig(case.cell, LAYERS, case.H, block="plain"), case.V)
    ids = torch.randint(case.V, (case.T + 1, case.B))
    step = training_step(model, our_loss(model), ids[:-1].contiguous(), ids[1:].contiguous())
    return Operation(step, case.B * case.T)


# ---- With torch.nn.LSTM ----------------------------------------------------------------------------------------------


def torch_training() -> Operation:
    """The same step of the same model, made of torch.nn modules."""
    import torch
    from kernel_cases.step import Case, Peer, training_step

    case = Case(*TRAINED)  # type: ignore[arg-type]
    torch.manual_seed(0)
    peer = Peer(case)
    ids = torch.randint(case.V, (case.T + 1, case.B))
    return Operation(training_step(peer, peer.loss, ids[:-1].contiguous(), ids[1:].contiguous()), case.B * case.T)


def torch_generation() -> Operation:
    """A model of the same sizes, of random weights, sampled one token at a time."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    embedding, widen = nn.Embedding(VOCABULARY, EMBEDDING), nn.Linear(EMBEDDING, HIDDEN, bias=False)
    cells, narrow = nn.LSTM(HIDDEN, HIDDEN, LAYERS), nn.Linear(HIDDEN, EMBEDDING, bias=False)

    @torch.no_grad()
    def written() -> Iterator[int]:
        token, state = torch.zeros(1, dtype=torch.int64), None
        while True:
            y, state = cells(widen(embedding(token)), state)
            logits = nn.functional.linear(narrow(y), embedding.weight)
            token = torch.multinomial(torch.softmax(logits[0] / 0.8, -1), 1)
            yield int(token)

    tokens = written()
    return Operation(lambda: [next(tokens) for _ in range(WRITTEN)], WRITTEN)


def torch_classification() -> Operation:
    """The same texts in order of length, padded, packed, and their last state taken."""
    import torch
    from torch import nn
    from torch.nn.utils.rnn import pack_sequence

    torch.manual_seed(0)
    embedding, widen = nn.Embedding(VOCABULARY, EMBEDDING), nn.Linear(EMBEDDING, HIDDEN, bias=False)
    cells = nn.LSTM(HIDDEN, HIDDEN, LAYERS)
    ids = sorted((torch.from_numpy(one.astype(np.int64)) for one in texts()), key=len, reverse=True)

    @torch.no_grad()
    def read() -> None:
        for i in range(0, len(ids), BATCH):
            cells(pack_sequence([widen(embedding(one)) for one in ids[i : i + BATCH]]))

    return Operation(read, sum(map(len, ids)))
