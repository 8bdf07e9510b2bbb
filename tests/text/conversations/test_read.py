"""Conversations from files: every format that is known, what of it is used, and every mistake, named with its place."""

from __future__ import annotations

import gzip
import json

import pytest

from tidegate.errors import TidegateError
from tidegate.text.conversations.files import find_dialogues
from tidegate.text.conversations.forms import Choices
from tidegate.text.conversations.message import Message, message
from tidegate.text.conversations.notes import Notes
from tidegate.text.conversations.read import read_dialogues

ASKED = {"role": "user", "content": "潮汐是什么？"}
ANSWERED = {"role": "assistant", "content": "海水的涨落。"}
TWO = (Message("user", "潮汐是什么？"), Message("assistant", "海水的涨落。"))


def read(tmp_path, *records, name="d.jsonl", notes=None, **choices):
    path = tmp_path / name
    text = "\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    path.write_text(text, encoding="utf-8")
    return list(read_dialogues(find_dialogues([str(path)]), choices=Choices(**choices), notes=notes))


def written(tmp_path, text, name):
    (tmp_path / name).write_text(text, encoding="utf-8")
    notes = Notes()
    return list(read_dialogues(find_dialogues([str(tmp_path / name)]), notes=notes)), notes


Q, A = "潮汐是什么？", "海水的涨落。"
BRIEF, SYSTEM = Message("system", "简短。"), {"from": "system", "value": "简短。"}


@pytest.mark.parametrize(
    ("record", "wanted", "form"),
    [
        ({"messages": [ASKED, ANSWERED]}, TWO, "messages"),
        ([ASKED, ANSWERED], TWO, "messages"),
        ({"messages": [{"role": "system", "content": " 简短。 "}, ASKED, ANSWERED]}, (BRIEF, *TWO), "messages"),
        ({"messages": [{"role": "developer", "content": "简短。"}, ASKED, ANSWERED]}, (BRIEF, *TWO), "messages"),
        ({"messages": [ASKED, ANSWERED], "system": "简短。"}, (BRIEF, *TWO), "messages"),
        ({"messages": [ASKED, ANSWERED, ASKED, ANSWERED], "id": 7}, TWO * 2, "messages"),
        ({"messages": [{"role": "human", "content": Q}, {"role": "bot", "content": A}]}, TWO, "messages"),
        ({"messages": [{"role": "user", "content": Q}, {"role": "model", "content": A}]}, TWO, "messages"),
        ({"messages": [{"role": "User", "content": [{"type": "text", "text": Q}]}, ANSWERED]}, TWO, "messages"),
        ({"conversations": [{"from": "human", "value": Q}, {"from": "gpt", "value": A}]}, TWO, "ShareGPT"),
        (
            {"conversations": [{"from": "human", "value": Q}, {"from": "gpt", "value": A}], "system": "简短。"},
            (BRIEF, *TWO),
            "ShareGPT",
        ),
        (
            {"conversations": [SYSTEM, {"from": "human", "value": Q}, {"from": "gpt", "value": A}]},
            (BRIEF, *TWO),
            "ShareGPT",
        ),
        ({"conversations": [ASKED, ANSWERED]}, TWO, "messages"),
        ({"instruction": Q, "input": "", "output": A}, TWO, "Alpaca"),
        ({"instruction": Q, "input": None, "output": A, "system": "简短。"}, (BRIEF, *TWO), "Alpaca"),
        ({"instruction": Q, "output": A, "history": []}, TWO, "Alpaca"),
        (
            {"instruction": "a", "input": "b", "output": "c"},
            (Message("user", "a\nb"), Message("assistant", "c")),
            "Alpaca",
        ),
        (
            {"instruction": "q", "output": "r", "history": [[Q, A]], "system": "简短。"},
            (BRIEF, *TWO, Message("user", "q"), Message("assistant", "r")),
            "Alpaca",
        ),
        ({"instruction": Q, "context": "", "response": A, "category": "qa"}, TWO, "Alpaca"),
        ({"指令": Q, "输入": "", "输出": A}, TWO, "Alpaca"),
        ({"prompt": Q, "completion": " " + A}, TWO, "prompt/completion"),
        ({"prompt": [ASKED], "completion": [ANSWERED]}, TWO, "prompt/completion"),
        ({"Question": Q, "Answer": A}, TWO, "Question/Answer"),
        ({"system_prompt": "简短。", "question": Q, "response": A}, (BRIEF, *TWO), "question/response"),
        ({"问": Q, "答": A}, TWO, "问/答"),
        ({"问题": Q, "回答": A}, TWO, "问题/回答"),
    ],
    ids=str,
)  # fmt: skip
def test_formats(tmp_path, record, wanted, form):
    notes = Notes()
    assert read(tmp_path, record, notes=notes) == [wanted]
    assert notes.sentences()[0] == f"Read 1 conversation, {form} form."


@pytest.mark.parametrize(
    "flag", [{"weight": 0}, {"weight": 0.0}, {"train": False}, {"loss": False}, {"training": 0}], ids=str
)
def test_an_answer_of_weight_0_is_read_and_not_learned(tmp_path, flag):
    found = read(tmp_path, {"messages": [ASKED, ANSWERED | flag, ASKED, ANSWERED | {"weight": 1}]})
    assert [turn.learnt for turn in found[0] if turn.role == "assistant"] == [False, True]
    notes = Notes()
    assert read(tmp_path, {"messages": [ASKED, ANSWERED | flag]}, notes=notes) == []
    assert "Omitted (1): conversations with no answer to learn" in notes.sentences()[0]
    assert not notes.ignored


def test_of_a_prompt_of_messages_only_the_completion_is_learned(tmp_path):
    found = read(tmp_path, {"prompt": [ASKED, ANSWERED, ASKED], "completion": [ANSWERED]})
    assert [turn.learnt for turn in found[0]] == [True, False, True, True]


def test_fields_that_nobody_reads_are_named_once(tmp_path):
    notes = Notes()
    lines = [{"messages": [ASKED | {"name": "Ann"}, ANSWERED], "id": n, "tags": [], "note": None} for n in range(3)]
    read(tmp_path, *lines, {"messages": [ASKED | {"weight": 1}, ANSWERED | {"reasoning": "hm"}]}, notes=notes)
    assert notes.sentences()[1:] == [
        "Ignored fields, and the number of conversations that have them: id (in 3), name (in 3), reasoning (in 1), "
        "weight of a question (in 1)."
    ]


def test_tools_and_images_are_left_out_and_said(tmp_path):
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    tool = {"role": "tool", "content": "7", "tool_call_id": "1"}
    picture = {"type": "image_url", "image_url": {"url": "x"}}
    notes = Notes()
    found = read(
        tmp_path,
        {"messages": [ASKED, call, tool, ANSWERED], "tools": [{}]},
        {"messages": [ASKED, call | {"content": "Wait."}, tool, ANSWERED]},
        {"messages": [{"role": "user", "content": [picture, {"type": "text", "text": Q}]}, ANSWERED]},
        {"messages": [{"role": "user", "content": [picture]}, ANSWERED]},
        {"conversations": [
            {"from": "human", "value": Q}, {"from": "function_call", "value": "f()"},
            {"from": "observation", "value": "7"}, {"from": "gpt", "value": A},
        ]},
        notes=notes,
    )  # fmt: skip
    assert found == [TWO, (TWO[0], Message("assistant", "Wait.\n" + A)), TWO, TWO]
    sentences = "\n".join(notes.sentences())
    assert "Read 4 conversations: 3 messages form, 1 ShareGPT form." in sentences
    assert "Omitted (6): tool calls and their results." in sentences
    assert "(2): parts of messages that are not text" in sentences
    assert "(1): conversations in which a message has no text" in sentences
    assert "tools (in 1)" in sentences


def test_sharegpt_may_begin_with_an_answer_and_end_with_a_question(tmp_path):
    gpt, human = {"from": "gpt", "value": A}, {"from": "human", "value": Q}
    notes = Notes()
    assert read(tmp_path, {"conversations": [gpt, human, gpt, human]}, {"conversations": [human]}, notes=notes) == [TWO]
    assert len(notes.omitted) == 3


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
        (3, "not a JSON object"),
        ({"text": "x"}, "no format of conversations that is known; its fields: 'text'"),
        ({"messages": []}, "not a list of 1 to"),
        ({"messages": "x"}, "not a list of 1 to"),
        ({"messages": [ASKED]}, "ends with the user's message"),
        ({"messages": [ANSWERED]}, "take turns"),
        ({"messages": [ASKED, ASKED, ANSWERED]}, "take turns"),
        ({"messages": [ASKED, ANSWERED, ANSWERED]}, "take turns"),
        ({"messages": [ASKED, {"role": "system", "content": "x"}, ANSWERED]}, "beginning alone"),
        ({"messages": [{"role": "assistent", "content": "x"}]}, "role 'assistent' .did you mean 'assistant'"),
        ({"messages": [{"content": "x"}, ASKED]}, "has the role 'None'"),
        ({"messages": [{"role": "user"}, ASKED]}, "content is not a string"),
        ({"messages": ["x"]}, "message 1 is not an object"),
        ({"messages": [{"role": "user", "content": " \x06\n"}, ANSWERED]}, "is empty"),
        ({"messages": [ASKED, {"role": "assistant", "content": ""}]}, "is empty"),
        ({"messages": [ASKED, ANSWERED | {"weight": 0.5}]}, "its weight is '0.5'"),
        ({"messages": [ASKED, ANSWERED | {"train": "no"}]}, "its train is 'no'"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}, ANSWERED]}, "part without a type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}, ANSWERED]}, "part without text"),
        ({"messages": [{"role": "system", "content": "a"}, ASKED, ANSWERED], "system": "b"}, "which differ"),
        ({"instruction": "x"}, "no answer"),
        ({"instruction": "x", "output": 3}, "output is not a string"),
        ({"instruction": 3, "output": "x"}, "not both strings"),
        ({"instruction": "x", "output": "y", "system": 3}, "one string was expected"),
        ({"instruction": "x", "output": "y", "history": [["a"]]}, "history"),
        ({"instruction": "x", "output": "y", "history": [["a", 1]]}, "history"),
        ({"instruction": "x", "instances": ["y"]}, "instance"),
        ({"prompt": 3, "completion": "x"}, "prompt is not a string"),
        ({"prompt": "x", "completion": ""}, "completion is empty"),
    ],
    ids=str,
)
def test_mistakes_are_named_with_their_place(tmp_path, record, complaint):
    with pytest.raises(TidegateError, match=rf"d\.jsonl, line 2.*{complaint}"):
        read(tmp_path, {"messages": [ASKED, ANSWERED]}, record)


LINE = json.dumps({"messages": [ASKED, ANSWERED]}, ensure_ascii=False)


@pytest.mark.parametrize("name", ["d.json", "d.jsonl", "d.ndjson"])
@pytest.mark.parametrize(
    ("content", "count"),
    [
        (f"{LINE}\n{LINE}\n", 2),
        (f"[{LINE}, {LINE}]", 2),
        (f"[\n{LINE},\n{LINE}\n]\n", 2),
        (f"\n\n[{LINE}]\n[{LINE}]", 2),
        (LINE, 1),
        (json.dumps(json.loads(LINE), indent=1), 1),
        (json.dumps(json.loads(LINE), indent=1) * 2, 2),
        ("", 0),
    ],
)
def test_json_is_read_however_it_is_laid_out(tmp_path, name, content, count):
    assert written(tmp_path, content, name)[0] == [TWO] * count


@pytest.mark.parametrize("name", ["d.csv", "d.tsv"])
@pytest.mark.parametrize(
    ("header", "row", "wanted"),
    [
        (["问", "答"], [Q, A], TWO),
        (["id", "Question", "Answer"], ["7", Q, A], TWO),
        (["指令", "输入", "输出"], [Q, "", A], TWO),
        (["system", "prompt", "completion"], ["简短。", Q, A], (BRIEF, *TWO)),
    ],
)
def test_tables(tmp_path, name, header, row, wanted):
    between = "\t" if name.endswith("tsv") else ","
    found, notes = written(tmp_path, "\n".join(between.join(line) for line in (header, row, row)), name)
    assert found == [wanted] * 2
    assert notes.ignored == ({"id": 2} if "id" in header else {})


def test_columns_name_the_fields(tmp_path):
    record = {"frage": Q, "antwort": A, "question": "x", "answer": "y"}
    assert read(tmp_path, record, columns=("frage", "antwort")) == [TWO]
    assert read(tmp_path, {"talk": [ASKED, ANSWERED]}, columns=("talk",)) == [TWO]
    with pytest.raises(TidegateError, match=r"no field 'fragen' .did you mean 'frage'"):
        read(tmp_path, record, columns=("fragen", "antwort"))
    with pytest.raises(TidegateError, match="columns names 3"):
        read(tmp_path, record, columns=("frage", "antwort", "answer"))


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("d.jsonl", b"{", "line 1 is not JSON"),
        ("d.jsonl", f"{LINE}\n{{\n".encode(), "line 2 is not JSON"),
        ("d.json", b"[\n{}\n{}]", r"d\.json is not JSON .*line 3"),
        ("d.jsonl", b"[" * 100_000, "line 1 is not JSON"),
        ("d.json", b"{}", "no format of conversations"),
        ("d.json", b"[1]", "item 1 is not a JSON object"),
        ("d.jsonl", b"\xfd\xfc", "not utf-8"),
        ("d.jsonl.gz", b"no gzip", "could not be read"),
        ("d.csv", b"a,b\n1,2\n", r"d\.csv, line 2 has no format .*its fields: 'a', 'b'"),
        ("d.csv", b"q,q,a\n1,2,3\n", "the column 'q' several times"),
        ("d.csv", "问,答\n一,\n".encode(), "line 2, 答 is empty"),
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
    with pytest.raises(TidegateError, match=r"no \.jsonl, \.json"):
        list(read_dialogues(find_dialogues([str(tmp_path / "d.txt")])))


@pytest.mark.parametrize("name", ["d.jsonl", "d.json", "d.csv"])
def test_encodings(tmp_path, name):
    text = f"问,答\n{Q},{A}\n" if name.endswith("csv") else LINE
    (tmp_path / name).write_bytes(text.encode("gb18030"))
    for encoding in ("GBK", "auto"):
        assert list(read_dialogues([tmp_path / name], encoding)) == [TWO]
    with pytest.raises(TidegateError, match="There is no encoding 'gbx'"):
        list(read_dialogues([tmp_path / name], "gbx"))


def test_standard_input_is_kept_under_another_name(tmp_path):
    assert written(tmp_path, LINE, "input-1234.txt")[0] == [TWO]
