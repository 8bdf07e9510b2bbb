"""The verb generate: text to stdout, words about it to stderr, a prompt from anywhere."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys

import pytest

from tests.runtime.small_models import random_tensors, small_model, write_folder
from tidegate import generate as verb
from tidegate import native
from tidegate.cli import main
from tidegate.config import DataConfig, ModelConfig, TrainingConfig
from tidegate.errors import TidegateError
from tidegate.folder.model_folder import write_config, write_weights
from tidegate.generate import GenerateSettings, generate
from tidegate.runtime.sampling import Sampling
from tidegate.text.corpus import Piece
from tidegate.text.overlap import overlaps
from tidegate.text.prepare import prepare
from tidegate.text.tokenizer import train
from tidegate.training.record import RunRecord, write_record

CODE = (
    "import sys; from tidegate.cli import main\n"
    "sys.exit(main(['generate', *sys.argv[1:]]))"
)  # fmt: skip


@pytest.fixture
def run(tmp_path):
    return str(write_folder(tmp_path / "run"))


KERNELS = f"Kernels: {native.describe(native.threads())}"


def command(*words, stdin=b"", text_encoding="ascii"):
    environment = {
        **os.environ,
        "PYTHONIOENCODING": text_encoding,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    options = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
    return subprocess.run(
        [sys.executable, "-c", CODE, *words], capture_output=True, env=environment, timeout=60, **options
    )


def expected(prompt, **options):
    return prompt + small_model().generate(prompt, **{"max_tokens": 500, **options})


def test_writes_the_prompt_and_the_text(run, capsys):
    assert generate(GenerateSettings(run, prompt="ROMEO:"), Sampling()) == 0
    out, err = capsys.readouterr()
    assert out.rstrip("\n") == expected("ROMEO:").rstrip("\n")
    assert out.endswith("\n")
    assert err.splitlines() == [KERNELS]


def test_without_echo_the_text_alone(run, capsys):
    generate(GenerateSettings(run, prompt="春", echo=False, max_tokens=30), Sampling(seed=4))
    wanted = expected("春", max_tokens=30, sampling=Sampling(seed=4))[1:]
    assert capsys.readouterr().out.rstrip("\n") == wanted.rstrip("\n")


def test_several_samples_are_told_apart_on_stderr(run, capsys):
    generate(GenerateSettings(run, prompt="春", num_samples=3, max_tokens=20, end_at_document=False), Sampling())
    out, err = capsys.readouterr()
    assert err.splitlines() == [KERNELS] + [f"--- sample {k} of 3 ---" for k in (1, 2, 3)]
    wanted = [expected("春", max_tokens=20, sample=k, end_at_document=False) for k in range(3)]
    assert out == "".join(text if text.endswith("\n") else text + "\n" for text in wanted)
    assert len(set(wanted)) == 3


def test_a_fresh_seed_is_printed_and_repeats_the_text(run, capsys):
    generate(GenerateSettings(run, max_tokens=40), Sampling(seed=None))
    out, err = capsys.readouterr()
    seed = int(err.splitlines()[1].removeprefix("seed "))
    generate(GenerateSettings(run, max_tokens=40), Sampling(seed=seed))
    assert capsys.readouterr().out == out


def test_stop_strings_and_limits_reach_the_text(run, capsys):
    text = expected("R", max_tokens=60, end_at_document=False)
    stop = text[30:32]
    generate(GenerateSettings(run, prompt="R", max_tokens=60, stop=(stop,), end_at_document=False), Sampling())
    assert capsys.readouterr().out.rstrip("\n") == (text[: text.find(stop, 1)]).rstrip("\n")


def test_a_word_read_as_unknown_is_told_of(tmp_path, capsys):
    tokenizer = train("words", [" the white Rabbit ran"])
    config = ModelConfig(hidden_size=4)
    write_config(tmp_path, config, tokenizer, unknown=3)
    write_weights(tmp_path, random_tensors(config, tokenizer.vocabulary_size), tokenizer)
    assert main(["generate", str(tmp_path), "--prompt", "Rabbit the Rabit", "--max-tokens", "1"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Rabbit the Rabit")
    assert "Not in the vocabulary, read as unknown: 'Rabit' (similar: 'Rabbit')." in err.splitlines()


@pytest.mark.parametrize(("field", "value"), [("max_tokens", 0), ("num_samples", 0)])
def test_a_value_out_of_range_is_refused(field, value):
    with pytest.raises(TidegateError, match=f"{field} is {value}, but it must be"):
        GenerateSettings("run", **{field: value})


@pytest.mark.parametrize("words", [(), ("--prompt", "-")])
def test_standard_input_is_the_prompt_whatever_the_terminals_encoding(run, words):
    prompt = "春眠不覺曉，ROMEO:"
    ran = command(run, *words, stdin=("\ufeff" + prompt).encode())
    assert ran.returncode == 0, ran.stderr.decode()
    assert ran.stdout.decode("utf-8").rstrip("\n") == expected(prompt).rstrip("\n")


@pytest.mark.parametrize("stdin", [None, b""])
def test_an_empty_standard_input_is_no_prompt(run, stdin):
    ran = command(run, stdin=stdin)
    assert ran.stdout.decode("utf-8").rstrip("\n") == expected("").rstrip("\n")


def test_a_given_prompt_leaves_standard_input_alone(run):
    assert command(run, "--prompt", "R", stdin=b"\xff").stdout.decode("utf-8").rstrip("\n") == expected("R").rstrip(
        "\n"
    )


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        (("--prompt", "龙"), b"", "'龙'"),
        ((), "ROMEO 春".encode("gb18030"), "offset 6"),
        ((), "龙".encode(), "'龙'"),
        ((), "春".encode()[:2], "not UTF-8"),
        (("--top-p", "2"), b"", "top_p is 2.0, but it must be from"),
        (("--seed", "-1"), b"", "seed is -1, but it must be from 0 to 9223372036854775807."),
        (("春",), b"", "Unknown flag or argument '春' (give the prompt as --prompt TEXT)."),
        (("--stop", ""), b"", "stop string"),
    ],
)
def test_bad_input_ends_with_one_sentence(run, words, stdin, said):
    ran = command(run, *words, stdin=stdin)
    assert ran.returncode == 2
    assert ran.stdout == b""
    *before, sentence = ran.stderr.decode("utf-8").splitlines()
    assert said in sentence
    assert [line.split(":")[0] for line in before] in ([], ["Kernels"])


def test_no_model_folder_ends_with_one_sentence(tmp_path):
    ran = command(str(tmp_path / "nowhere"))
    assert ran.returncode == 2
    assert "There is no folder" in ran.stderr.decode("utf-8")


def interruptible():
    """A shell's background jobs ignore Ctrl-C, and so do their children, but what is tested here is a person's."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start(run, *words):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [sys.executable, "-c", CODE, run, "--max-tokens", "null", "--end-at-document", "false", *words]
    return subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        preexec_fn=interruptible,
    )


def test_ctrl_c_ends_the_text_cleanly(run):
    with start(run) as process:
        assert process.stdout is not None
        process.stdout.read(50)  # it streams: the text comes though it has no end
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert out.endswith(b"\n")
    assert b"Traceback" not in err


def test_a_reader_that_has_enough_ends_it_quietly(run):
    with start(run) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(50)
        process.stdout.close()
        assert [line.split(b":")[0] for line in process.stderr.read().splitlines()] == [b"Kernels"]
        process.wait(timeout=20)


def test_a_terminal_gets_no_control_characters():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        verb.Output(stream).write("春\x1b[31m\x9b\x07\t\n")
    assert terminal.getvalue() == "春�[31m��\t\n"
    assert file.getvalue() == "春\x1b[31m\x9b\x07\t\n"


def novelty_lines(err):
    return [line for line in err.splitlines() if "stretch" in line]


@pytest.mark.parametrize("prompt", ["ROMEO:", "春眠"])
def test_novelty_says_what_was_copied(run, tmp_path, capsys, prompt):
    text = small_model().generate(prompt, max_tokens=80, end_at_document=False)
    (tmp_path / "corpus.txt").write_text("before " + text[10:40] + "\n\nQ\n" + text[50:80], encoding="utf-8")
    settings = GenerateSettings(run, prompt, 80, end_at_document=False, novelty=(str(tmp_path / "corpus.txt"),))
    generate(settings, Sampling())
    out, err = capsys.readouterr()
    assert out.rstrip("\n") == (prompt + text).rstrip("\n")  # the text alone
    [longest, covered] = novelty_lines(err)
    found = overlaps([text], [Piece((tmp_path / "corpus.txt").read_text(encoding="utf-8"), True)])[0]
    assert found.length >= 30
    assert longest == f"longest stretch {found.length} of 80 characters ({found.length / 80:.1%}): {found.stretch!r}"
    assert covered.startswith(f"in stretches of {found.threshold} characters or more: {found.covered} characters (")


def test_novelty_of_several_samples_in_several_corpora(run, tmp_path, capsys):
    texts = [small_model().generate("R", max_tokens=40, sample=k, end_at_document=False) for k in range(2)]
    for k, text in enumerate(texts):
        (tmp_path / f"{k}.md").write_text(text * 9, encoding="utf-8")
    novelty = (str(tmp_path / "0.md"), str(tmp_path / "1.md"))
    generate(GenerateSettings(run, "R", 40, 2, end_at_document=False, novelty=novelty), Sampling())
    lines = novelty_lines(capsys.readouterr().err)
    assert [line[: len("sample 1: ")] for line in lines] == ["sample 1: "] * 2 + ["sample 2: "] * 2
    assert all("40 of 40 characters (100.0%)" in line for line in lines[::2])


def test_a_long_stretch_is_shown_by_its_ends():
    text = "春" * 100 + "x" * 300 + "秋" * 100
    assert verb._shortened(text) == "春" * 80 + " … " + "秋" * 80
    assert verb._shortened("春秋") == "春秋"


def test_what_novelty_cannot_do_is_said_before_anything_is_written(run, tmp_path, capsys):
    for words, said in (
        (("--novelty", "nowhere.txt"), "no file or folder 'nowhere.txt'"),
        (("--novelty", "training"), "does not say what it was trained on"),
        (("--novelty", "training", "--novelty", "a.txt"), "must be the only one"),
        (("--novelty", "a.txt", "--max-tokens", "null"), "max_tokens is null"),
    ):
        assert main(["generate", run, *words]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert said in err


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A run folder and its training text, by a record alone."""
    folder = write_folder(tmp_path / "trained")
    text = tmp_path / "文本.txt"
    text.write_text("the tide comes in, 潮起潮落。\n" * 40 + "ROMEO" * 100, encoding="utf-8")
    data = DataConfig(data=(str(text),), validation=0.3)
    prepared = prepare(data.data, cache=tmp_path / "cache", validation=0.3)
    (folder / "training").mkdir()
    record = RunRecord(
        data, ModelConfig(), TrainingConfig(), prepared.digest, prepared.tokenizer.digest, {}, "tidegate train"
    )
    write_record(folder / "training/run.json", record)
    return folder, text, prepared


def test_novelty_against_the_text_that_the_model_learnt_from(trained, capsys):
    folder, text, prepared = trained
    assert main(["generate", str(folder), "--novelty", "training", "--max-tokens", "90"]) == 0
    err = capsys.readouterr().err
    learnt_from = prepared.tokenizer.decode(prepared.train.read(1, len(prepared.train)))
    assert learnt_from != text.read_text(encoding="utf-8")
    [found] = overlaps([small_model().generate(max_tokens=90)], [Piece(learnt_from, True)])
    assert f"longest stretch {found.length} of " in err


def test_the_validation_part_was_not_learnt_from(trained, monkeypatch, capsys):
    folder, *_ = trained
    monkeypatch.setattr(verb, "write", lambda *a, **k: iter(["ROMEOROMEOROMEO, the tide comes in"]))
    assert main(["generate", str(folder), "--novelty", "training"]) == 0
    assert "longest stretch 17 of 34 characters (50.0%): 'the tide comes in'" in capsys.readouterr().err


def test_a_training_text_that_changed_or_moved_is_told_of(trained, capsys):
    folder, text, _ = trained
    text.write_text(text.read_text(encoding="utf-8") + "more", encoding="utf-8")
    assert main(["generate", str(folder), "--novelty", "training", "--max-tokens", "5"]) == 2
    assert "has changed since the training" in capsys.readouterr().err
    text.rename(text.with_suffix(".md"))
    assert main(["generate", str(folder), "--novelty", "training", "--max-tokens", "5"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "文本.txt" in err
    assert "--novelty FILE" in err


def test_a_silent_pipe_is_told_of(run, capsys, monkeypatch):
    monkeypatch.setattr(verb, "PATIENCE", 0.01)
    reader, writer = os.pipe()
    with open(reader, encoding="utf-8") as stdin, open(writer, "wb") as source:
        verb._announce_waiting(stdin)
        source.write(b"x")
        source.flush()
        assert "Reading the prompt from standard input" in capsys.readouterr().err
        verb._announce_waiting(stdin)
    assert capsys.readouterr().err == ""
