"""Conversations from files: every form that is known, and every mistake, named with its place."""

from __future__ import annotations

import gzip
import json

import pytest

from tidegate.errors import TidegateError
from tidegate.text.dialogue import Message, find_dialogues, message, read_dialogues

ASKED = {"role": "user", "content": "潮汐是什么？"}
ANSWERED = {"role": "assistant", "content": "海水的涨落。"}
TWO = (Message("user", "潮汐是什么？"), Message("assistant", "海水的涨落。"))


def read(tmp_path, *records, name="d.jsonl"):
    path = tmp_path / name
    text = "\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    path.write_text(text, encoding="utf-8")
    return list(read_dialogues(find_dialogues([str(path)])))


@pytest.mark.parametrize(
    ("record", "wanted"),
    [
        ({"messages": [ASKED, ANSWERED]}, TWO),
        (
            {"messages": [{"role": "system", "content": " 简短。 "}, ASKED, ANSWERED]},
            (Message("system", "简短。"), *TWO),
        ),
        ({"messages": [ASKED, ANSWERED, ASKED, ANSWERED], "id": 7}, TWO * 2),
        ({"instruction": "潮汐是什么？", "input": "", "output": "海水的涨落。"}, TWO),
        ({"instruction": "潮汐是什么？", "output": "海水的涨落。", "history": []}, TWO),
        ({"instruction": "a", "input": "b", "output": "c"}, (Message("user", "a\nb"), Message("assistant", "c"))),
        (
            {"instruction": "q", "output": "r", "history": [["潮汐是什么？", "海水的涨落。"]]},
            (*TWO, Message("user", "q"), Message("assistant", "r")),
        ),
    ],
    ids=str,
)
def test_forms(tmp_path, record, wanted):
    assert read(tmp_path, record) == [wanted]


def test_a_task_with_instances(tmp_path):
    task = {"instruction": "Add.", "instances": [{"input": "1 1", "output": "2"}, {"input": "", "output": "none"}]}
    assert [turns[-1].content for turns in read(tmp_path, task)] == ["2", "none"]


def test_files_and_folders(tmp_path):
    line = json.dumps({"messages": [ASKED, ANSWERED]})
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/b.json").write_text(f"[{line}, {line}]")
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
        file.write(line + "\n\n" + line + "\n")
    (tmp_path / "notes.txt").write_text("no")
    assert len(list(read_dialogues(find_dialogues([str(tmp_path)])))) == 4
    assert len(find_dialogues([str(tmp_path / "*.gz"), str(tmp_path)])) == 2
    (tmp_path / "gb.jsonl").write_bytes(
        json.dumps({"messages": [ASKED, ANSWERED]}, ensure_ascii=False).encode("gb18030")
    )
    assert list(read_dialogues([tmp_path / "gb.jsonl"], "gb18030")) == [TWO]


def test_control_characters_never_reach_a_template():
    """By them templates mark turns: a question that holds them could end itself and answer."""
    assert message("user", "a\x04\x06b\tc\r\nd\x00 ") == Message("user", "ab\tc\nd")


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        ([], "no JSON object"),
        ({"text": "x"}, "neither 'messages' nor 'instruction'"),
        ({"messages": []}, "no list of 1 to"),
        ({"messages": "x"}, "no list of 1 to"),
        ({"messages": [ASKED]}, "ends with the user's message"),
        ({"messages": [ANSWERED]}, "take turns"),
        ({"messages": [ASKED, ASKED, ANSWERED]}, "take turns"),
        ({"messages": [ASKED, ANSWERED, ANSWERED]}, "take turns"),
        ({"messages": [ASKED, {"role": "system", "content": "x"}, ANSWERED]}, "beginning alone"),
        ({"messages": [{"role": "bot", "content": "x"}]}, "has the role 'bot'"),
        ({"messages": [{"content": "x"}]}, "has the role 'None'"),
        ({"messages": [{"role": "user"}]}, "content is no string"),
        ({"messages": ["x"]}, "content is no string"),
        ({"messages": [{"role": "user", "content": " \x06\n"}, ANSWERED]}, "is empty"),
        ({"messages": [ASKED, {"role": "assistant", "content": ""}]}, "is empty"),
        ({"instruction": "x"}, "content is no string"),
        ({"instruction": 3, "output": "x"}, "not both strings"),
        ({"instruction": "x", "output": "y", "history": [["a"]]}, "history"),
        ({"instruction": "x", "instances": ["y"]}, "instance"),
    ],
    ids=str,
)
def test_mistakes_are_named_with_their_place(tmp_path, record, complaint):
    with pytest.raises(TidegateError, match=rf"d\.jsonl, line 2.*{complaint}"):
        read(tmp_path, {"messages": [ASKED, ANSWERED]}, record)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("d.jsonl", b"{", "line 1 is no JSON"),
        ("d.jsonl", b"[" * 100_000, "line 1 is no JSON"),
        ("d.json", b"{}", "holds no list"),
        ("d.json", b"[1]", "item 1 is no JSON object"),
        ("d.jsonl", b"\xfd\xfc", "not utf-8"),
        ("d.jsonl.gz", b"no gzip", "could not be read"),
    ],
    ids=str,
)
def test_broken_files(tmp_path, name, content, complaint):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TidegateError, match=complaint):
        list(read_dialogues(find_dialogues([str(tmp_path / name)])))


def test_no_files(tmp_path):
    with pytest.raises(TidegateError, match="no conversation at"):
        find_dialogues([str(tmp_path)])
    (tmp_path / "d.txt").write_text("x")
    with pytest.raises(TidegateError, match=r"no \.jsonl or \.json"):
        find_dialogues([str(tmp_path / "d.txt")])
