"""Conversations as stores: split, marked, kept in the cache; what is learnt and measured of them is the answers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tidegate.config import ModelConfig
from tidegate.errors import TidegateError
from tidegate.models.language_model import LanguageModel
from tidegate.text.chat_template import ChatTemplate
from tidegate.text.conversations.forms import Choices
from tidegate.text.dialogue_store import Settings, prepare_dialogues
from tidegate.text.tokenizer import train
from tidegate.training.batches import Cursor, Feed
from tidegate.training.measure import CARRIED, Protocol, measure, metric_name

SETTINGS = Settings(ChatTemplate.of("turns"), 0.25)


@pytest.fixture
def dialogues(tmp_path):
    path = tmp_path / "d.jsonl"
    lines = [{"instruction": f"问题 {n}", "output": f"answer {n} 答" * (1 + n % 3)} for n in range(12)]
    lines.append(lines[3])  # twice the same
    path.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines), encoding="utf-8")
    return [str(path)]


def prepared(dialogues, tmp_path, tokenizer=None, adds=False, settings=SETTINGS, tell=None):
    more = {} if tell is None else {"tell": tell}
    return prepare_dialogues(dialogues, settings, tokenizer or train("bytes", []), tmp_path / "cache", adds, **more)


def test_split_and_kept(dialogues, tmp_path):
    first = prepared(dialogues, tmp_path)
    assert first.validation is not None
    assert (len(first.train.document_starts), len(first.validation.document_starts)) == (9, 3)
    assert not first.reused
    again = prepared(dialogues, tmp_path)
    assert again.reused
    assert again.digest == first.digest
    other = prepared(dialogues, tmp_path, settings=SETTINGS._replace(template=ChatTemplate.of("labels")))
    assert other.digest != first.digest
    none = prepared(dialogues, tmp_path, settings=SETTINGS._replace(validation=0.0))
    assert none.validation is None


def documents(found):
    return len(found.train.document_starts) + (0 if found.validation is None else len(found.validation.document_starts))


def test_duplicates_are_left_out_and_said_or_kept(dialogues, tmp_path):
    told = []
    assert documents(prepared(dialogues, tmp_path, tell=told.append)) == 12
    assert told == [
        "Read 13 conversations, Alpaca form.",
        "Omitted (1): conversations that came before word for word (--keep-duplicates keeps them).",
    ]
    told = []
    kept = SETTINGS._replace(keep_duplicates=True)
    assert documents(prepared(dialogues, tmp_path, settings=kept, tell=told.append)) == 13
    assert told == ["Read 13 conversations, Alpaca form."]


def test_the_same_words_with_other_weights_are_no_duplicate(tmp_path):
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}] * 2
    other = [*turns[:1], turns[1] | {"weight": 0}, *turns[2:]]
    path = tmp_path / "w.jsonl"
    path.write_text("\n".join(json.dumps({"messages": messages}) for messages in (turns, other)))
    found = prepared([str(path)], tmp_path, settings=SETTINGS._replace(validation=0.0))
    ids, marks = found.train.read_marked(0, len(found.train))
    tokenizer = found.tokenizer
    assert tokenizer.decode(ids) == tokenizer.decode(ids[: len(ids) // 2]) * 2
    assert marks.sum() == 6  # b and its end: twice, then once


def test_whether_all_are_single_questions(dialogues, tmp_path):
    assert prepared(dialogues, tmp_path).single_turn
    longer = tmp_path / "longer.jsonl"
    longer.write_text(json.dumps({"instruction": "q", "output": "a", "history": [["b", "c"]]}))
    assert not prepared([str(longer), *dialogues], tmp_path).single_turn


def test_columns_name_question_and_answer(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("frage,antwort\nWo?,Hier.\nWann?,Jetzt.\n")
    settings = SETTINGS._replace(validation=0.0, choices=Choices(("frage", "antwort")))
    found = prepared([str(path)], tmp_path, settings=settings)
    assert found.tokenizer.decode(found.train.read(1, 12)) == "\x05Wo?\x06Hier.\x04"


def test_a_named_validation_text_is_left_out_of_the_training(dialogues, tmp_path):
    held = tmp_path / "held.jsonl"
    held.write_text(json.dumps({"instruction": "问题 2", "output": "answer 2 答" * 3}, ensure_ascii=False))
    found = prepared(dialogues, tmp_path, settings=SETTINGS._replace(validation_data=(str(held),)))
    assert found.validation is not None
    assert (len(found.train.document_starts), len(found.validation.document_starts)) == (11, 1)
    told = []
    prepared(dialogues, tmp_path, settings=SETTINGS._replace(validation_data=(str(held),)), tell=told.append)
    assert told[-1] == "Omitted (1): training conversations that are validation conversations as well."


def test_new_characters_are_added(dialogues, tmp_path):
    old = train("characters", ["abc\x04\x05\x06"])
    kept, grown = prepared(dialogues, tmp_path, old), prepared(dialogues, tmp_path, old, adds=True)
    assert kept.tokenizer.digest == old.digest
    assert kept.train.unknown_count > 0
    assert grown.train.unknown_count == 0
    assert grown.tokenizer.vocabulary_size > old.vocabulary_size


def test_marks_that_the_vocabulary_lacks(dialogues, tmp_path):
    with pytest.raises(TidegateError, match=r"which the model's vocabulary .characters. lacks"):
        prepared(dialogues, tmp_path, train("characters", ["abc"]))
    whitespace = train("whitespace", ["a b"], 100)
    with pytest.raises(TidegateError, match=r"lacks|no token of its own"):
        prepared(dialogues, tmp_path, whitespace, adds=True)


def test_nothing_to_learn_from(dialogues, tmp_path):
    with pytest.raises(TidegateError, match="no conversation to train on"):
        prepared(dialogues, tmp_path, settings=SETTINGS._replace(validation_data=tuple(dialogues)))


def test_weights_follow_the_marks_through_the_feed(dialogues, tmp_path):
    """Whatever the order of the documents: a target counts where it is an answer's token."""
    found = prepared(dialogues, tmp_path)
    tokenizer, store = found.tokenizer, found.train
    feed = Feed(store, tokenizer.document_id, 2, 16, 0)
    text = {}
    for begin, end in zip(store.document_starts, [*store.document_starts[1:], len(store)], strict=True):
        ids, marks = store.read_marked(int(begin), int(end))
        text[tokenizer.decode(ids[~marks])] = tokenizer.decode(ids[marks])
    assert all(q.startswith("\x05问题") and q.endswith("\x06") and a.endswith("\x04") for q, a in text.items())
    for window in range(feed.windows):
        batch = feed.read(Cursor(1, window))
        for lane in range(2):
            whole = tokenizer.decode(batch.targets[:, lane])
            learnt = batch.weight[:, lane].bool().numpy()
            assert "\x06" not in tokenizer.decode(batch.targets[learnt, lane])
            assert "\x05" not in tokenizer.decode(batch.targets[learnt, lane])
            assert learnt.sum() + (~learnt).sum() == len(batch.targets)
            assert whole.count("\x04") == int((batch.targets[learnt, lane] == 4).sum())


def test_measured_are_the_answers_of_whole_conversations(dialogues, tmp_path):
    """By hand, conversation by conversation: lanes are not cut amid one."""
    found = prepared(dialogues, tmp_path)
    store, tokenizer = found.train, found.tokenizer
    model = LanguageModel(ModelConfig(hidden_size=6), tokenizer.vocabulary_size)
    nats = tokens = size = 0.0
    for begin, end in zip(store.document_starts, [*store.document_starts[1:], len(store)], strict=True):
        ids, marks = store.read_marked(int(begin), int(end))
        inputs = torch.from_numpy(ids[:, None])
        with torch.no_grad():
            logits = model(inputs[:-1])[0][:, 0]
        loss = torch.nn.functional.cross_entropy(logits, inputs[1:, 0], reduction="none")
        nats += float(loss[torch.from_numpy(marks[1:])].sum())
        tokens += marks.sum()
        size += len(tokenizer.decode(ids[marks]).encode())
    for protocol in (CARRIED, Protocol(lanes=3), Protocol()):
        measured = measure(model, store, tokenizer, protocol)
        assert measured.nats == pytest.approx(nats, rel=1e-5)
        assert (measured.tokens, measured.bytes) == (tokens, size)
        assert metric_name(protocol, measured, store).startswith("answers_carried")


def test_ids_without_marks_read_as_such(dialogues, tmp_path):
    store = prepared(dialogues, tmp_path).train
    ids, marks = store.read_marked(0, len(store))
    np.testing.assert_array_equal(store.read(0, len(store)), ids)
    assert store.is_marked
    assert 0 < marks.mean() < 1


def test_a_damaged_store_is_written_anew(dialogues, tmp_path):
    first = prepared(dialogues, tmp_path)
    ids = first.train.read(0, len(first.train))
    (shard,) = (tmp_path / "cache").glob("dialogues-*/train/ids-00000.bin")
    shard.write_bytes(b"\xff" + shard.read_bytes()[1:])
    again = prepared(dialogues, tmp_path)
    assert not again.reused
    assert f"{shard} was changed" in again.damage
    np.testing.assert_array_equal(again.train.read(0, len(again.train)), ids)
    assert prepared(dialogues, tmp_path).damage == ""
