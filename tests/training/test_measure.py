"""Measuring: every token but the first once, under any protocol; sums, divided once."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate.config import ModelConfig
from tidegate.models.language_model import LanguageModel
from tidegate.text.prepare import prepare
from tidegate.training.measure import CARRIED, LossSum, Protocol, measure, metric_name


@pytest.fixture
def model(prepared):
    model = LanguageModel(ModelConfig(hidden_size=8, cell="gru"), prepared.tokenizer.vocabulary_size)
    torch.nn.init.normal_(model.output.weight)
    return model


def by_hand(model, store, tokenizer, restart):
    """One token after another, in plain words; `restart(i)` says where the state starts anew."""
    ids, nats, state = store.read(0, len(store)), 0.0, None
    with torch.no_grad():
        for i in range(len(ids) - 1):
            if restart(i) or ids[i] == tokenizer.document_id:
                state = None
            logits, state = model(torch.tensor([[ids[i]]]), state)
            nats -= torch.log_softmax(logits[0, 0].double(), -1)[ids[i + 1]].item()
    return nats


@pytest.mark.parametrize(
    ("protocol", "restart"),
    [
        (Protocol(), lambda i, n: i == 0),
        (Protocol(lanes=3), lambda i, n: i % math.ceil(n / 3) == 0),
        (Protocol(window=7), lambda i, n: i % 7 == 0),
    ],
    ids=lambda p: getattr(p, "name", ""),
)
def test_protocols_against_the_plain_loop(prepared, model, protocol, restart):
    store = prepared.validation
    found = measure(model, store, prepared.tokenizer, protocol)
    n = len(store) - 1
    assert found.tokens == n
    assert found.nats == pytest.approx(by_hand(model, store, prepared.tokenizer, lambda i: restart(i, n)), rel=1e-5)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lanes=st.integers(1, 400), window=st.sampled_from([0, 1, 3, 256, 1000]))
def test_each_token_is_predicted_once(prepared, model, lanes, window):
    seen = []
    found = measure(
        model, prepared.validation, prepared.tokenizer, Protocol(window, lanes), lambda d, t: seen.append((d, t))
    )
    assert found.tokens == len(prepared.validation) - 1
    assert seen[-1] == (found.tokens, found.tokens)


def test_bytes_and_characters_are_those_of_the_predicted_text(tmp_path: Path):
    file = tmp_path / "t.txt"
    file.write_text("春眠不觉晓，spring", encoding="utf-8")
    prepared = prepare([str(file)], cache=tmp_path / "cache", validation=0)
    model = LanguageModel(ModelConfig(hidden_size=4), prepared.tokenizer.vocabulary_size)
    whole = measure(model, prepared.train, prepared.tokenizer, CARRIED)  # starts with the document's own token
    assert (whole.bytes, whole.characters, whole.tokens) == (6 * 3 + 6, 12, 12)


def test_the_first_token_of_a_part_is_not_counted(prepared, model):
    """The validation part begins amid a document: its first character is read, not predicted."""
    store = prepared.validation
    text = prepared.tokenizer.decode(store.read(0, len(store)))
    found = measure(model, store, prepared.tokenizer, Protocol())
    assert found.characters == len(text) - 1
    assert found.bytes == len(text[1:].encode())


def test_a_limit_measures_the_beginning(prepared, model):
    """The same as a store that ends there: so an evaluation need not read a large validation text."""
    store, tokenizer = prepared.validation, prepared.tokenizer
    part = measure(model, store, tokenizer, Protocol(), limit=50)
    assert part.tokens == 50
    assert metric_name(Protocol(), part, store) == "carried_first_50"
    ids = torch.from_numpy(store.read(0, 51))
    with torch.no_grad():
        logits, _ = model(ids[:-1, None])
    assert part.nats == pytest.approx(
        torch.nn.functional.cross_entropy(logits[:, 0], ids[1:], reduction="sum").item(), rel=1e-5
    )


@pytest.mark.parametrize("kind", ["bytes", "characters", "bpe", "words"])
def test_a_part_is_counted_in_bytes_and_characters(tmp_path, kind, monkeypatch):
    """Token by token, since the store counts the whole text alone; a token of BPE may end amid a character."""
    monkeypatch.setattr("tidegate.training.measure.TOKENS_AT_ONCE", 7)
    file = tmp_path / "t.txt"
    file.write_text("春眠不觉晓，spring é 处处闻啼鸟 🌊 " * 20, encoding="utf-8")
    prepared = prepare([str(file)], kind=kind, cache=tmp_path / "cache", validation=0)
    store, tokenizer = prepared.train, prepared.tokenizer
    model = LanguageModel(ModelConfig(hidden_size=4), tokenizer.vocabulary_size)
    found = measure(model, store, tokenizer, Protocol(lanes=2), limit=40)
    text = b"".join(tokenizer.token_bytes(int(token)) for token in store.read(1, 41))
    assert found.bytes == len(text)
    assert abs(found.characters - len(text.decode(errors="ignore"))) <= 1  # one may be cut at the end
    nearly = measure(model, store, tokenizer, Protocol(lanes=2), limit=len(store) - 2)
    whole = measure(model, store, tokenizer, Protocol(lanes=2))
    last = tokenizer.token_bytes(int(store.read(len(store) - 1, len(store))[0]))
    assert (nearly.bytes, nearly.characters) == (whole.bytes - len(last), whole.characters - len(last.decode()))
    assert metric_name(CARRIED, whole, store) == "carried_20lanes"


def test_a_part_with_unknown_tokens_has_no_size(prepared, model, monkeypatch):
    monkeypatch.setattr(prepared.validation, "unknown_count", 1)
    part = measure(model, prepared.validation, prepared.tokenizer, Protocol(), limit=50)
    assert set(part.figures()) == {"nats_a_token", "perplexity"}


def test_the_logits_at_once_change_nothing(prepared, model, monkeypatch):
    monkeypatch.setattr("tidegate.native.core", lambda: None)
    whole = [measure(model, prepared.validation, prepared.tokenizer, p).nats for p in (CARRIED, Protocol(window=9))]
    monkeypatch.setattr("tidegate.nn.loss.LOGITS_AT_ONCE", 1)
    monkeypatch.setattr("tidegate.training.measure.STEPS_AT_ONCE", 5)
    parts = [measure(model, prepared.validation, prepared.tokenizer, p).nats for p in (CARRIED, Protocol(window=9))]
    assert parts == pytest.approx(whole, rel=1e-6)


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary(prepared):
    model = LanguageModel(ModelConfig(hidden_size=4), prepared.tokenizer.vocabulary_size)
    torch.nn.init.zeros_(model.output.weight)
    found = measure(model, prepared.validation, prepared.tokenizer, Protocol(lanes=2))
    assert found.perplexity == pytest.approx(prepared.tokenizer.vocabulary_size, rel=1e-4)


def test_means_are_divided_once():
    loss = LossSum(nats=math.log(2) * 12, tokens=6, bytes=4, characters=3)
    assert loss.nats_a_token == pytest.approx(2 * math.log(2))
    assert loss.perplexity == pytest.approx(4)
    assert loss.bits_a_byte == pytest.approx(3)
    assert loss.bits_a_character == pytest.approx(4)


def test_the_protocol_is_in_the_name():
    assert [Protocol().name, CARRIED.name, Protocol(window=256).name] == ["carried", "carried_20lanes", "window256"]
