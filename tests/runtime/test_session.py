"""A conversation: the state after it is that of its text read in one go; it is kept, and no other model takes it."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.numpy

from tests.runtime.small_models import random_tensors
from tidegate.config import ModelConfig
from tidegate.errors import TidegateError
from tidegate.folder.model_folder import write_config, write_weights
from tidegate.runtime.model import Model
from tidegate.runtime.sampling import Sampling
from tidegate.runtime.session import Session
from tidegate.text.chat_template import ChatTemplate
from tidegate.text.dialogue import Message
from tidegate.text.tokenizer import train

TOKENIZER = train("bytes", [])
CONFIG = ModelConfig("lstm", 2, 8)
SAMPLING = Sampling(seed=5, temperature=1.0)


def folder(path, seed=0):
    write_config(path, CONFIG, TOKENIZER, 1000)
    tensors = random_tensors(CONFIG, TOKENIZER.vocabulary_size)
    tensors["output.bias"] = tensors["output.bias"] + np.float32(seed)
    tensors["output.bias"][0x04] += 3  # an answer ends soon
    write_weights(path, tensors, TOKENIZER)
    return path


@pytest.fixture
def model(tmp_path):
    return Model.load(folder(tmp_path / "model"))


@pytest.mark.parametrize("name", ["turns", "labels"])
def test_the_state_is_that_of_the_text(model, name):
    """After two turns: as if the document token and the whole conversation had been read as they are learnt."""
    template = ChatTemplate.of(name)
    session = Session(model, template, system="be brief")
    turns = [Message("system", "be brief")]
    for question in ("what is a tide?", "潮"):
        answer = "".join(session.ask(question, SAMPLING, 12))
        turns += [Message("user", question), Message("assistant", answer)]
    state = model.step(TOKENIZER.document_id, model.initial_state())[1]
    text = template.first_turn("what is a tide?", "be brief") + turns[2].content + template.end
    text += template.next_turn("潮") + turns[4].content + template.end
    _, state = model.read(TOKENIZER.encode(text), state)
    assert session.turns == 2
    assert session.state is not None
    for found, wanted in zip(session.state, state, strict=True):
        for one, two in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_who_stops_listening_goes_on_after_what_was_said(model):
    session = Session(model, ChatTemplate.of("turns"))
    answer = session.ask("q", SAMPLING, 50)
    said = next(answer)
    answer.close()
    state = model.step(TOKENIZER.document_id, model.initial_state())[1]
    _, state = model.read(TOKENIZER.encode(f"\x05q\x06{said}\x04"), state)
    assert session.state is not None
    np.testing.assert_allclose(session.state[1].h, state[1].h, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("limit", range(1, 8))
def test_an_answer_that_ends_within_a_character_is_remembered_without_it(model, tmp_path, monkeypatch, limit):
    """In memory and in its file, the state is that of the whole characters that were shown."""
    drawn = iter(TOKENIZER.encode("潮é😀").tolist())
    monkeypatch.setattr("tidegate.runtime.stream.choose", lambda *how: next(drawn))
    session = Session(model, ChatTemplate.of("turns"))
    said = "".join(session.ask("q", SAMPLING, limit))
    assert said == "潮é😀".encode()[:limit].decode(errors="ignore")
    state = model.step(TOKENIZER.document_id, model.initial_state())[1]
    _, state = model.read(TOKENIZER.encode(f"\x05q\x06{said}\x04"), state)
    session.save(tmp_path / "s.state")
    again = Session(model, ChatTemplate.of("turns"))
    again.restore(tmp_path / "s.state")
    for kept in (session.state, again.state):
        assert kept is not None
        np.testing.assert_allclose(kept[1].h, state[1].h, rtol=1e-5, atol=1e-6)


def test_a_conversation_goes_on_from_its_file(model, tmp_path):
    template, file = ChatTemplate.of("turns"), tmp_path / "s.state"
    one = Session(model, template)
    list(one.ask("first", SAMPLING, 10))
    one.save(file)
    assert file.stat().st_size < 2048
    two = Session(model, template)
    two.restore(file)
    assert two.turns == 1
    assert list(two.ask("second", SAMPLING, 10)) == list(one.ask("second", SAMPLING, 10))


def test_another_models_session_is_refused(model, tmp_path):
    session = Session(model, ChatTemplate.of("turns"))
    list(session.ask("q", SAMPLING, 5))
    session.save(tmp_path / "s")
    other = Model.load(folder(tmp_path / "other", seed=1))
    with pytest.raises(TidegateError, match="another model"):
        Session(other, ChatTemplate.of("turns")).restore(tmp_path / "s")
    with pytest.raises(TidegateError, match="another chat template"):
        Session(model, ChatTemplate.of("labels")).restore(tmp_path / "s")


def test_no_damaged_session_is_gone_on_with(model, tmp_path):
    session, file = Session(model, ChatTemplate.of("turns")), tmp_path / "s"
    list(session.ask("q", SAMPLING, 5))
    session.save(file)
    whole = file.read_bytes()
    for at in range(0, len(whole), 7):
        file.write_bytes(whole[:at])
        with pytest.raises(TidegateError):
            Session(model, ChatTemplate.of("turns")).restore(file)
    names = dict(session._names(), turns="1")
    for tensors in (
        {"0.h": np.zeros((1, 8), np.float32)},
        {f"{i}.{n}": np.full((1, 8), np.nan, np.float32) for i in (0, 1) for n in "hc"},
        {f"{i}.{n}": np.zeros((1, 8), np.float64) for i in (0, 1) for n in "hc"},
    ):
        safetensors.numpy.save_file(tensors, file, names)
        with pytest.raises(TidegateError, match="cannot be read as a session"):
            Session(model, ChatTemplate.of("turns")).restore(file)


def test_weights_without_a_folder_have_no_session(tmp_path):
    model = Model(CONFIG, TOKENIZER, random_tensors(CONFIG, TOKENIZER.vocabulary_size), 1000)
    session = Session(model, ChatTemplate.of("turns"))
    list(session.ask("q", SAMPLING, 5))
    with pytest.raises(TidegateError, match="have no digest"):
        session.save(tmp_path / "s")


def test_adapters_are_part_of_the_digest(model):
    assert model.digest
    assert model.adapted([]).digest not in ("", model.digest)
