"""Measuring a model on a text: sums of nats, tokens, bytes, characters, divided once; the protocol is in the name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from tidegate.errors import TidegateError
from tidegate.models.adapted import AdaptedModel
from tidegate.models.encoder import State
from tidegate.models.language_model import LanguageModel
from tidegate.text.store import TokenStore
from tidegate.text.tokenizer import Tokenizer

WINDOW_BATCH = 32
"""windows computed side by side: more are no faster, and take memory"""
STEPS_AT_ONCE = 256
"""steps computed in one call; it too changes the speed alone"""
TOKENS_AT_ONCE = 1 << 20
"""tokens whose bytes are counted at a time"""


class LossSum(NamedTuple):
    """A loss as sums, so that no mean of means can arise."""

    nats: float
    tokens: int
    bytes: int
    """of the text that the tokens stand for; 0 where it is not known, as for a part of a text with unknown tokens"""
    characters: int

    @property
    def nats_a_token(self) -> float:
        """Mean loss of a token in nats."""
        return self.nats / max(1, self.tokens)  # a part of a conversation may be all question

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


def metric_name(protocol: Protocol, loss: LossSum, store: TokenStore) -> str:
    """Return the protocol's name, which also tells where a loss is of answers alone, or of the text's first tokens
    alone."""
    if store.is_marked:
        return f"answers_{protocol.name}"
    return protocol.name + ("" if loss.tokens == len(store) - 1 else f"_first_{loss.tokens}")


CARRIED = Protocol(lanes=20)
WINDOW256 = Protocol(window=256)


@torch.no_grad()
def measure(
    model: LanguageModel | AdaptedModel,
    store: TokenStore,
    tokenizer: Tokenizer,
    protocol: Protocol,
    progress: Callable[[int, int], None] = lambda done, total: None,
    limit: int | None = None,
) -> LossSum:
    """Measure a model on all tokens of a store, or on its first `limit`.

    A document starts from the initial state under either protocol. `progress` is told tokens done and in all.
    """
    total = predicted_tokens(store, limit)
    bounds = part_bounds(store, protocol, total)
    begins, ends = bounds[:-1], bounds[1:]
    nats, done, learnt = 0.0, 0, 0
    side_by_side = WINDOW_BATCH if protocol.window else len(begins)
    for group in range(0, len(begins), side_by_side):
        state: State | None = None
        begin, end = begins[group : group + side_by_side], ends[group : group + side_by_side]
        longest = int((end - begin).max())
        for step in range(0, longest, STEPS_AT_ONCE):
            T = min(STEPS_AT_ONCE, longest - step)
            inputs, targets, weight = read_lanes(store, begin + step, end, T)
            loss, features = model.loss(inputs, targets, weight, state, inputs == tokenizer.document_id)
            state = features.state
            nats += float(loss.double())
            learnt += int(weight.sum())
            done += int(np.clip(end - begin - step, 0, T).sum())
            progress(done, total)
    return LossSum(nats, learnt, *text_size(store, tokenizer, total))


def predicted_tokens(store: TokenStore, limit: int | None) -> int:
    """Return how many tokens are predicted: all but the first, or `limit`."""
    total = len(store) - 1 if limit is None else min(limit, len(store) - 1)
    if store.is_marked and total < len(store) - 1:  # conversations are measured whole
        starts = store.document_starts
        after = int(np.searchsorted(starts, total, side="left"))
        total = int(starts[after]) if after < len(starts) else len(store) - 1
    if total < 1:
        raise TidegateError(f"The text to measure has {len(store)} token(s), but two are needed: give more text.")
    return total


def part_bounds(store: TokenStore, protocol: Protocol, total: int) -> np.ndarray:
    """Return where the parts of a text begin, and where the last ends. Conversations are not cut: a part begins with
    the first that lies there."""
    part = protocol.window or math.ceil(total / min(protocol.lanes, total))
    begins = np.arange(0, total, part)
    if store.is_marked and len(store.document_starts):
        places = np.searchsorted(store.document_starts, begins, side="right") - 1
        begins = np.unique(store.document_starts[np.maximum(places, 0)])
    return np.append(begins, total)


def text_size(store: TokenStore, tokenizer: Tokenizer, predicted: int) -> tuple[int, int]:
    """Return bytes and characters of the tokens predicted, all but the first; zeros where these are a part of the text
    in which a token may be unknown: what such a token stood for is not known, and the store counts the whole text."""
    first = tokenizer.token_bytes(int(store.read(0, 1)[0]))
    if predicted == len(store) - 1 and not store.is_marked:
        return store.byte_count - len(first), store.character_count - len(first.decode(errors="replace"))
    if store.unknown_count:
        return 0, 0
    tokens = [tokenizer.token_bytes(token) for token in range(tokenizer.vocabulary_size)]
    # a character is counted at its first byte, since a token may end amid one
    lengths = np.array([(len(token), sum(byte & 0xC0 != 0x80 for byte in token)) for token in tokens])
    size = np.zeros(2, np.int64)
    for begin in range(1, predicted + 1, TOKENS_AT_ONCE):
        ids, marks = store.read_marked(begin, min(begin + TOKENS_AT_ONCE, predicted + 1))
        size += lengths[ids[marks]].sum(axis=0)
    return int(size[0]), int(size[1])


def read_lanes(
    store: TokenStore, begin: np.ndarray, end: np.ndarray, T: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Read T inputs and targets from each `begin` up to its `end`; beyond it the weight is 0."""
    ids = np.zeros((T + 1, len(begin)), np.int64)
    weight = np.zeros((T, len(begin)), np.float32)
    for lane, (start, stop) in enumerate(zip(begin, end, strict=True)):
        count = max(0, min(T, int(stop) - int(start)))
        if count:
            ids[: count + 1, lane], marks = store.read_marked(int(start), int(start) + count + 1)
            weight[:count, lane] = marks[1:]
    return torch.from_numpy(ids[:-1]), torch.from_numpy(ids[1:]), torch.from_numpy(weight)
