"""Learning labels by the command line, as a newcomer types it: every recipe, stopped and gone on, and what is wrong."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import safetensors.numpy

from tests.end_to_end.test_finetune import command
from tidegate.cli import parse
from tidegate.config import DataConfig
from tidegate.folder.label_folder import read_classifier
from tidegate.labelling import LabelConfig
from tidegate.runtime.classifier import Classifier
from tidegate.training.classify_task import read_split

SMALL = ["--lanes", "8", "--threads", "1"]
GOOD, BAD = "房间很大，服务很好，下次还来。", "太吵了，又脏又旧，不会再来。"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a small model, and reviews that a child could tell apart."""
    place = tmp_path_factory.mktemp("labels")
    os.environ["TIDEGATE_CACHE"] = str(place / "cache")
    lines = [f"{'好' if i % 2 else '坏'},{'很好' * (i % 5)}{GOOD if i % 2 else BAD}{i}号房\n" for i in range(120)]
    (place / "reviews.csv").write_text("label,review\n" + "".join(lines), encoding="utf-8")
    (place / "test.csv").write_text("label,review\n好,服务很好\n坏,又脏又吵\n", encoding="utf-8")
    rows = "".join(f"前台很热情，早餐也好，{i}分。\n" for i in range(9))
    (place / "more.csv").write_text("text\n" + rows, encoding="utf-8")
    (place / "old.txt").write_text((GOOD + BAD) * 60, encoding="utf-8")
    command("train", place / "old.txt", "--hidden-size", 16, "--window", 8, "--steps", 20, "--out", place / "base")
    yield place
    del os.environ["TIDEGATE_CACHE"]


def tune(place, out, *more, expect=0, cwd=None):
    words = ("finetune", place / "base", place / "reviews.csv", "--task", "classify", "--out", place / out)
    return command(*words, *SMALL, *more, expect=expect, cwd=cwd)


def test_ngrams_are_weighed_and_kept(place, tmp_path):
    """Two words anywhere in a text that a model of no step cannot have learnt; n-grams have."""
    rng = np.random.default_rng(0)
    rows = [(i % 2, "".join(rng.permutation([*"房间早餐前台很的了", "优" if i % 2 else "差"]))) for i in range(400)]
    (tmp_path / "words.csv").write_text("label,text\n" + "".join(f"{a},{b}\n" for a, b in rows), encoding="utf-8")
    words = "finetune", place / "base", tmp_path / "words.csv", "--task", "classify", *SMALL, "--recipe", "fast"
    out = command(*words, "--steps", 1, "--out", tmp_path / "with")
    assert "without n-grams" in out
    report = json.loads((tmp_path / "with/report.json").read_text("utf-8"))
    assert report["ngram_weight"] > 0.1
    assert report["validation"]["without_ngrams"]["accuracy"] < 0.9 < report["validation"]["accuracy"] == 1
    assert "weight of n-grams" in (tmp_path / "with/README.md").read_text("utf-8")
    assert read_classifier(tmp_path / "with").ngrams == "characters"
    running = Classifier.load(tmp_path / "with")
    assert [one.labels for one in running.label(["房优间", "差早"])] == [("1",), ("0",)]
    split = read_split(DataConfig(data=(str(tmp_path / "words.csv"),)), LabelConfig(), 0).validation
    p = running.probabilities(split.texts)[np.arange(len(split)), [int(label) for (label,) in split.labels]]
    assert -np.log(p).mean() == pytest.approx(report["validation"]["nats_a_text"], rel=1e-3)  # what was told is kept
    assert "is finished" in command("finetune", "--resume", tmp_path / "with")
    out = command(*words, "--steps", 1, "--out", tmp_path / "without", "--ngrams", "false")
    assert "without n-grams" not in out
    assert read_classifier(tmp_path / "without").ngrams == "none"


@pytest.mark.parametrize("recipe", ["direct", "fast", "scratch"])
def test_a_recipe(place, recipe):
    out = tune(place, recipe, "--recipe", recipe, "--epochs", 20, "--learning-rate", 0.02)
    assert "TF-IDF, characters 1-3, logistic regression" in out
    folder = place / recipe
    report = json.loads((folder / "report.json").read_text("utf-8"))
    assert report["validation"]["accuracy"] > 0.9
    assert sum(count for _, _, count in report["validation"]["confusion"]) == report["validation"]["texts"] == 12
    assert (folder / "confusion.png").stat().st_size > 1000
    text = (folder / "report.md").read_text("utf-8")
    assert "## Classes, validation" in text
    card = (folder / "README.md").read_text("utf-8")
    assert "A classifier of texts by 2 labels (坏, 好)" in card
    assert ("fine-tuned from base" in card) == (recipe != "scratch")
    if recipe == "fast":
        base = safetensors.numpy.load_file(place / "base/model.safetensors")
        found = safetensors.numpy.load_file(folder / "classifier.safetensors")
        assert all(np.array_equal(base[n], t) for n, t in found.items() if not n.startswith(("head", "ngrams")))
    assert [one.labels for one in Classifier.load(folder).label([GOOD, BAD])] == [("好",), ("坏",)]


def test_a_classifier_goes_on_from_another(place, tmp_path):
    """With the same labels it starts from what it knows, with others from its encoder alone."""
    other = (place / "reviews.csv").read_text("utf-8").replace("好,", "甲,").replace("坏,", "乙,")
    (tmp_path / "other.csv").write_text(other, encoding="utf-8")
    nats = []
    for data in (place / "reviews.csv", tmp_path / "other.csv"):
        words = "finetune", place / "direct", data, "--task", "classify", *SMALL, "--ngrams", "false", "--steps", 1
        out = tmp_path / data.stem
        command(*words, "--recipe", "direct", "--learning-rate", 1e-6, "--out", out)
        nats.append(json.loads((out / "report.json").read_text("utf-8"))["validation"]["nats_a_text"])
    assert nats[0] < 0.3 < np.log(2) - 0.05 < nats[1]
    assert "fine-tuned from direct" in (tmp_path / "reviews/README.md").read_text("utf-8")
    assert "give --recipe direct" in command(*words, "--recipe", "ulmfit", "--out", tmp_path / "no", expect=2)
    assert not (tmp_path / "no").exists()


def test_a_second_model_that_reads_from_the_end(place):
    """ulmfit has MODEL itself learn to; a model that was trained so serves the other recipes."""
    more = ("--epochs", 15, "--learning-rate", 0.02)
    out = tune(place, "both", "--backward", place / "base", "--language-epochs", 3, *more)
    assert "read from its end" in out
    for end, direction in (("", "forward"), ("-backward", "backward")):
        config = json.loads((place / f"both-language-model{end}/config.json").read_text("utf-8"))
        assert config["model"]["direction"] == direction
    assert json.loads((place / "both/labels.json").read_text("utf-8"))["both"] is True
    assert [one.labels for one in Classifier.load(place / "both").label([GOOD, BAD])] == [("好",), ("坏",)]
    assert "is finished" in command("finetune", "--resume", place / "both", "--backward", place / "base")

    turned = place / "both-language-model-backward"
    direct = ("--recipe", "direct", *more)
    tune(place, "direct-both", *direct, "--backward", turned, expect=2)  # of another vocabulary than base: it grew
    words = ("finetune", place / "both-language-model", place / "reviews.csv", "--task", "classify", *SMALL, *direct)
    command(*words, "--backward", turned, "--out", place / "direct-both")
    command(*words, "--out", place / "x", "--backward", place / "both-language-model", expect=2)  # reads forward, too
    assert "cannot write" in command("generate", turned, expect=2)
    card = (turned / "README.md").read_text("utf-8")
    (made,) = [line for line in card.splitlines() if line.startswith("tidegate finetune")]
    assert "--direction backward" in made
    words = ("finetune", place / "base", place / "old.txt", "--direction", "backward", "--steps", 2)
    command(*words, "--out", place / "by-hand")
    assert "each document from its end" in (place / "by-hand/README.md").read_text("utf-8")
    before = set(place.iterdir())  # what does not fit is said before anything is learnt
    words = ("finetune", turned, place / "reviews.csv", "--task", "classify", "--out", place / "y", *SMALL)
    assert "reads from the end" in command(*words, "--backward", turned, expect=2)
    assert "another vocabulary" in tune(place, "y", "--backward", turned, expect=2)
    assert set(place.iterdir()) == before
    assert "Validation text" in command("evaluate", turned) or "validation text" in command("evaluate", turned)
    tagged = place / "tagged.txt"
    tagged.write_text("".join(f"a X\n{n} Y\n\n" for n in range(12)), encoding="utf-8")
    assert "reads from the end" in command("finetune", turned, tagged, "--task", "tag", "--recipe", "fast", expect=2)


def test_ulmfit_and_the_command_that_labels(place):
    out = tune(
        place, "ulmfit", "--test-data", place / "test.csv", "--unlabelled", place / "more.csv",
        "--language-epochs", 3, "--epochs", 15, "--learning-rate", 0.02,
    )  # fmt: skip
    assert "First a language model of the task's text" in out
    assert (place / "ulmfit-language-model/model.safetensors").is_file()
    learnt = json.loads((place / "ulmfit-language-model/tokenizer.json").read_text("utf-8"))
    assert "早" in json.dumps(learnt, ensure_ascii=False)  # of the text without labels alone
    report = json.loads((place / "ulmfit/report.json").read_text("utf-8"))
    assert report["test"]["texts"] == 2
    done = subprocess.run(
        [sys.executable, "-m", "tidegate", "classify", place / "ulmfit"],
        input=f"{GOOD}\n\n{BAD}\n", capture_output=True, text=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert [line.split("\t")[0] for line in lines[::2]] == ["好", "坏"]
    assert len(lines) == 3
    assert all(0 <= float(line.split("\t")[1]) <= 1 for line in lines)
    out = command("classify", place / "ulmfit", "--data", place / "test.csv", "--columns", "review", "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert all(sum(one["probabilities"].values()) == pytest.approx(1, abs=1e-4) for one in found)
    card = (place / "ulmfit/README.md").read_text("utf-8")
    assert "fine-tuned from base" in card
    (made,) = [line for line in card.splitlines() if line.startswith("tidegate finetune")]
    settings = parse("finetune", shlex.split(made)[2:])
    assert settings[0].model.endswith("base")
    assert settings[1].language_epochs == 3
    rows = [json.loads(line) for line in out.splitlines()]
    assert len(rows) == 2


def test_a_language_model_that_is_there_is_gone_on_with_or_refused(place):
    flags = ["--language-epochs", 1, "--steps", 2, "--cache", "cache"]
    out = tune(place, "twice", *flags, cwd=place)
    assert "First a language model" in out
    shutil.rmtree(place / "twice")
    assert "It is there already, and finished." in tune(place, "twice", *flags, cwd=place)
    shutil.rmtree(place / "twice")
    out = tune(place, "twice", *flags, "--unlabelled", place / "more.csv", cwd=place, expect=2)
    assert "a language model of another run" in out
    (made,) = [
        line
        for line in (place / "twice-language-model/README.md").read_text("utf-8").splitlines()
        if line.startswith("tidegate finetune")
    ]
    assert "None" not in made


def test_each_row_of_a_table_has_its_label(place):
    (place / "gaps.csv").write_text(f'label,review\n好,{GOOD}\n,""\n坏,{BAD}\n', encoding="utf-8")
    out = command("classify", place / "direct", "--data", place / "gaps.csv", "--columns", "review")
    assert [line.split("\t")[0] for line in out.splitlines()[:3:2]] == ["好", "坏"]
    assert out.splitlines()[3:] == ["1 of the texts are empty: their labels mean nothing."]


def test_lines_before_one_that_is_not_text_are_labelled(place):
    words = [sys.executable, "-m", "tidegate", "classify", place / "direct"]
    done = subprocess.run(words, input=f"\ufeff{GOOD}\n".encode() + b"\xff\xfe\n", capture_output=True)
    assert done.returncode == 2
    assert "Line 2 of standard input is not UTF-8" in " ".join(done.stderr.decode().split())


def test_what_slipped_into_the_texts_is_told(place):
    rows = "".join(f"{'好' if i % 2 else '坏'},{i}号房。评价：{'好' if i % 2 else '坏'}\n" for i in range(40))
    (place / "told.csv").write_text("label,review\n" + rows, encoding="utf-8")
    words = "finetune", place / "base", place / "told.csv", "--task", "classify", *SMALL, "--recipe", "direct"
    out = command(*words, "--steps", 2, "--out", place / "told")
    assert "Caution: 36 of the training texts hold the name of their own label" in out
    assert "too few to choose a step by" in out
    log = [json.loads(line) for line in (place / "told/training/log.jsonl").read_text("utf-8").splitlines()]
    assert {event["best"] for event in log if event["event"] == "evaluation"} == {None}
    assert "those kept after 2" in (place / "told/README.md").read_text("utf-8")


def test_several_labels(place):
    rows = []
    for i in range(80):
        some = [name for bit, name in enumerate(["大", "吵"]) if i >> bit & 1]
        rows.append({"text": f"{'房间大 ' * ('大' in some)}{'街上吵 ' * ('吵' in some)}{i}", "label": some})
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (place / "several.jsonl").write_text(lines, encoding="utf-8")
    command(
        "finetune", place / "base", place / "several.jsonl", "--task", "classify", "--multi-label", "--recipe",
        "direct", "--epochs", 20, "--learning-rate", 0.02, "--out", place / "several", *SMALL,
        "--class-weights", "balanced",
    )  # fmt: skip
    found = Classifier.load(place / "several").label(["房间大 街上吵 1", "2", "街上吵 3"])
    assert [one.labels for one in found] == [("吵", "大"), (), ("吵",)]


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(place):
    flags = ["--recipe", "direct", "--epochs", 25, "--save-seconds", 0, "--evaluations", 5]
    tune(place, "whole", *flags)
    words = [sys.executable, "-m", "tidegate", "finetune", place / "base", place / "reviews.csv", "--task", "classify"]
    run = subprocess.Popen([*words, *map(str, flags), *SMALL, "--out", place / "stopped"], stdout=subprocess.DEVNULL)
    while not (place / "stopped/training/checkpoint.safetensors").exists():
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait()
    out = command("train", "--resume", place / "stopped")
    assert "Resuming" in out
    whole, stopped = (
        safetensors.numpy.load_file(place / name / "classifier.safetensors") for name in ("whole", "stopped")
    )
    assert all(np.array_equal(whole[name], stopped[name]) for name in whole)
    assert "nothing is left to do" in command("finetune", "--resume", place / "stopped")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--label-column", "stars"], "no column 'stars'"),
        (["--unlabelled", "x.txt", "--recipe", "fast"], "unlabelled text is used by the recipe ulmfit only"),
        (["--tag-units", 4], "tag_units is nothing that the task classify knows"),
        (["--freeze", "output"], "freeze names output"),
        (["--lora-rank", 4], "lora_rank is of a language model"),
        (["--template", "turns"], "the task classify has no conversations"),
        (["--test-data", "nowhere.csv"], "nowhere.csv"),
        (["--find-lr"], "--find-lr tries learning rates on a language model"),
        (["--recipe", "slow"], "expected one of"),
        (["--longest", 1], "longest is 1"),
        (["--longest", 99, "--recipe", "fast"], "longest has no effect on the recipe fast"),
        (["--freeze", "embedding", "--recipe", "fast"], "freeze has no effect on the recipe fast"),
        (["--new-tokens", "replace", "--recipe", "direct"], "new_tokens is of the recipe ulmfit"),
        (
            ["--validation", 0.2, "--validation-data", "more.csv"],
            "validation is 0.2, but validation_data is more.csv",
        ),
    ],
)
def test_what_makes_no_sense_is_told(place, flags, message):
    assert message in " ".join(tune(place, "wrong", *flags, expect=2).split())
    assert not (place / "wrong").exists()


def test_a_label_that_was_not_learnt(place):
    (place / "other.csv").write_text("label,review\n中,还可以\n", encoding="utf-8")
    out = tune(place, "wrong", "--recipe", "direct", "--test-data", place / "other.csv", expect=2)
    assert "labels that none of the training texts has, 1 in all: '中' (1)" in " ".join(out.split())


def test_labelled_texts_are_named(place):
    words = "finetune", place / "reviews.csv", "--task", "classify", "--out", place / "x"
    assert "reviews.csv was taken for the model" in " ".join(command(*words, expect=2).split())
    words = "finetune", place / "base", "-", "--task", "classify", "--out", place / "x"
    assert "give a file" in command(*words, expect=2)


def test_a_label_flag_without_the_task(place):
    out = command("finetune", place / "base", place / "old.txt", "--recipe", "fast", "--out", place / "x", expect=2)
    assert "recipe is of the tasks classify and tag, but the task is lm" in out


def test_each_verb_tells_what_folder_it_wants(place):
    assert "a language model, which has no labels" in command("classify", place / "base", expect=2)
    assert "tidegate classify" in command("generate", place / "direct", expect=2)
    assert "a language model, which has no labels" in command("classify", "base-zh", expect=2)  # by its name
    assert "nowhere is not there" in command("classify", "nowhere", expect=2)


def test_runs_show_what_a_classifier_is_worth(place):
    out = command("runs", place / "direct", place / "base")
    head, first = out.splitlines()[0].split(), out.splitlines()[1]
    assert {"accuracy", "F1"} <= set(head)
    assert first.count("%") == 2
    assert "F1 is that of entities, or the macro-average of the classes" in " ".join(out.split())
    assert "accuracy" not in command("runs", place / "base")
