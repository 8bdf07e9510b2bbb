"""What a stranger writes into names, labels and files never reaches the terminal as more than characters."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

import tidegate
from tests.runtime.small_models import random_tensors
from tests.training.run_folders import write_run
from tidegate.cli import VERBS, main
from tidegate.config import DataConfig
from tidegate.errors import TidegateError
from tidegate.folder.tensor_file import write_tensor_file
from tidegate.text.console import Console
from tidegate.text.messages import LONGEST_MESSAGE, complain, say, show, show_json
from tidegate.text.printable import CONTROL, one_line, printable

from ..conftest import subprocess_environment
from .strangers import READERS, write_strangers

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\x08\r\x7f\u202eevil\u2066[bold]b[/bold][link=x]l[/link]:smile:"
"""a title, a cleared screen, a colour by C1, a step back, DEL, text turned round; markup and an emoji of rich"""
OBEYED = re.compile("[" + "".join(map(chr, sorted(CONTROL))) + "]")
SOURCE = Path(tidegate.__file__).parent


# ---- One place -------------------------------------------------------------------------------------------------------

PLACES = {"text/messages.py": {"print"}, "text/console.py": {"rich.console"}, "runtime/output.py": {"stream"}}
"""what may write to a terminal: plain lines, rich's console, a model's text as it comes"""


def writes(path: Path) -> set[str]:
    """By what a module writes to standard output or standard error."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module in ("rich", "rich.console"):
            found |= {"rich.console" for name in node.names if name.name in ("Console", "print", "get_console")}
        if isinstance(node, ast.Import) and any(name.name.startswith("rich") for name in node.names):
            found.add("rich.console")
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in ("print", "input", "pprint", "pprint.pprint"):
            found.add("print")
        if re.search(r"\b(stdout|stderr)(\.buffer)?\.write(lines)?$", called) or called == "self._stream.write":
            found.add("stream")
        if called in ("TextColumn", "Text.from_markup", "Text.from_ansi", "render"):
            literal = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if called != "TextColumn" or literal.get("markup") != "False":
                found.add("markup")
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_all_that_is_printed_goes_through_one_place(path):
    assert writes(path) <= PLACES.get(str(path.relative_to(SOURCE)), set())


# ---- That place ------------------------------------------------------------------------------------------------------

TEXTS = st.text(st.sampled_from([*map(chr, sorted(CONTROL)), *"[bold]link=:潮 \n\t\\"]), max_size=30)
ONCE = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@ONCE
@given(TEXTS)
def test_lines(capsys, text):
    for call in (say, show, lambda words: complain("tidegate", words), lambda words: show_json({words: [words]})):
        call(text)
    said = capsys.readouterr()
    assert not OBEYED.search(said.out + said.err)
    assert json.loads(said.out[len(printable(text)) + 1 :]) == {text: [text]}
    assert all(line.startswith(("tidegate: ", "  ")) for line in said.err[len(printable(text)) + 1 :].splitlines())


@ONCE
@given(TEXTS)
def test_the_console(text):
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, color_system=None, width=200, legacy_windows=False)
    table = Table("a", title=text)
    table.add_row(text)
    for shown in (text, Text(text), table):
        console.print(shown, soft_wrap=True)
    own = re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())
    assert not OBEYED.search(own)
    with Progress(TextColumn("{task.description}", markup=False), console=console, transient=True) as bar:
        bar.add_task(text)
    assert not OBEYED.search(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", file.getvalue()))


def test_markup_and_emoji_are_text():
    file = io.StringIO()
    Console(file=file, force_terminal=True, width=200).print("[bold]b[/bold] [link=https://x]l[/link] :smile: [/]")
    assert file.getvalue() == "[bold]b[/bold] [link=https://x]l[/link] :smile: [/]\n"


def test_a_long_message_keeps_its_ends(capsys):
    complain("tidegate", TidegateError("a" * 10**6 + "b" * 10**6))
    said = capsys.readouterr().err
    assert len(said) < LONGEST_MESSAGE + 100
    assert said.endswith("b\n")


def test_one_line():
    assert one_line("a\nb\tc\x1b") == "a\ufffdb\ufffdc\ufffd"


# ---- Commands --------------------------------------------------------------------------------------------------------


@pytest.fixture
def strangers(tmp_path, monkeypatch):
    """Folders of every kind in one whose name a terminal would obey."""
    here = tmp_path / ESCAPES.replace("/", "").replace("\r", "")
    here.mkdir()
    monkeypatch.chdir(here)
    write_strangers(here)
    (here / "asked").write_text("潮\n", encoding="utf-8")
    with open(here / "asked", encoding="utf-8") as asked:
        monkeypatch.setattr("sys.stdin", asked)
        yield here


def said_by(capfd, *words: str) -> str:
    capfd.readouterr()
    main(list(words))
    said = capfd.readouterr()
    assert "Traceback" not in said.err
    return said.err if words[0] == "generate" else said.out + said.err  # through a pipe a model's text goes as it is


def changed(value: object) -> list[object]:
    """The value of a field with escapes, and as a new type."""
    return [ESCAPES, [ESCAPES], {ESCAPES: ESCAPES}]


JSONS = {
    "model": "config.json", "adapter": "adapter.json", "classifier": "labels.json", "tagger": "tagger.json",
}  # fmt: skip


@pytest.mark.parametrize("kind", JSONS)
def test_no_field_of_a_folder_reaches_the_terminal(strangers, capfd, kind):
    for name in (JSONS[kind], *(["tokenizer.json"] if kind != "adapter" else [])):
        file = strangers / kind / name
        whole = json.loads(file.read_text(encoding="utf-8"))
        for field in [*whole, ESCAPES]:
            for value in changed(whole.get(field)):
                file.write_text(json.dumps({**whole, field: value}, ensure_ascii=False), encoding="utf-8")
                said = said_by(capfd, *(word.format(kind) for word in READERS[kind][0]))
                assert not OBEYED.search(said), (field, value, said)
        file.write_text(json.dumps(whole), encoding="utf-8")


def test_no_tensor_nor_metadata_reaches_the_terminal(strangers, capfd):
    model = tidegate.load("model")
    tensors = random_tensors(model.config, model.tokenizer.vocabulary_size)
    for metadata in ({}, {"format": ESCAPES}, {ESCAPES: ESCAPES}):
        for name in ("model/model.safetensors", "import/a.safetensors"):
            write_tensor_file(strangers / name, {**tensors, ESCAPES: tensors["output.bias"]}, metadata)
        for kind in ("model", "import"):
            said = said_by(capfd, *(word.format(kind) for word in READERS[kind][0]))
            assert not OBEYED.search(said), said


def test_labels_and_tags(strangers, capfd):
    from tidegate.folder.label_folder import read_classifier, write_classifier
    from tidegate.folder.tagger_folder import read_tagger, write_tagger

    classifier, tagger = read_classifier("classifier"), read_tagger("tagger")
    write_classifier("classifier", type(classifier)(**{**vars(classifier), "labels": (ESCAPES, f"{ESCAPES}\n2")}))
    write_tagger("tagger", type(tagger)(**{**vars(tagger), "tags": tuple(f"{ESCAPES}\n{i}" for i in range(5))}))
    for words in (["classify", "classifier"], ["classify", "classifier", "--json"], ["tag", "tagger"],
                  ["tag", "tagger", "--form", "json"]):  # fmt: skip
        said = said_by(capfd, *words, "--data", "asked")
        assert not OBEYED.search(said), said
        assert ESCAPES[-10:] in said
    said = said_by(capfd, "tag", "tagger", "--form", "colour", "--data", "asked")
    assert not OBEYED.search(re.sub(r"\x1b\[[0-9;]*m", "", said))


def test_runs(strangers, capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")  # no name is folded
    for number in range(2):
        name = f"{ESCAPES.replace('/', '')}\nruns {number}"
        path = write_run(
            strangers / "runs" / name,
            data=DataConfig(data=(f"/texts/{name}.txt",)),
            text=f"t{number}",
            started=ESCAPES,
            final=2.0,
        )
        log = path / "training/log.jsonl"
        log.write_text(log.read_text(encoding="utf-8").replace("carried_20lanes", "\\u001b[2J\u202e"), encoding="utf-8")
    (write_run(strangers / "runs" / ESCAPES.replace("/", "")) / "training/run.json").write_text(f'{{"{ESCAPES}": 1}}')
    for words in (["runs"], ["runs", "--json"], ["runs", "--plot", "a.png"], ["runs", ESCAPES]):
        assert not OBEYED.search(said_by(capfd, *words))
    assert len(said_by(capfd, "runs").split("\n\n")[0].splitlines()) == 4, "a name forges no line of the table"


@pytest.mark.parametrize("verb", VERBS)
def test_names_that_are_given(strangers, capfd, verb):
    for words in ([verb, ESCAPES], [verb, f"--{ESCAPES}"], [verb, "--config", ESCAPES], [f"{verb}{ESCAPES}"]):
        try:
            said = said_by(capfd, *words)
        except SystemExit:
            said = "".join(capfd.readouterr())
        assert not OBEYED.search(said), said


def test_a_text_with_such_a_name(strangers, capfd):
    name = f"{ESCAPES.replace('/', '')}.txt"
    (strangers / name).write_text("潮起潮落 the tide comes in, the tide goes out.\n" * 20, encoding="utf-8")
    assert not OBEYED.search(said_by(capfd, "prepare", name))
    small = "--hidden-size 4 --lanes 2 --window 4 --steps 2 --evaluations 1 --log-every 1".split()
    assert not OBEYED.search(said_by(capfd, "train", name, "--out", "run", *small))
    assert not OBEYED.search(said_by(capfd, "runs", "."))


@pytest.mark.parametrize("words", [[verb, "--help"] for verb in VERBS] + [["train", "--print_config"], ["--version"]])
def test_help_on_a_full_disk(tmp_path, words):
    if not Path("/dev/full").exists():
        pytest.skip("not on this system: /dev/full")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tidegate", *words],
            stdout=full, stderr=subprocess.PIPE, text=True, env=subprocess_environment(tmp_path), timeout=100,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("tidegate: ")
    assert os.strerror(28) in done.stderr
