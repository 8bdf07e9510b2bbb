"""The command line: every mistake gets one sentence, exit code 2, no traceback, and leaves nothing half-written."""

from __future__ import annotations

import json
import re
import shlex
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
import yaml

from tests.edited_json import edit_json
from tidegate.cli import VERBS, _resolve, main, parse
from tidegate.config import DataConfig, ModelConfig, TrainingConfig
from tidegate.nn.sequence import kernels, kernels_line

SMALL = [
    "--hidden-size",
    "8",
    "--lanes",
    "4",
    "--window",
    "8",
    "--steps",
    "20",
    "--evaluations",
    "2",
    "--log-every",
    "1",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "text.txt").write_text("潮起潮落 the tide comes in, the tide goes out.\n" * 40, encoding="utf-8")
    return folder


@pytest.fixture
def run(here: Path) -> Path:
    assert main(["train", "text.txt", "--out", "run", *SMALL]) == 0
    return here / "run"


def mistake(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that must fail; return what it said."""
    capsys.readouterr()
    assert main(list(words)) == 2
    said = re.sub(r"^Kernels: .*\n", "", capsys.readouterr().err)
    assert said.startswith("tidegate: ")
    assert "Traceback" not in said
    return said


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


BAD_TEXTS = [
    ("empty.txt", b"", r"empty"),
    ("short.txt", "潮起潮落".encode(), r"too short|window"),
    ("binary.txt", b"\x7fELF\x00\x00\x01\x02" * 100, r"binary|NUL"),
    ("gb.txt", "床前明月光，疑是地上霜。\n".encode("gb18030") * 50, r"byte"),
]


@pytest.mark.parametrize(("name", "content", "wanted"), BAD_TEXTS, ids=[b[0] for b in BAD_TEXTS])
def test_bad_texts(here, capsys, name, content, wanted):
    (here / name).write_bytes(content)
    before = tree(here)
    said = mistake(capsys, "train", name, "--out", "new", *SMALL)
    import re

    assert re.search(wanted, said), said
    assert tree(here) == before


BAD_WORDS = [
    (["trian"], "did you mean 'train'"),
    (["train", "nowhere.txt"], "nowhere.txt"),
    (["train", "texx.txt"], "text.txt"),
    (["train", "folder"], ".txt"),
    (["train", "text.txt", "--hiden-size", "3"], "did you mean '--hidden-size'"),
    (["train", "text.txt", "--layers", "0"], "layers is 0, but it must be from 1 to 64"),
    (["train", "text.txt", "--layers", "two"], "--layers: expected a whole number, but found 'two'"),
    (["train", "text.txt", "--cell", "lsmt"], "expected one of rnn, lstm, gru, gru_reset_before, but found 'lsmt'"),
    (["train", "text.txt", "--config", "typo.yaml"], "did you mean 'hidden_size'"),
    (["train", "text.txt", "--config", "recipe.yml"], "did you mean 'recipe.yaml'"),
    (["train", "text.txt", "--config", "broken.yaml"], "broken.yaml"),
    (["train", "text.txt", "--steps", "3", "--minutes", "1"], "2 horizons"),
    (["train", "text.txt", "--out", "text.txt"], "is a file"),
    (["train", "text.txt", "--out", "folder"], "not empty"),
    (["train", "--resume", "folder"], "is no run"),
    (["train", "--resume", "nowhere"], "is no run"),
    (["generate", "folder"], "folder"),
    (["generate", "nowhere"], "nowhere"),
    (["generate"], "model"),
    (["evaluate", "folder"], "folder"),
    (["train", "text.txt", "--corpus", "tang"], "tang-poems"),
    (["train", "text.txt", "--minutes", "soon"], "--minutes: expected a number, but found 'soon'"),
    (["train", "text.txt", "--minutes", "nan"], "--minutes: expected a number, but found 'nan'"),
    (["train", "text.txt", "--config", "lone.yaml"], "--data: expected a list, but found 'text.txt'"),
    (["train", "--resume", "folder", "--out", "other"], "omit --out other"),
]


@pytest.mark.parametrize(("words", "wanted"), BAD_WORDS, ids=[" ".join(w[0]) for w in BAD_WORDS])
def test_bad_words(here, capsys, words, wanted):
    (here / "folder").mkdir()
    (here / "folder" / "picture.png").write_bytes(b"\x89PNG")
    (here / "lone.yaml").write_text("data: text.txt\n")
    (here / "typo.yaml").write_text("hiden_size: 3\n")
    (here / "recipe.yaml").write_text("hidden_size: 3\n")
    (here / "broken.yaml").write_text("hidden_size: [3\n")
    before = tree(here)
    assert wanted in mistake(capsys, *words)
    assert tree(here) == before


def test_resume_refuses_another_text(run, here, capsys):
    (here / "text.txt").write_text("another text altogether, 别的文字。\n" * 60, encoding="utf-8")
    assert "another text" in mistake(capsys, "train", "--resume", "run")


def test_resume_finds_the_text_wherever_it_lies(run, here, capsys):
    (here / "text.txt").rename(here / "moved.txt")
    assert main(["train", "moved.txt", "--resume", "run"]) == 0
    assert "nothing is left to do" in capsys.readouterr().out
    assert main(["evaluate", "run"]) == 0  # the run remembers where its text lies now


def test_resume_refuses_other_settings(run, capsys):
    assert "hidden_size is 9, but the run was started with 8" in mistake(
        capsys, "train", "--resume", "run", "--hidden-size", "9"
    )
    assert "hidden_size is 256, but" in mistake(capsys, "train", "--resume", "run", "--hidden-size", "256")  # a default
    assert main(["train", "text.txt", "--resume", "run", "--hidden-size", "8"]) == 0


def test_a_damaged_checkpoint_is_refused(run, capsys):
    path = run / "training/checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "checkpoint" in mistake(capsys, "train", "--resume", "run")


def test_a_second_process_is_refused(run, here, capsys):
    from tidegate.training.run_folder import RunFolder

    with RunFolder(run).locked():
        assert "Another process is training into run" in mistake(capsys, "train", "--resume", "run")


@pytest.mark.parametrize("damage", ["truncated", "tampered", "version", "shape"])
def test_a_damaged_model_is_refused(run, capsys, damage):
    weights, config = run / "model.safetensors", run / "config.json"
    content = weights.read_bytes()
    if damage == "truncated":
        weights.write_bytes(content[:-40])
    elif damage == "tampered":
        weights.write_bytes(content[:-40] + bytes([content[-40] ^ 1]) + content[-39:])
    else:
        record = json.loads(config.read_text())
        if damage == "version":
            record["format_version"] = 99
        else:
            record["model"]["hidden_size"] = 16
        edit_json(config, **record)
    wanted = {
        "truncated": "model.safetensors",
        "tampered": "digest",
        "version": "version 99",
        "shape": "(21, 16) was wanted",
    }
    for verb in ("generate", "evaluate"):
        assert wanted[damage] in mistake(capsys, verb, "run")


def test_a_prompt_that_the_vocabulary_lacks_is_named(run, capsys):
    said = mistake(capsys, "generate", "run", "--prompt", "the 鹤 tide Ω")
    assert "鹤" in said
    assert "Ω" in said


def test_the_whole_way(run, here, capsys):
    """Train, resume, evaluate, generate, on a text in two scripts."""
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "curves.png"} <= tree(run)
    assert main(["train", "--resume", "run"]) == 0
    assert kernels_line() in capsys.readouterr().out
    assert json.loads((run / "training/run.json").read_text())["surroundings"]["kernels"] == kernels()
    assert main(["evaluate", "run", "--json"]) == 0
    said = capsys.readouterr()
    assert kernels_line() in said.err
    found = json.loads(said.out)
    assert 0 < found["carried_20lanes/bits_a_byte"] < 8
    assert found["unknown"] == 0
    assert main(["evaluate", "run", "--data", "text.txt"]) == 0
    assert kernels_line() in capsys.readouterr().out
    assert main(["generate", "run", "--prompt", "潮", "--max-tokens", "30", "--seed", "1"]) == 0
    first = capsys.readouterr().out
    assert first.startswith("潮")
    assert main(["generate", "run", "--prompt", "潮", "--max-tokens", "30", "--seed", "1"]) == 0
    assert capsys.readouterr().out == first


def test_new_runs_get_new_folders(here):
    for expected in ("runs/text", "runs/text-2"):
        assert main(["train", "text.txt", *SMALL]) == 0
        assert (here / expected / "model.safetensors").exists()


def test_threads_are_set(here):
    assert main(["train", "text.txt", "--out", "run", *SMALL, "--threads", "2"]) == 0
    assert torch.get_num_threads() == 2


def test_config_and_flags(here):
    (here / "c.yaml").write_text("data: [text.txt]\ncell: gru\nepochs: 3\nlearning_rate: 1e-3\n")
    data, model, training, _ = parse("train", ["--config", "c.yaml", "--epochs", "4", "--hidden-size=32"])
    assert data == DataConfig(data=("text.txt",))
    assert model == ModelConfig(cell="gru", hidden_size=32)
    assert training == TrainingConfig(epochs=4.0, learning_rate=1e-3)
    assert parse("train", ["a.txt", "b.txt", "--config", "c.yaml"])[0].data == ("a.txt", "b.txt")


def test_a_horizon_flag_overrides_that_of_a_file(here):
    (here / "c.yaml").write_text("minutes: 3\n")
    assert parse("train", ["--config", "c.yaml", "--steps", "10"])[2] == TrainingConfig(steps=10)


@pytest.mark.parametrize("prompt", ["--- chapter one", "-abc", "--hidden-size", "=", ""])
def test_a_prompt_is_taken_as_it_is(prompt):
    assert parse("generate", ["run", "--prompt", prompt])[0].prompt == prompt


def test_a_log_torn_within_a_character_is_read_to_there(run):
    with open(run / "training/log.jsonl", "ab") as log:
        log.write('{"event": "evaluation", "sample": "潮'.encode()[:-1])
    assert main(["train", "--resume", "run"]) == 0


def test_the_log_is_never_behind_the_checkpoint(here, monkeypatch):
    """Killed right after a checkpoint, a run must find every step up to it in its log."""
    from tidegate.training import run as run_room

    seen = []

    def save(path, captured):
        lines = (here / "run/training/log.jsonl").read_text(encoding="utf-8").splitlines()
        seen.append((captured.numbers["step"], max(json.loads(line)["step"] for line in lines)))

    monkeypatch.setattr(run_room.checkpoint, "save", save)
    assert main(["train", "text.txt", "--out", "run", *SMALL, "--save-seconds", "0"]) == 0
    assert len(seen) == 20
    assert all(saved == logged for saved, logged in seen)


def test_a_validation_text_may_be_given_again(here):
    (here / "valid.txt").write_text("潮起潮落 again and again\n" * 20, encoding="utf-8")
    words = ["text.txt", "--validation-data", "valid.txt"]
    assert main(["train", *words, "--out", "run", *SMALL]) == 0
    assert main(["train", "--validation-data", "valid.txt", "--resume", "run"]) == 0


@pytest.mark.parametrize(("text", "folder"), [("*.txt", "text"), (".", "here"), ("我的 小说.md", "我的-小说")])
def test_folders_are_named_after_the_text(here, text, folder):
    (here / "我的 小说.md").write_text("潮起潮落，春去秋来。\n" * 60, encoding="utf-8")
    assert main(["train", text, *SMALL]) == 0
    assert (here / "runs" / folder / "model.safetensors").exists()


def test_what_dies_before_its_first_file_leaves_the_folder_free(here):
    (here / "run/training").mkdir(parents=True)
    (here / "run/training/lock").touch()
    assert main(["train", "text.txt", "--out", "run", *SMALL]) == 0


def test_print_config_shows_every_field_with_its_help(here, capsys):
    with pytest.raises(SystemExit) as end:
        main(["train", "--print_config"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "cell: lstm" in shown
    assert "# The recurrent cell" in shown


@pytest.mark.parametrize("verb", VERBS)
def test_help_and_its_examples(verb, capsys):
    with pytest.raises(SystemExit) as end:
        main([verb, "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    for example, _ in VERBS[verb].examples:
        assert example in shown
        words = shlex.split(example.split("|")[-1])
        assert words[:2] == ["tidegate", verb]
        if "--config" not in words:
            parse(verb, words[2:])


def test_the_card_gives_the_command_that_makes_the_run_again(here):
    assert main(["train", "text.txt", "--out", "run", *SMALL, "--cell", "gru", "--tied"]) == 0
    card = (here / "run/README.md").read_text(encoding="utf-8")
    command = next(line for line in card.splitlines() if line.startswith("tidegate train"))
    data, model, training, _ = parse("train", shlex.split(command)[2:])
    assert data.data == ("text.txt",)
    assert model == ModelConfig(cell="gru", hidden_size=8, tied=True)
    assert (training.steps, training.lanes, training.log_every) == (20, 4, 1)
    assert str(here) not in card  # a card is for others to read


def test_the_record_keeps_when_it_began_and_on_which_text(run, here):
    before = json.loads((run / "training/run.json").read_text(encoding="utf-8"))
    assert abs((datetime.now(UTC) - datetime.fromisoformat(before["started"])).total_seconds()) < 300
    edit_json(run / "training/run.json", started="2020-01-01", text_digest="")
    assert main(["train", "--resume", "run"]) == 0
    after = json.loads((run / "training/run.json").read_text(encoding="utf-8"))
    assert (after["started"], after["text_digest"]) == ("2020-01-01", before["text_digest"])
    assert main(["train", "text.txt", "--out", "bytes", "--tokenizer", "bytes", *SMALL]) == 0
    other = json.loads((here / "bytes/training/run.json").read_text(encoding="utf-8"))
    assert other["text_digest"] == before["text_digest"]
    assert other["data_digest"] != before["data_digest"]


def test_the_card_says_what_of_its_sample_was_copied(run, here):
    card = (run / "README.md").read_text(encoding="utf-8")
    sample, stretch = re.findall(r"```text\n(.*?)\n```", card, re.DOTALL)
    assert stretch in sample
    assert stretch in (here / "text.txt").read_text(encoding="utf-8")
    assert f"has {len(stretch)} of its {len(sample)} characters" in card


def test_a_run_killed_before_its_last_figures_gets_them_when_resumed(run, capsys):
    """Killed between the last checkpoint and the end: training is finished, its figures are not."""
    log = run / "training/log.jsonl"
    *lines, last = log.read_text(encoding="utf-8").splitlines(keepends=True)
    assert json.loads(last)["event"] == "end"
    log.write_text("".join(lines), encoding="utf-8")
    assert main(["train", "--resume", "run"]) == 0
    again = json.loads(log.read_text(encoding="utf-8").splitlines()[-1])
    assert again == json.loads(last)


def test_a_run_killed_before_its_first_checkpoint_begins_again(run, here):
    whole = (run / "training/log.jsonl").read_text(encoding="utf-8").splitlines()
    for name in ("training/checkpoint.safetensors", "model.safetensors", "config.json", "tokenizer.json"):
        (run / name).unlink()
    assert main(["train", "--resume", "run"]) == 0
    again = (run / "training/log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line).get("loss") for line in again] == [json.loads(line).get("loss") for line in whole]


def test_training_leaves_the_arithmetic_of_the_process_as_it_was(run):
    """Tiny numbers count as zero while it trains; a program that calls it must get them back."""
    assert (torch.tensor([1e-40]) / 2).item() > 0


def test_an_interrupt_while_libraries_are_imported_is_no_exception(tmp_path, monkeypatch):
    """It would come up within a library, which may make another exception of it."""
    (tmp_path / "a_slow_library.py").write_text("import signal\nthen = signal.getsignal(signal.SIGINT)\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert _resolve("a_slow_library:then") is signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        mine = signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert mine is signal.default_int_handler
        _resolve("a_slow_library:then")
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN, "what another has set stays"
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_printed_settings_are_a_config(here, capsys):
    with pytest.raises(SystemExit):
        main(["train", "text.txt", "--layers", "1", "--print_config"])
    (here / "c.yaml").write_text(capsys.readouterr().out, encoding="utf-8")
    data, model, *_ = parse("train", ["--config", "c.yaml"])
    assert (data.data, model.layers) == (("text.txt",), 1)
    assert parse("train", ["--config", "c.yaml", "other.txt"])[0].data == ("other.txt",)


def test_a_config_goes_before_all_that_overrides_it_wherever_it_stands(here, capsys):
    with pytest.raises(SystemExit):
        main(["train", "--print_config"])
    (here / "c.yaml").write_text(capsys.readouterr().out, encoding="utf-8")
    data, model, *_ = parse("train", ["text.txt", "--layers", "1", "--config", "c.yaml"])
    assert (data.data, model.layers) == (("text.txt",), 1)
    with pytest.raises(SystemExit):
        main(["train", "text.txt", "--layers", "1", "--config", "c.yaml", "--print-config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    assert (printed["data"], printed["layers"]) == (["text.txt"], 1)
    assert "texts" not in printed
