"""Models that go on learning as they read: against plain words, token by token; nothing is learnt before it counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tidegate.config import ModelConfig
from tidegate.models.language_model import LanguageModel
from tidegate.text.prepare import prepare
from tidegate.training.adaptive import (
    Cache,
    Dynamic,
    measure_cache,
    measure_dynamic,
    tuned_cache,
    tuned_dynamic,
)
from tidegate.training.measure import Protocol, measure

FORMS = [ModelConfig("lstm", 1, 8), ModelConfig("gru", 2, 8, 6, tied=True)]


def make(prepared, config=FORMS[0]):
    torch.manual_seed(4)
    model = LanguageModel(config, prepared.tokenizer.vocabulary_size)
    torch.nn.init.normal_(model.output.weight, std=0.3)
    return model


@pytest.mark.parametrize("config", FORMS, ids=lambda c: c.cell)
def test_the_cache_by_hand(prepared, config, monkeypatch):
    """p = (1 - λ) p_model + λ p_cache over the last N steps, one after another, across the borders of chunks."""
    monkeypatch.setattr("tidegate.training.adaptive.CHUNK", 7)
    model, store, cache = make(prepared, config), prepared.validation, Cache(9, 0.3, 0.7)
    ids = torch.from_numpy(store.read(0, len(store)))
    with torch.no_grad():
        features = model.features(ids[:-1, None], None, ids[:-1, None] == prepared.tokenizer.document_id)
        x = features.x[:, 0].double()
        known = torch.softmax(model.output(features.x)[:, 0].double(), -1)
    nats = 0.0
    for t in range(len(ids) - 1):
        first = max(0, t - cache.size)
        scores = cache.sharpness * (x[first:t] @ x[t])
        weights = torch.softmax(scores, 0)
        remembered = float(weights[ids[first + 1 : t + 1] == ids[t + 1]].sum())
        nats -= math.log((1 - cache.weight) * float(known[t, ids[t + 1]]) + cache.weight * remembered)
    found = measure_cache(model, store, prepared.tokenizer, 1, [cache])[0]
    assert found.nats == pytest.approx(nats, rel=1e-5)
    assert found.tokens == len(store) - 1


def test_several_caches_at_once_are_each_itself(prepared):
    model, caches = make(prepared), [Cache(20, 0.1, 0.2), Cache(20, 0.4, 0.02), Cache(5, 0.4, 0.02)]
    together = measure_cache(model, prepared.validation, prepared.tokenizer, 3, caches)
    for cache, loss in zip(caches, together, strict=True):
        alone = measure_cache(model, prepared.validation, prepared.tokenizer, 3, [cache])[0]
        assert loss.nats == pytest.approx(alone.nats, rel=1e-9)


@pytest.mark.parametrize("config", FORMS, ids=lambda c: c.cell)
def test_dynamic_evaluation_by_hand(prepared, config):
    """Window after window: predict, step by SGD, go back a little; at the end the weights are those of the training."""
    model, store = make(prepared, config), prepared.validation
    settings = Dynamic(rate=0.3, decay=0.05, window=11, clip=0.4)
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    ids, state, nats = torch.from_numpy(store.read(0, len(store))), None, 0.0
    twin = make(prepared, config)
    for begin in range(0, len(ids) - 1, 11):
        inputs, targets = ids[begin : begin + 11][: len(ids) - 1 - begin], ids[begin + 1 : begin + 12]
        fresh = inputs[:, None] == prepared.tokenizer.document_id
        logits, state = twin(inputs[:, None], state, fresh)
        loss = torch.nn.functional.cross_entropy(logits[:, 0], targets, reduction="sum")
        nats += loss.item()
        twin.zero_grad()
        (loss / len(targets)).backward()
        norm = math.sqrt(sum(float(p.grad.square().sum()) for p in twin.parameters()))
        with torch.no_grad():
            for name, parameter in twin.named_parameters():
                parameter -= 0.3 * parameter.grad * min(1.0, 0.4 / (norm + 1e-6))
                parameter += 0.05 * (start[name] - parameter)
        state = tuple(type(layer)(*(s.detach() for s in layer)) for layer in state)
    found = measure_dynamic(model, store, prepared.tokenizer, 1, settings)
    assert found.nats == pytest.approx(nats, rel=1e-4)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, start[name])
        assert parameter.grad is None


def test_a_rate_of_nothing_is_plain_evaluation(prepared):
    model = make(prepared)
    plain = measure(model, prepared.validation, prepared.tokenizer, Protocol(lanes=2))
    none = measure_dynamic(model, prepared.validation, prepared.tokenizer, 2, Dynamic(rate=0.0))
    assert none.nats == pytest.approx(plain.nats, rel=1e-5)
    assert (none.tokens, none.bytes) == (plain.tokens, plain.bytes)


def test_what_repeats_is_remembered(tmp_path):
    """A text that repeats itself: both predict it better than the model that does not learn."""
    file = tmp_path / "t.txt"
    draw = np.random.default_rng(0)
    verse = "".join(chr(97 + n) for n in draw.integers(0, 26, 60))
    file.write_text(verse * 30)
    prepared = prepare([str(file)], cache=tmp_path / "cache", validation=0.5)
    model = make(prepared)
    store, tokenizer = prepared.validation, prepared.tokenizer
    plain = measure(model, store, tokenizer, Protocol()).nats_a_token
    cache = tuned_cache(model, store, tokenizer, 1, 200)
    assert measure_cache(model, store, tokenizer, 1, [cache])[0].nats_a_token < plain - 0.3
    dynamic = tuned_dynamic(model, store, tokenizer, 1)
    assert measure_dynamic(model, store, tokenizer, 1, dynamic).nats_a_token < plain - 0.1


def test_settings_that_are_given_are_not_searched(prepared, monkeypatch):
    monkeypatch.setattr("tidegate.training.adaptive.measure_cache", None)
    monkeypatch.setattr("tidegate.training.adaptive.measure_dynamic", None)
    model, where = make(prepared), (prepared.validation, prepared.tokenizer, 1)
    assert tuned_cache(model, *where, 50, (0.1,), (0.2,)) == Cache(50, 0.1, 0.2)
    assert tuned_dynamic(model, *where, (0.1,), (0.2,)) == Dynamic(0.1, 0.2)


def test_names_tell_the_settings():
    assert Cache(2000, 0.1, 0.25).name == "cache2000_weight0.1_sharpness0.25"
    assert Dynamic(0.3, 0.001).name == "dynamic0.3_decay0.001_window20"
