"""A conversation: the state after it is that of its text read in one go; it is kept, and no other model takes it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.numpy

from tests.runtime.small_models import random_tensors
from tidegate.config import ModelConfig
from tidegate.errors import TidegateError
from tidegate.folder.chat_file import Chat, read_chat, write_chat
from tidegate.folder.model_folder import write_config, write_weights
from tidegate.runtime.model import Model
from tidegate.runtime.sampling import Sampling
from tidegate.runtime.session import Session
from tidegate.text.chat_template import ChatTemplate
from tidegate.text.conversations.message import Message
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
        with pytest.raises(TidegateError, match=r"cannot be read as a session|was changed"):
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


def write_whole(path, chat):
    """Write the template too, as `write_config` does for a model that learned to answer."""
    (path / "chat_template.jinja").write_text(chat.template.source, encoding="utf-8")
    write_chat(path, chat)


@pytest.fixture
def talker(tmp_path):
    """A model whose folder says how to talk with it."""
    path = folder(tmp_path / "talker")
    write_whole(path, Chat(ChatTemplate.of("turns")))
    return Model.load(path)


def test_each_question_begins_anew_where_the_model_learned_single_ones(model):
    template = ChatTemplate.of("turns")
    one, other = Session(model, template, "be brief", single_turn=True), Session(model, template, "be brief")
    answers = [one.chat(question, sampling=SAMPLING, max_tokens=20) for question in ("a", "b")]
    other.turns = 1  # the second sample
    assert other.chat("b", sampling=SAMPLING, max_tokens=20) == answers[1]
    for mine, theirs in zip(one.state or (), other.state or (), strict=True):
        np.testing.assert_array_equal(mine.h, theirs.h)


def test_a_kept_session_of_single_questions_begins_anew_as_well(model, tmp_path):
    template = ChatTemplate.of("turns")
    first = Session(model, template, single_turn=True)
    first.chat("something else", sampling=SAMPLING, max_tokens=5)
    first.save(tmp_path / "s")
    again, fresh = Session(model, template, single_turn=True), Session(model, template, single_turn=True)
    again.restore(tmp_path / "s")
    fresh.turns = again.turns
    assert again.chat("b", sampling=SAMPLING) == fresh.chat("b", sampling=SAMPLING)


@pytest.mark.parametrize("single_turn", [False, True])
def test_the_chat_file(tmp_path, single_turn):
    chat = Chat(ChatTemplate.of("labels"), single_turn)
    write_whole(tmp_path, chat)
    assert read_chat(tmp_path) == chat
    (tmp_path / "chat.json").unlink()  # as folders of older versions
    assert read_chat(tmp_path) == Chat(chat.template, False)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        {"format": "x"},
        {"format_version": 2},
        {"single_turn": 1},
        {"single_turn": None},
        "[" * 10**5,
    ],
    ids=str,
)
def test_a_chat_file_that_is_broken(tmp_path, content):
    write_whole(tmp_path, Chat(ChatTemplate.of("turns"), True))
    path = tmp_path / "chat.json"
    right = json.loads(path.read_text())
    path.write_text(content if isinstance(content, str) else json.dumps(right | content))
    with pytest.raises(TidegateError, match=r"chat\.json"):
        read_chat(tmp_path)


def test_a_model_chats(talker):
    """One question, a list of messages and a conversation that remembers say the same."""
    how = {"sampling": SAMPLING, "max_tokens": 15}
    talk = talker.conversation("be brief")
    first, second = talk.chat("潮?", **how), "".join(talk.ask("and then?", **how))
    assert talker.chat("潮?", system="be brief", **how) == first
    before = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "潮?"}]
    assert talker.chat(before, **how) == first
    messages = [*before, {"role": "assistant", "content": first}, {"role": "user", "content": "and then?"}]
    # what was given of an answer and what was read of it differ by the spaces at its ends alone
    assert first == first.strip()
    assert "".join(talker.stream_chat(messages, **how)) == second
    assert talk.turns == 2


def test_a_model_of_single_questions_answers_the_last_alone(tmp_path):
    path = folder(tmp_path / "single")
    write_whole(path, Chat(ChatTemplate.of("turns"), True))
    model = Model.load(path)
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    asked = {"role": "user", "content": "c"}
    assert model.chat([*messages, asked], sampling=SAMPLING) == model.chat([asked], sampling=SAMPLING)


def test_the_settings_of_a_chat_have_defaults(talker):
    assert talker.chat("a") == talker.chat("a", sampling=Sampling(), max_tokens=400)


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ("", "empty"),
        ([], "not a list of 1"),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "end it with the user's"),
        ([{"role": "system", "content": "a"}], "end it with the user's"),
        ([{"role": "usr", "content": "a"}], "did you mean 'user'"),
        ([{"role": "user", "content": "a"}] * 2, "take turns"),
        (["a"], "not an object"),
    ],
    ids=str,
)
def test_what_cannot_be_answered(talker, messages, complaint):
    with pytest.raises(TidegateError, match=complaint):
        talker.chat(messages)


def test_a_model_that_did_not_learn_to_answer(model):
    with pytest.raises(TidegateError, match="was not trained to answer"):
        model.chat("a")
    with pytest.raises(TidegateError, match="is empty"):
        Session(model, ChatTemplate.of("turns")).ask(" \x04")


@pytest.mark.parametrize("bias", [[0xE6, 0x04], [0xF0, 0x9F, 0x04]])
def test_an_answer_that_ends_within_a_character_ends_before_it(tmp_path, bias):
    """Whether the end mark comes within it, or the longest answer: no half character is shown or read."""
    path = tmp_path / "bytes"
    tensors = {name: np.zeros_like(value) for name, value in random_tensors(CONFIG, TOKENIZER.vocabulary_size).items()}
    tensors["output.bias"] = tensors["output.bias"] - 50
    tensors["output.bias"][[*bias, ord("a")]] = 0
    write_config(path, CONFIG, TOKENIZER, 1000)
    write_weights(path, tensors, TOKENIZER)
    model = Model.load(path)
    ended = 0
    for seed in range(40):
        session = Session(model, ChatTemplate.of("turns"))
        answer = session.chat("q", sampling=Sampling(seed=seed, temperature=1.0), max_tokens=4)
        assert not answer.endswith("\ufffd"), seed
        ended += len(answer) < 4
    assert ended > 5
