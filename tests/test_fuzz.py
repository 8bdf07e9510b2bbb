"""Random command lines and YAML files: all end in an exit code, with a sentence for a mistake, and leave whole folders.

TIDEGATE_FUZZ sets the number of examples for a longer search: TIDEGATE_FUZZ=5000 ./run test tests/test_fuzz.py
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate.cli import VERBS, _resolve, main
from tidegate.folder.model_folder import ModelFolder
from tidegate.training.run_folder import RunFolder

EXAMPLES = int(os.environ.get("TIDEGATE_FUZZ", "0"))
FUZZ = settings(
    max_examples=EXAMPLES or 40,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TINY = "--hidden-size 3 --layers 1 --lanes 2 --window 4 --evaluations 1 --log-every 1".split()
LARGE = {"steps", "tokens", "epochs", "minutes", "processes", "threads", "hidden_size", "layers", "embedding_size",
         "max_tokens", "num_samples", "evaluations", "window", "lanes", "config"}  # fmt: skip
"""what a large value of makes a test take long, though it is right"""
EDGES = [
    "0",
    "-1",
    "nan",
    "inf",
    "1e400",
    "9" * 30,
    "",
    "x",
    "null",
    "true",
    "[]",
    "{a: 1}",
    "*a",
    "\0",
    "\udcff",
    "潮",
    "--",
]
SMALL_NUMBERS = ["1", "2", "3", "0.5", "0.01"]
NAMES = [
    "text.txt",
    "other.txt",
    "folder",
    "run",
    "new",
    "nowhere",
    "empty.txt",
    "c.yaml",
    ".",
    "*.txt",
    "bytes.bin",
    "a.png",
]
WORDS = [
    "lstm", "gru", "rnn", "bytes", "words", "bpe", "plain", "cosine", "tang", "utf-8", "gb18030", "auto", "text",
]  # fmt: skip


def fields_of(verb: str) -> list[str]:
    return [field.name for home in VERBS[verb].settings for field in dataclasses.fields(_resolve(home))]


def values(name: str) -> st.SearchStrategy[str]:
    choices = [*EDGES, *(SMALL_NUMBERS if name in LARGE else [*SMALL_NUMBERS, "100", "65536"]), *NAMES, *WORDS]
    return st.sampled_from(choices)


@st.composite
def flags(draw: st.DrawFn, verb: str) -> list[str]:
    words = []
    for name in draw(st.lists(st.sampled_from([*fields_of(verb), "config"]), max_size=4)):
        flag = "--" + name.replace("_", "-" if draw(st.integers(0, 9)) else "_")
        if not draw(st.integers(0, 9)):
            at = draw(st.integers(2, len(flag)))
            flag = flag[:at] + draw(st.sampled_from("xs-=")) + flag[at:]
        value = draw(values(name))
        form = draw(st.integers(0, 8))
        words += [flag] if form == 0 else [flag, value] if form < 4 else [f"{flag}={value}"]
    return words


SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 3), st.floats(), st.sampled_from([*NAMES, *WORDS, *EDGES[:-4], "潮"])
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(SCALARS, inner, max_size=2)),
    max_leaves=4,
)


def configs(verb: str) -> st.SearchStrategy[bytes]:
    name = st.one_of(st.sampled_from(fields_of(verb)), st.sampled_from(["config", "", "x"]))
    written = st.dictionaries(name, TREES, max_size=4).map(
        lambda content: yaml.safe_dump(content, allow_unicode=True).encode("utf-8", "backslashreplace")
    )
    return st.one_of(written, st.binary(max_size=30), st.just(b"data: [text.txt]\n"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "text.txt").write_text("潮起潮落 the tide comes in, the tide goes out.\n" * 8, encoding="utf-8")
    words = ["train", str(folder / "text.txt"), "--out", str(folder / "run"), "--cache", str(folder / "cache")]
    assert main([*words, *TINY, "--steps", "2"]) == 0
    return folder


def lay_out(here: Path, model: Path, config: bytes) -> None:
    """Make what the names stand for."""
    shutil.copytree(model / "run", here / "run")
    shutil.copy(model / "text.txt", here / "text.txt")
    (here / "other.txt").write_text("tides and 潮水\n" * 9, encoding="utf-8")
    (here / "empty.txt").touch()
    (here / "bytes.bin").write_bytes(bytes(range(256)))
    (here / "folder").mkdir()
    (here / "c.yaml").write_bytes(config)


def check(here: Path, words: list[str]) -> None:
    """Run a command in a folder and check what it says and leaves."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.chdir(here):
        try:
            code: Any = main(words)
        except SystemExit as end:
            code = end.code
    said = err.getvalue()
    assert code in (0, 2, 130), (words, code, said)
    assert "Traceback" not in out.getvalue() + said
    if code == 2:
        assert "tidegate: " in said, words
        assert len(said) < 3000
    for record in here.rglob("training"):
        folder = RunFolder(record.parent)
        assert folder.record.is_file(), (words, said)
        if (folder.path / "model.safetensors").exists():
            ModelFolder.read(folder.path)
    assert not list(here.rglob("*.tmp"))


@pytest.mark.parametrize("verb", ["train", "finetune", "generate", "chat", "merge", "evaluate", "prepare", "runs"])
def test_random_commands(verb, model, monkeypatch):
    positional = st.lists(st.sampled_from([*NAMES, ""]), max_size=2)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    size = TINY.index("--hidden-size")
    tuned = [*TINY[:size], *TINY[size + 2 :], "--steps", "2"]
    limit = {"train": [*TINY, "--steps", "2"], "finetune": tuned, "generate": ["--max-tokens", "3"]}.get(verb, [])

    @FUZZ
    @given(positional, flags(verb), configs(verb))
    def search(names: list[str], given_flags: list[str], config: bytes) -> None:
        with tempfile.TemporaryDirectory() as place:
            here = Path(place) / "here"
            here.mkdir()
            lay_out(here, model, config)
            monkeypatch.setenv("TIDEGATE_CACHE", str(model / "cache"))
            horizon = any(word.startswith(("--epochs", "--tokens", "--minutes", "--steps")) for word in given_flags)
            begin = limit[:-2] if horizon and verb in ("train", "finetune") else limit
            check(here, [verb, *names, *begin, *given_flags])

    search()
