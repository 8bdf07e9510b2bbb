"""Learning tags by the command line, as a newcomer types it; and texts as vectors."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy

from tests.end_to_end.test_finetune import command
from tidegate.runtime.tagger import Tagger
from tidegate.tag import INVISIBLE, Cut, token_pattern
from tidegate.text.normalize import normalize

SMALL = ["--lanes", "8", "--threads", "1", "--tag-units", "16"]
NAMES = ["Anna", "Bao Li", "Carl", "Dou Wen Hai"]


def sentence(i):
    """Somebody goes to a place; who has a name of one word to three."""
    name = NAMES[i % 4].split()
    rows = [("Then" if i % 3 else "Now", "O"), *zip(name, ["B-PER", "I-PER", "I-PER"], strict=False)]
    return [*rows, ("sees", "O"), ("Rome" if i % 2 else "Bern", "B-LOC"), (str(i), "O"), (".", "O")]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("tags")
    os.environ["TIDEGATE_CACHE"] = str(place / "cache")
    rows = ["\n".join(" ".join(row) for row in sentence(i)) for i in range(80)]
    (place / "train.conll").write_text("\n\n".join(rows) + "\n", encoding="utf-8")
    (place / "test.conll").write_text("\n\n".join(rows[:6]).replace("B-LOC", "I-LOC") + "\n", encoding="utf-8")
    (place / "old.txt").write_text(" ".join(word for i in range(80) for word, _ in sentence(i)), encoding="utf-8")
    command("train", place / "old.txt", "--hidden-size", 16, "--window", 8, "--steps", 20, "--out", place / "base")
    command(
        "finetune", place / "base", place / "train.conll", "--task", "tag", "--recipe", "direct", "--epochs", 12,
        "--learning-rate", 0.02, "--test-data", place / "test.conll", "--out", place / "tagger", *SMALL,
    )  # fmt: skip
    yield place
    del os.environ["TIDEGATE_CACHE"]


def test_it_learns_and_reports(place):
    report = json.loads((place / "tagger/report.json").read_text("utf-8"))
    assert report["validation"]["f1"] > 0.9
    assert report["test"]["f1"] > 0.9
    text = (place / "tagger/report.md").read_text("utf-8")
    assert "## Kinds of entities, test" in text
    card = (place / "tagger/README.md").read_text("utf-8")
    assert "A tagger of sentences" in card
    assert "| tags repaired | 6 |" in card
    assert "tidegate tag tagger" in card
    assert Tagger.load(place / "tagger").tag([["Then", "Bao", "Li", "sees", "Rome", "."]]) == [
        ("O", "B-PER", "I-PER", "O", "B-LOC", "O")
    ]


def tag(place, text, *flags):
    words = [sys.executable, "-m", "tidegate", "tag", str(place / "tagger"), *flags]
    done = subprocess.run(words, input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_that_tags(place):
    assert tag(place, "Now Anna sees Bern.\n") == "Now\tO\nAnna\tB-PER\nsees\tO\nBern\tB-LOC\n.\tO\n\n"
    assert tag(place, "Now Anna sees Bern .\n\n", "--split", "false").count("\n") == 7
    shown = tag(place, "Now Bao Li sees  Bern,  .\n", "--form", "colour")
    assert "\x1b[" in shown  # asked for, also where no terminal is
    assert re.sub(r"\x1b\[[\d;]*m", "", shown) == "Now Bao Li PER sees  Bern LOC,  .\n"
    found = json.loads(tag(place, "Now Bao Li sees Bern.\n", "--form", "json"))
    assert found["entities"][0] == {"kind": "PER", "first": 1, "last": 2, "text": "Bao Li"}
    out = command("tag", place / "base", expect=2)
    assert "a language model, which has no tags" in out


def test_sentences_that_stand_in_two_parts_are_counted(place):
    (place / "again.conll").write_bytes((place / "train.conll").read_bytes())
    out = command(
        "finetune", place / "base", place / "train.conll", place / "again.conll", "--task", "tag", "--recipe", "fast",
        "--epochs", 1, "--test-data", place / "train.conll", "--out", place / "twice", *SMALL,
    )  # fmt: skip
    assert "sentences are also in the validation set, and are omitted" in out
    assert "of the test sentences are also in the training set" in out


@pytest.mark.parametrize(
    ("line", "tokens"),
    [
        ("Ame\u0301lie s'est 3,5 m.", ["Amélie", "s'est", "3,5", "m", "."]),
        ("\ufeff房间200b\u200b大。", ["房", "间", "200b", "大", "。"]),
        ("हिन्दी में, नहीं", ["हिन्दी", "में", ",", "नहीं"]),
        ("", []),
    ],
)
def test_what_a_text_is_cut_into(line, tokens):
    cut = Cut.of(line, token_pattern())
    assert cut.tokens == tokens
    assert "".join(cut.pieces) + cut.rest == normalize(line).translate(INVISIBLE)


def test_every_recipe_and_a_resumed_run(place):
    words = ("finetune", place / "base", place / "train.conll", "--task", "tag", *SMALL, "--epochs", 2)
    out = command(*words, "--recipe", "ulmfit", "--language-epochs", 1, "--out", place / "ulmfit")
    assert "First a language model of the task's text" in out
    command(*words, "--recipe", "fast", "--out", place / "fast")
    base = safetensors.numpy.load_file(place / "base/model.safetensors")
    fast = safetensors.numpy.load_file(place / "fast/tagger.safetensors")
    assert all(np.array_equal(fast[name], base[name]) for name in base if not name.startswith("output"))
    command(*words, "--recipe", "scratch", "--tag-cell", "gru", "--out", place / "scratch")
    assert "nothing is left to do" in command("train", "--resume", place / "scratch")
    (place / "scratch/training/checkpoint.safetensors").unlink()  # begins again, the same
    before = safetensors.numpy.load_file(place / "scratch/tagger.safetensors")
    command("train", "--resume", place / "scratch")
    after = safetensors.numpy.load_file(place / "scratch/tagger.safetensors")
    assert all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tag-column", 9], "2 column(s)"),
        (["--tag-column", 0], "tag_column is 0"),
        (["--token-column", 2, "--tag-column", 3], "2 column(s)"),
        (["--multi-label"], "multi_label is nothing that the task tag knows"),
        (["--window", 32], "window is nothing that the task tag knows"),
        (["--freeze", "output"], "freeze names output"),
        (["--validation-data", "stray.conll"], "also the tag 'NN'"),
    ],
)
def test_what_makes_no_sense_is_told(place, flags, message):
    (place / "stray.conll").write_text("Rome NN\n", encoding="utf-8")
    words = ["finetune", place / "base", place / "train.conll", "--task", "tag", "--out", place / "wrong", *flags]
    out = command(*words, expect=2, cwd=place)
    assert message in " ".join(out.split())
    assert not (place / "wrong").exists()


def test_a_tag_that_was_not_learnt_counts_as_wrong_and_has_no_loss(place):
    (place / "other.conll").write_text("Then O\nAnna B-PER\n. O\n\nOslo B-GPE\n. O\n", encoding="utf-8")
    out = command(
        "finetune", place / "base", place / "train.conll", "--task", "tag", "--recipe", "direct", "--epochs", 1,
        "--validation-data", place / "other.conll", "--out", place / "unlearnt", *SMALL,
    )  # fmt: skip
    assert "1 of the others have tags that no training sentence has" in out
    events = [json.loads(line) for line in (place / "unlearnt/training/log.jsonl").read_text("utf-8").splitlines()]
    losses = [event["validation"] for event in events if event["event"] == "evaluation"]
    assert all(loss < 10 for loss in losses)
    assert 0 < json.loads((place / "unlearnt/report.json").read_text("utf-8"))["validation"]["accuracy"] <= 0.8
    assert "is a tagger" in command("generate", place / "unlearnt", expect=2)


def test_texts_as_vectors(place):
    words = [sys.executable, "-m", "tidegate", "embed", str(place / "base")]
    done = subprocess.run(words, input="Anna sees Rome.\n\nAnna sees Rome.\n", capture_output=True, text=True)
    one, empty, two = (np.array(json.loads(line)) for line in done.stdout.splitlines())
    assert one.shape == (16,)
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-4)
    assert np.allclose(one, two, atol=1e-5)
    assert not np.allclose(one, empty, atol=1e-2)
    command("embed", place / "base", "--data", place / "old.txt", "--pooling", "all", "--out", place / "x.npy")
    assert np.load(place / "x.npy", allow_pickle=False).shape == (1, 48)
    assert "ends so" in command("embed", place / "base", "--out", "x.txt", expect=2)
    command("embed", place / "base", "--data", place / "old.txt", "--out", place / "x.jsonl")
    assert len(json.loads((place / "x.jsonl").read_text("utf-8"))) == 16
    done = subprocess.run([*words, "--out", str(place / "y.npy")], input="", capture_output=True, text=True)
    assert done.returncode == 2
    assert "no text to embed" in done.stderr


def test_schemes_that_differ_between_training_and_test_agree(place):
    """BMES with underscores to learn from, BIO to test by: the same entities, so the same figures."""
    rows = "\n\n".join("\n".join(" ".join(row) for row in sentence(i)) for i in range(80)).split("\n")
    for i, (row, following) in enumerate(itertools.pairwise([*rows, ""])):
        goes_on = " I-" in following
        if " B-" in row and not goes_on:
            rows[i] = row.replace(" B-", " S-")
        elif " I-" in row:
            rows[i] = row.replace(" I-", " M-" if goes_on else " E-")
    (place / "bmes.conll").write_text("\n".join(rows).replace("-", "_"), encoding="utf-8")
    out = command(
        "finetune", place / "base", place / "bmes.conll", "--task", "tag", "--recipe", "direct", "--epochs", 12,
        "--learning-rate", 0.02, "--test-data", place / "train.conll", "--out", place / "bmes", *SMALL,
    )  # fmt: skip
    out = " ".join(out.split())
    assert "BMES, read as BIOES: M is I, tags are spelled as B_kind." in out
    assert "the tagger gives BIO" in out
    first, second = (json.loads((place / name / "report.json").read_text("utf-8")) for name in ("tagger", "bmes"))
    assert first["validation"] == second["validation"]
    assert second["test"]["f1"] > 0.9
    assert Tagger.load(place / "bmes").tag([["Then", "Bao", "Li", "sees", "Rome", "."]]) == [
        ("O", "B-PER", "I-PER", "O", "B-LOC", "O")
    ]


def test_a_file_without_empty_lines_is_warned_of_and_cut(place):
    (place / "joined.conll").write_text((place / "train.conll").read_text("utf-8").replace("\n\n", "\n"), "utf-8")
    words = (
        "finetune", place / "base", place / "joined.conll", "--task", "tag", "--recipe", "fast", "--epochs", 1,
        "--validation-data", place / "test.conll", *SMALL,
    )  # fmt: skip
    out = " ".join(command(*words, "--out", place / "joined").split())
    assert "its only sentence has" in out
    assert "cut at these ends by --cut-sentences" in out
    out = " ".join(command(*words, "--cut-sentences", "--out", place / "cut").split())
    assert "1 sentences cut into 80 at their ends" in out
    assert "Sentences: 80 to learn" in out


def test_a_table_by_the_names_of_its_columns(place):
    rows = ["id,word,pos,ner"]
    rows += [f"{i},{word},X,{tag}" for i in range(80) for word, tag in sentence(i)]
    (place / "table.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    words = (
        "finetune",
        place / "base",
        place / "table.csv",
        "--task",
        "tag",
        "--recipe",
        "fast",
        "--epochs",
        1,
        *SMALL,
    )
    out = " ".join(command(*words, "--sentence-column", "id", "--out", place / "table").split())
    assert "72 to learn" in out
    out = command(*words, "--tag-column", "Ner", "--out", place / "wrong", expect=2)
    assert "(did you mean 'ner'?)" in " ".join(out.split())
