"""The exports of Telegram and ChatGPT: who asks and who answers, where conversations end, which branch is read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.errors import TidegateError
from tidegate.text.conversations.checked import checked
from tidegate.text.conversations.files import find_dialogues
from tidegate.text.conversations.forms import Choices, drafts_of
from tidegate.text.conversations.message import Message
from tidegate.text.conversations.notes import Notes
from tidegate.text.conversations.read import read_dialogues


def read(tmp_path, record, name, **choices):
    (tmp_path / name).write_text(json.dumps(record, ensure_ascii=False, indent=1), encoding="utf-8")
    notes = Notes()
    found = read_dialogues(find_dialogues([str(tmp_path / name)]), choices=Choices(**choices), notes=notes)
    return [[tuple(turn)[:2] for turn in turns] for turns in found], notes


def said(number, sender, text, minute, **more):
    time = {"date": "2026-01-01T00:00:00", "date_unixtime": str(1_800_000_000 + 60 * minute)}
    return {"id": number, "type": "message", "from": sender, "from_id": f"user{sender}", "text": text, **time, **more}


CHAT = {
    "name": "Ann", "type": "personal_chat", "id": 5,
    "messages": [
        {"id": 1, "type": "service", "actor": "Ann", "action": "join", "text": "", "date": "2026-01-01T00:00:00"},
        said(2, "Ben", "Hello", 0),
        said(3, "Ann", "Are you", 1),
        said(4, "Ann", ["there? ", {"type": "link", "text": "x.org"}], 2),
        said(5, "Ben", "Always.", 3),
        said(6, "Ben", "", 3, photo="p.jpg"),
        said(7, "Ben", "What is it?", 4),
        said(8, "Ann", "Bye", 5),
        said(9, "Ann", "Morning!", 1000),
        said(10, "Ben", "Morning.", 1001),
    ],
}  # fmt: skip
TALKS = [
    [("user", "Are you\nthere? x.org"), ("assistant", "Always.\nWhat is it?")],
    [("user", "Morning!"), ("assistant", "Morning.")],
]


@pytest.mark.parametrize("assistant", ["Ben", "userBen"])
def test_telegram(tmp_path, assistant):
    found, notes = read(tmp_path, CHAT, "result.json", assistant=assistant)
    assert found == TALKS
    assert notes.sentences()[0] == "Read 2 conversations, Telegram export form."
    assert any("(1): messages without text" in sentence for sentence in notes.sentences())
    assert not notes.ignored


def test_telegram_of_a_whole_account(tmp_path):
    other = CHAT | {"messages": [said(1, "Cem", "Hey", 0)]}
    found, _ = read(tmp_path, {"about": "x", "chats": {"about": "y", "list": [CHAT, other]}}, "r.json", assistant="Ben")
    assert found == TALKS


def test_telegram_needs_to_know_who_answers(tmp_path):
    with pytest.raises(TidegateError, match=r"--assistant NAME.*'Ben' \(5 messages\), 'Ann' \(4 messages\)"):
        read(tmp_path, CHAT, "result.json")
    with pytest.raises(TidegateError, match=r"no message of 'Bem' .did you mean 'Ben'"):
        read(tmp_path, CHAT, "result.json", assistant="Bem")


def node(parent, role, text, kind="text", children=(), **more):
    content = {"content_type": kind, "parts": text if isinstance(text, list) else [text]}
    return {
        "parent": parent,
        "children": [*children],
        "message": {"author": {"role": role}, "content": content, **more},
    }


TREE = {
    "title": "Tides", "create_time": 1.0, "current_node": "e",
    "mapping": {
        "root": {"parent": None, "children": ["s"], "message": None},
        "s": node("root", "system", ""),
        "a": node("s", "user", ["What is this?", {"content_type": "image_asset_pointer"}], "multimodal_text"),
        "x": node("a", "assistant", "A branch that was given up."),
        "t": node("a", "assistant", "search()", "code", recipient="browser"),
        "u": node("t", "tool", "found"),
        "b": node("u", "assistant", "A"),
        "c": node("b", "assistant", "tide."),
        "d": node("c", "user", "Thanks"),
        "e": node("d", "assistant", "Welcome."),
        "f": node("e", "user", "Later"),
    },
}  # fmt: skip


def test_chatgpt_follows_the_current_node_to_the_root(tmp_path):
    found, notes = read(tmp_path, [TREE, TREE | {"current_node": None}], "conversations.json")
    talk = [("user", "What is this?"), ("assistant", "A\ntide."), ("user", "Thanks"), ("assistant", "Welcome.")]
    # without a current node: the last leaf
    assert found == [talk, talk]
    assert notes.sentences()[0] == "Read 2 conversations, ChatGPT export form."
    assert any("(4): tool calls" in sentence for sentence in notes.sentences())


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"current_node": "zzz"}, "which its mapping does not have"),
        ({"mapping": TREE["mapping"] | {"a": node("e", "user", "x")}}, "its own ancestor"),
        ({"mapping": TREE["mapping"] | {"a": node("s", "robot", "x")}}, "the author 'robot'"),
    ],
)
def test_a_tree_that_is_none(tmp_path, change, complaint):
    with pytest.raises(TidegateError, match=f"conversations.json, item 1.*{complaint}"):
        read(tmp_path, [TREE | change], "conversations.json")


CALLED = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
RECORDS = [
    CHAT, TREE, {"chats": {"list": [CHAT]}},
    {"messages": [{"role": "user", "content": "a", "weight": 1}, CALLED, {"role": "assistant", "content": "b"}]},
    {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "system": "s"},
    {"instruction": "a", "input": "b", "output": "c", "history": [["d", "e"]], "system": "f"},
    {"instruction": "a", "instances": [{"input": "b", "output": "c"}]},
    {"prompt": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}]}],
     "completion": [{"role": "assistant", "content": "b", "train": False}]},
    {"question": "a", "answer": "b"},
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | st.sampled_from(["", "user", "tool", "gpt", "b"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["role", "text"]), inner, max_size=2),
    max_leaves=4,
)


def changed(value, place, by):
    """Return a copy in which the value at a place, counted through all levels, is another."""
    if place[0] == 0:
        place[0] -= 1
        return by
    place[0] -= 1
    if isinstance(value, dict):
        return {name: changed(inner, place, by) for name, inner in value.items()}
    return [changed(inner, place, by) for inner in value] if isinstance(value, list) else value


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(RECORDS), st.integers(0, 60), JSON, st.sampled_from([(), ("prompt", "answer"), ("messages",)]))
def test_a_record_gives_conversations_or_a_sentence_that_says_where(record, place, value, columns):
    notes = Notes()
    complaint = "x"
    try:
        for draft in drafts_of("x", changed(record, [place], value), Choices(columns, "Ben"), notes):
            found = checked("x", draft, notes)
            assert found is None or all(isinstance(turn, Message) and turn.content for turn in found)
    except TidegateError as error:
        complaint = str(error)
    assert complaint.startswith("x")
