"""Fine-tuning by the command line, as a newcomer types it: a new text, an adapter, an old text; stopped and gone on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy

import tidegate
from tidegate.errors import TidegateError
from tidegate.folder.model_folder import ModelFolder

SMALL = ["--lanes", "4", "--window", "8", "--threads", "1"]


def command(*words, expect=0, cwd=None):
    done = subprocess.run([sys.executable, "-m", "tidegate", *map(str, words)], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == expect, done.stdout[-1500:] + done.stderr[-1500:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with an old text, a new one in other characters, and a model of the old."""
    place = tmp_path_factory.mktemp("tuning")
    os.environ["TIDEGATE_CACHE"] = str(place / "cache")
    (place / "old.txt").write_text("潮起潮落，月明江上。the tide comes in.\n" * 80, encoding="utf-8")
    (place / "new.txt").write_text("海上生明月，天涯共此时。the tide goes out.\n" * 60, encoding="utf-8")
    command("train", place / "old.txt", "--hidden-size", 16, *SMALL, "--steps", 60, "--out", place / "base")
    yield place
    del os.environ["TIDEGATE_CACHE"]


def test_a_new_text_with_new_characters(place):
    out = command(
        "finetune", place / "base", place / "new.txt", *SMALL, "--steps", 40, "--old", place / "old.txt",
        "--replay", 0.25, "--out", place / "tuned",
    )  # fmt: skip
    assert "tokens kept, matched by their text" in out
    assert "Old text after, carried_20lanes" in out
    base, tuned = ModelFolder.read(place / "base"), ModelFolder.read(place / "tuned")
    assert tuned.tokenizer.vocabulary_size > base.tokenizer.vocabulary_size
    assert not tuned.tokenizer.missing("海上生明月 潮起潮落")
    events = [json.loads(line) for line in (place / "tuned/training/log.jsonl").read_text("utf-8").splitlines()]
    before, end = next(e for e in events if e["event"] == "before"), events[-1]
    assert end["carried_20lanes/nats_a_token"] < before["carried_20lanes/nats_a_token"]
    assert {"old/carried_20lanes/nats_a_token"} <= before.keys() & end.keys()
    card = (place / "tuned/README.md").read_text("utf-8")
    assert "fine-tuned from base" in card
    assert base.metadata["weights_digest"] in card
    assert "Old text before" in card


def test_an_adapter(place):
    tune = [place / "old.txt", *SMALL, "--steps", 40, "--lora-rank", 2, "--lora-alpha", 8]
    out = command("finetune", place / "base", *tune, "--out", place / "adapter")
    assert f"generate {place / 'base'} --adapter {place / 'adapter'}" in out
    assert not (place / "adapter/model.safetensors").exists()
    assert (place / "adapter/adapter.safetensors").stat().st_size < (
        place / "base/model.safetensors"
    ).stat().st_size / 2
    plain, changed = tidegate.load(place / "base"), tidegate.load(place / "base", [place / "adapter"])
    ids = plain.tokenizer.encode("潮起")
    logits = changed.read(ids, changed.initial_state())[0]
    assert not np.allclose(logits, plain.read(ids, plain.initial_state())[0], atol=1e-3)
    again = plain.adapted([place / "adapter"])  # swapped at run time
    np.testing.assert_array_equal(again.read(ids, again.initial_state())[0], logits)
    command("generate", place / "base", "--adapter", place / "adapter", "--max-tokens", 5, "--seed", 1)
    measured = command(
        "evaluate", place / "base", "--adapter", place / "adapter", "--data", place / "old.txt", "--json"
    )
    figures = json.loads(next(line for line in measured.splitlines() if line.startswith("{")))
    assert figures["carried_20lanes/nats_a_token"] > 0
    merged = command("merge", place / "base", "--adapter", place / "adapter", "--out", place / "merged")
    assert str(place / "merged") in merged
    whole = tidegate.load(place / "merged")
    np.testing.assert_allclose(whole.read(ids, whole.initial_state())[0], logits, rtol=1e-5, atol=1e-5)
    assert "is an adapter" in command("generate", place / "adapter", expect=2)
    assert "belongs to another model" in command("generate", place / "merged", "--adapter", place / "adapter", expect=2)


@pytest.mark.parametrize("more", [[], ["--lora-rank", "2"]], ids=["weights", "adapter"])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(place, tmp_path, more):
    """Killed after some steps, and gone on with by either verb: the very same numbers as in one go."""
    tune = ["finetune", place / "base", place / "old.txt", *SMALL, "--evaluations", 4, "--save-seconds", 0, *more]
    command(*tune, "--steps", 40, "--out", tmp_path / "whole")
    killed = subprocess.Popen(
        [sys.executable, "-m", "tidegate", *map(str, [*tune, "--steps", 40, "--out", tmp_path / "killed"])],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not (tmp_path / "killed/training/checkpoint.safetensors").exists():
        assert killed.poll() is None
    killed.kill()
    killed.wait()
    verb = ["finetune"] if more else ["train"]
    command(*verb, "--resume", tmp_path / "killed")
    name = "adapter.safetensors" if more else "model.safetensors"
    one, two = (safetensors.numpy.load_file(tmp_path / run / name) for run in ("whole", "killed"))
    for tensor in one:
        np.testing.assert_array_equal(one[tensor], two[tensor])


def test_a_resumed_run_takes_a_text_that_moved(place, tmp_path):
    """With --resume the model may be left out, and a lone text is then not taken for it."""
    shutil.copy(place / "new.txt", tmp_path / "new.txt")
    tune = ["finetune", place / "base", tmp_path / "new.txt", *SMALL, "--steps", 30, "--out", tmp_path / "run"]
    command(*tune)
    shutil.move(tmp_path / "new.txt", tmp_path / "moved.txt")
    assert "is finished" in command("finetune", "--resume", tmp_path / "run", tmp_path / "moved.txt")


def test_a_resumed_adapter_wants_its_own_model(place, tmp_path):
    shutil.copytree(place / "base", tmp_path / "base")
    tune = ["finetune", tmp_path / "base", place / "old.txt", *SMALL, "--steps", 30, "--lora-rank", 2]
    command(*tune, "--out", tmp_path / "run")
    shutil.move(tmp_path / "base", tmp_path / "moved")
    assert "There is no folder" in command("finetune", "--resume", tmp_path / "run", expect=2)
    assert "is finished" in command("finetune", tmp_path / "moved", "--resume", tmp_path / "run")
    command("train", place / "old.txt", "--hidden-size", 16, *SMALL, "--steps", 5, "--out", tmp_path / "other")
    assert "started from another model" in command(
        "finetune", tmp_path / "other", "--resume", tmp_path / "run", expect=2
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no-such-model", "new.txt"], "There is no folder no-such-model"),
        (["", "new.txt"], "MODEL is empty"),
        (["base", "new.txt", "--lora-rank", "0"], "lora_rank is 0"),
        (["base", "old.txt", "--lora-rank", "999"], "rank of at most"),
        (["base", "new.txt", "--lora-rank", "2"], "unknown to the model"),
        (["base", "new.txt", "--lanes", "1", "--old", "old.txt", "--replay", "0.5"], "lanes is 1"),
        (["base", "new.txt", "--lora-rank", "2", "--new-tokens", "replace"], "omit one of them"),
        (["base", "new.txt", "--replay", "0.1"], "no old text"),
        (["base", "new.txt", "--freeze", "embeddings"], "must be one of"),
        (["base", "new.txt", "--freeze", "embedding", "--freeze", "blocks", "--freeze", "output"], "nothing would"),
        (["base", "new.txt", "--layer-rate", "2"], "layer_rate is 2"),
        (["base", "new.txt", "--tokenizer", "bpe"], "Unknown flag"),
        (["base", "new.txt", "--old", "no-such-text"], "no-such-text"),
        (["base", "empty.txt"], "empty"),
        (["base", "gb.txt"], "--encoding"),
        (["base", "new.txt", "--out", "base"], "not empty"),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, list) else "",
)
def test_bad_input(place, words, message):
    (place / "empty.txt").write_bytes(b"")
    (place / "gb.txt").write_bytes("海上生明月，天涯共此时。".encode("gb18030") * 50)
    before = sorted(place.iterdir())
    out = command("finetune", *SMALL, "--steps", 3, *words, expect=2, cwd=place)
    assert message in out
    assert "Traceback" not in out
    assert sorted(place.iterdir()) == before


def test_python_refuses_an_adapter_that_is_none(place):
    with pytest.raises(TidegateError, match="is no adapter"):
        tidegate.load(place / "base", [place])


@pytest.fixture(scope="module")
def helper(place):
    """A model fine-tuned to answer."""
    turns = [("潮是什么？", "海水涨落。"), ("what goes out?", "the tide."), ("月呢？", "在天上。")]
    lines = [
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}], "id": n}
        for n in range(20)
        for q, a in turns
    ]
    lines = [{**line, "messages": line["messages"] * (1 + n % 2)} for n, line in enumerate(lines)]
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    (place / "dialogues.jsonl").write_text(text, encoding="utf-8")
    (place / "held.jsonl").write_text(text.splitlines()[1], encoding="utf-8")
    out = command(
        "finetune", place / "base", place / "dialogues.jsonl", "--task", "chat", "--validation-data",
        place / "held.jsonl", *SMALL, "--steps", 200, "--learning-rate", 0.02, "--out", place / "helper",
    )  # fmt: skip
    assert "answers_carried_20lanes" in out
    return place / "helper"


def test_a_model_that_answers(place, helper):
    asked = subprocess.run(
        [sys.executable, "-m", "tidegate", "chat", str(helper), "--temperature", "0.1", "--session", str(place / "s")],
        input="潮是什么？\n/new\n鑫\nwhat goes out?\n/quit\nnever\n", capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.splitlines() == ["海水涨落。", "the tide."]
    assert "lacks" in asked.stderr
    assert (place / "s").stat().st_size < 4096
    again = subprocess.run(
        [sys.executable, "-m", "tidegate", "chat", str(helper), "--temperature", "0.1", "--session", str(place / "s")],
        input="月呢？\n", capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert again.stdout.strip() == "在天上。"
    assert "after 1 answers" in again.stderr
    events = [json.loads(line) for line in (helper / "training/log.jsonl").read_text("utf-8").splitlines()]
    evaluation = next(event for event in reversed(events) if event["event"] == "evaluation")
    assert evaluation["protocol"] == "answers_carried_20lanes"
    assert "→ " in evaluation["sample"]
    assert (helper / "chat_template.jinja").exists()
    assert "is finished" in command("train", "--resume", helper)


@pytest.fixture(scope="module")
def clerk(place):
    """An adapter fine-tuned on a table of single questions and answers, some of them twice; and what was printed."""
    rows = [("潮起", "潮落。"), ("the tide", "comes in."), ("月明", "江上。")] * 30
    table = "\n".join(["frage,antwort,id", *(f"{q},{a},7" for q, a in rows)])
    (place / "faq.csv").write_text(table, encoding="utf-8")
    lines = "{% for m in messages %}{{ m.content }}\n{% endfor %}"  # of what the base's vocabulary has
    (place / "lines.jinja").write_text(lines, encoding="utf-8")
    out = command(
        "finetune", place / "base", place / "faq.csv", "--task", "instruct", "--columns", "frage",
        "--columns", "antwort", "--keep-duplicates", "--template", place / "lines.jinja",
        "--lora-rank", 4, *SMALL, "--steps", 30, "--out", place / "clerk",
    )  # fmt: skip
    return out


def test_what_was_read_is_said(clerk):
    assert "Read 90 conversations, frage/antwort form." in clerk
    assert "Ignored fields, and the number of conversations that have them: id (in 90)." in clerk
    assert "Left out" not in clerk
    assert "tidegate chat" in clerk


def questions(*words):
    """Ask a model three questions, the first and the last the same."""
    done = subprocess.run(
        [sys.executable, "-m", "tidegate", "chat", *map(str, words)], input="潮起\n月明\n潮起\n", capture_output=True,
        text=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.usefixtures("clerk")
def test_single_questions_are_answered_each_by_itself(place):
    """The same answer to the same question, whatever was asked before; with an adapter and where it is merged."""
    command("merge", place / "base", "--adapter", place / "clerk", "--out", place / "clerk-merged")
    for words in ([place / "base", "--adapter", place / "clerk"], [place / "clerk-merged"]):
        asked = questions(*words, "--temperature", 0, "--max-tokens", 8)
        assert "Each question begins a new conversation" in asked.stderr
        first, _, third = asked.stdout.splitlines()
        assert first == third
    assert "Each question begins" not in questions(place / "clerk-merged", "--single-turn", "false").stderr
    for folder in ("clerk", "clerk-merged"):
        card = (place / folder / "README.md").read_text("utf-8")
        assert "tidegate chat " in card
        assert "model.chat('Hello')" in card
        assert "tidegate generate" not in card
    model = tidegate.load(place / "base", [place / "clerk"])
    cold = tidegate.Sampling(temperature=0)
    assert model.chat("潮起", sampling=cold, max_tokens=8).strip() == first
    with pytest.raises(TidegateError, match="was not trained to answer"):
        tidegate.load(place / "base").chat("潮起")


def test_a_loaded_model_chats(helper):
    model, cold = tidegate.load(helper), tidegate.Sampling(temperature=0)
    assert model.chat("潮是什么？", sampling=cold) == "海水涨落。"
    talk = model.conversation()
    assert [talk.chat(q, sampling=cold) for q in ("潮是什么？", "月呢？")] == ["海水涨落。", "在天上。"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["chat", "base"], "was not trained to answer"),
        (["chat", "base", "--template", "label"], "did you mean 'labels'"),
        (["chat", "helper", "--session", "new.txt"], "cannot be read as a session"),
        (["chat", "helper", "--max-tokens", "0"], "max_tokens is 0"),
        (["finetune", "base", "new.txt", "--task", "chat"], "no .jsonl, .json"),
        (["finetune", "base", "dialogues.jsonl", "--task", "chat", "--processes", "2"], "processes has no effect"),
        (["finetune", "base", "--task", "chat", "--corpus", "tang-poems"], "corpus has no effect"),
        (["finetune", "base", "dialogues.jsonl", "--task", "chat", "--new-tokens", "replace"], "new_tokens is replace"),
        (["finetune", "base", "dialogues.jsonl", "--task", "chat", "--columns", "text"], "has no field 'text'"),
        (["finetune", "base", "new.txt", "--assistant", "Ben"], "assistant is Ben, but the task lm"),
        (["finetune", "base", "dialogues.jsonl", "--task", "chat", "--template", "bad.jinja"], "a loop within a loop"),
        (["finetune", "base", "dialogues.jsonl", "--template", "turns"], "omit it"),
        (["finetune", "base", "--task", "chat"], "No conversations are named"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_to_conversations(place, helper, words, message):
    loop = "{% for m in messages %}{% for n in messages %}{% endfor %}{% endfor %}"
    (place / "bad.jinja").write_text(loop, encoding="utf-8")
    more = SMALL if words[0] == "finetune" else []
    done = subprocess.run(
        [sys.executable, "-m", "tidegate", *words, *more], capture_output=True, text=True, cwd=place,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
