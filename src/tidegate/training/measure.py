"""Measuring a model on a text: sums of nats, tokens, bytes, characters, divided once; the protocol is in the name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from tidegate.errors import TidegateError
from tidegate.models.language_model import LanguageModel, State
from tidegate.text.store import TokenStore
from tidegate.text.tokenizer import Tokenizer

WINDOW_BATCH = 64
"""windows computed side by side"""
STEPS_AT_ONCE = 256
"""steps computed in one call; it too changes the speed alone"""


class LossSum(NamedTuple):
    """A loss as sums, so that no mean of means can arise."""

    nats: float
    tokens: int
    bytes: int
    """of the text that the tokens stand for; 0 where it was not counted, as for a part of a text"""
    characters: int

    @property
    def nats_a_token(self) -> float:
        """Mean loss of a token in nats."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """``exp`` of the mean loss of a token; infinite where that overflows."""
        return math.exp(min(self.nats_a_token, 709.0))

    @property
    def bits_a_byte(self) -> float:
        """Bits for each UTF-8 byte of the text: compares models of different tokenizers."""
        return self.nats / math.log(2) / self.bytes

    @property
    def bits_a_character(self) -> float:
        """Bits for each Unicode character of the text."""
        return self.nats / math.log(2) / self.characters

    def figures(self) -> dict[str, float]:
        """Return all means by name; those of bytes and characters where these were counted."""
        means = {"nats_a_token": self.nats_a_token, "perplexity": self.perplexity}
        if self.bytes:
            means |= {"bits_a_byte": self.bits_a_byte, "bits_a_character": self.bits_a_character}
        return means


@dataclass(frozen=True)
class Protocol:
    """How a text is read while it is measured: ``window`` 0 carries the state through it all, in `lanes` equal parts
    that start from the initial state; else each `window` tokens start from it. Every token but the first is predicted
    once."""

    window: int = 0
    lanes: int = 1

    @property
    def name(self) -> str:
        """``carried``, ``carried_20lanes``, ``window256``: part of every metric's name."""
        if self.window:
            return f"window{self.window}"
        return "carried" if self.lanes == 1 else f"carried_{self.lanes}lanes"


CARRIED = Protocol(lanes=20)
WINDOW256 = Protocol(window=256)


@torch.no_grad()
def measure(
    model: LanguageModel,
    store: TokenStore,
    tokenizer: Tokenizer,
    protocol: Protocol,
    progress: Callable[[int, int], None] = lambda done, total: None,
    limit: int | None = None,
) -> LossSum:
    """Measure a model on all tokens of a store, or on its first `limit`.

    A document starts from the initial state under either protocol. `progress` is told tokens done and in all.
    """
    total = len(store) - 1 if limit is None else min(limit, len(store) - 1)
    if total < 1:
        raise TidegateError(f"The text to measure has {len(store)} token(s), but two are needed: give more text.")
    part = protocol.window or math.ceil(total / min(protocol.lanes, total))
    starts = range(0, total, part)
    nats, done = 0.0, 0
    side_by_side = WINDOW_BATCH if protocol.window else len(starts)
    for group in range(0, len(starts), side_by_side):
        state: State | None = None
        batch = np.array(starts[group : group + side_by_side])
        for step in range(0, part, STEPS_AT_ONCE):
            T, end = min(STEPS_AT_ONCE, part - step), np.minimum(batch + part, total)
            inputs, targets, weight = _window(store, batch + step, end, T)
            loss, features = model.loss(inputs, targets, weight, state, inputs == tokenizer.document_id)
            state = features.state
            nats += float(loss.double())
            done += int(weight.sum())
            progress(done, total)
    return LossSum(nats, total, *_text_size(store, tokenizer, total))


def _text_size(store: TokenStore, tokenizer: Tokenizer, predicted: int) -> tuple[int, int]:
    """Return bytes and characters of all tokens but the first; zeros if fewer than these were predicted."""
    if predicted < len(store) - 1:  # the store counts the whole text, and what an unknown token stood for is not known
        return 0, 0
    first = tokenizer.token_bytes(int(store.read(0, 1)[0]))
    return store.byte_count - len(first), store.character_count - len(first.decode(errors="replace"))


def _window(
    store: TokenStore, begin: np.ndarray, end: np.ndarray, T: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Read T inputs and targets from each `begin` up to its `end`; beyond it the weight is 0."""
    ids = np.zeros((T + 1, len(begin)), np.int64)
    weight = np.zeros((T, len(begin)), np.float32)
    for lane, (start, stop) in enumerate(zip(begin, end, strict=True)):
        count = max(0, min(T, int(stop) - int(start)))
        if count:
            ids[: count + 1, lane] = store.read(int(start), int(start) + count + 1)
            weight[:count, lane] = 1
    return torch.from_numpy(ids[:-1]), torch.from_numpy(ids[1:]), torch.from_numpy(weight)
