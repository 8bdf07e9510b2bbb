"""Files that would take gigabytes or minutes to parse are refused within a second of work and 200 MB."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.run_folders import write_run
from tidegate.json_files import CHUNK, JsonLimits, parse_json

from ..conftest import subprocess_environment
from .strangers import write_strangers

MIB = 1 << 20
SECONDS, MEMORY = 2.0, 200 * MIB
"""of work, twice what is right where nothing else runs; beyond what the program takes before it reads"""
PROGRAM = """
import resource, sys, time
import tidegate.classify, tidegate.chat, tidegate.embed, tidegate.generate, tidegate.import_model, tidegate.merge
import tidegate.runs, tidegate.tag
from tidegate.cli import main, parse
parse(sys.argv[1], sys.argv[2:])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before, start = peak(), time.process_time()
code = main(sys.argv[1:])
print(code, peak() - before, time.process_time() - start)
"""


def tokenizer(**fields: str) -> bytes:
    head = {
        "format": "tidegate-tokenizer",
        "format_version": 1,
        "normalization": {"line_ends": "lf", "unicode": "nfc"},
        "kind": fields.pop("kind"),
    }
    rest = ", ".join(f'"{name}": {value}' for name, value in fields.items())
    return (json.dumps(head)[:-1] + f", {rest}}}").encode()


def zeros(path: Path, size: int) -> None:
    with open(path, "wb") as file:
        file.truncate(size)


def header(path: Path, size: int, content: bytes = b"") -> None:
    path.write_bytes(size.to_bytes(8, "little") + content)


ZEROS = b"0," * (31 << 20) + b"0"
PARSED: dict[str, tuple[str, Callable[[Path], object], list[str]]] = {
    "merges": (
        "model/tokenizer.json",
        lambda p: p.write_bytes(tokenizer(kind="bpe", merges="[" + "[97, 98], " * 2_999_999 + "[97, 98]]")),
        ["generate", "model"],
    ),
    "list": ("model/tokenizer.json", lambda p: p.write_bytes(b"[" + ZEROS + b"]"), ["generate", "model"]),
    "words": (
        "model/tokenizer.json",
        lambda p: p.write_bytes(tokenizer(kind="words", words="[" + '"a",' * 15_000_000 + '"b"]')),
        ["generate", "model"],
    ),
    "deep": ("model/tokenizer.json", lambda p: p.write_bytes(b"[" * 60_000_000), ["generate", "model"]),
    "objects": ("model/config.json", lambda p: p.write_bytes(b"[" + b"{}," * 340_000 + b"0]"), ["generate", "model"]),
    "sparse config": ("model/config.json", lambda p: zeros(p, 3 << 30), ["generate", "model"]),
    "header": (
        "model/model.safetensors",
        lambda p: header(p, 90 * MIB, b'{"a":' + b" " * 90 * MIB),
        ["generate", "model"],
    ),
    "tensors": (
        "model/model.safetensors",
        lambda p: header(p, 14_000_000, (b'"a":{"shape":[]},' * 1_000_000)[:14_000_000]),
        ["generate", "model"],
    ),
    "tagger": ("tagger/tagger.json", lambda p: p.write_bytes(b'{"a": [' + ZEROS + b"]}"), ["tag", "tagger"]),
    "large tagger": ("tagger/tagger.json", lambda p: zeros(p, 256 * MIB), ["tag", "tagger"]),
    "labels": (
        "classifier/labels.json",
        lambda p: p.write_bytes(b'{"a": [' + ZEROS[: 7 * MIB] + b"]}"),
        ["classify", "classifier"],
    ),
    "adapter": (
        "adapter/adapter.json",
        lambda p: p.write_bytes(b"[" + b"[]," * 340_000 + b"0]"),
        ["merge", "model", "--adapter", "adapter", "--out", "merged"],
    ),
    "template": ("chat/chat_template.jinja", lambda p: zeros(p, 3 << 30), ["chat", "chat"]),
    "session": ("session/a.state", lambda p: zeros(p, 3 << 30), ["chat", "chat", "--session", "session/a.state"]),
    "vocabulary": (
        "import/vocabulary.json",
        lambda p: p.write_bytes(b"[" + ZEROS + b"]"),
        ["import", "import/a.safetensors", "--vocabulary", "import/vocabulary.json", "--out", "imported"],
    ),
    "lines": (
        "import/vocabulary.json",
        lambda p: p.write_bytes(b"\n" * 60_000_000),
        ["import", "import/a.safetensors", "--vocabulary", "import/vocabulary.json", "--out", "imported"],
    ),
    "record": ("runs/one/training/run.json", lambda p: p.write_bytes(b'{"a": [' + ZEROS + b"]}"), ["runs"]),
    "log": ("runs/one/training/log.jsonl", lambda p: zeros(p, 3 << 30), ["runs"]),
}


@pytest.fixture(scope="module")
def strangers(tmp_path_factory):
    place = tmp_path_factory.mktemp("strangers")
    write_strangers(place)
    write_run(place / "runs/one")
    return place


@pytest.mark.parametrize("case", PARSED)
def test_what_is_too_large_is_refused_before_it_is_parsed(strangers, tmp_path, case):
    name, write, words = PARSED[case]
    shutil.copytree(strangers, here := tmp_path / "here")
    write(here / name)
    environment = subprocess_environment(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], cwd=here, env=environment, capture_output=True, text=True, timeout=100
    )
    assert "Traceback" not in done.stderr
    code, memory, seconds = done.stdout.splitlines()[-1].split()
    assert "broken" in done.stdout if words == ["runs"] else code == "2", done.stdout + done.stderr
    assert int(memory) < MEMORY
    assert float(seconds) < SECONDS


# ---- JSON ------------------------------------------------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(['[{,"', "\\", '\\"', "\\\\", '"]', "潮,"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)


def amounts(value: object) -> tuple[int, int]:
    """The members of all lists and objects, and how many of these there are."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    found = [amounts(one) for one in inner]
    return len(inner) + sum(a for a, _ in found), isinstance(value, (list, dict)) + sum(b for _, b in found)


@settings(max_examples=200, deadline=None)
@given(VALUES, st.booleans(), st.sampled_from([None, 2]))
def test_amounts_are_counted_outside_of_strings(value, ascii_only, indent):
    """What is just within the limits is parsed, what is beyond is not."""
    content = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    members, containers = amounts(value)
    assert parse_json(content, JsonLimits(len(content), members + containers, containers)) == value
    with pytest.raises(ValueError, match="larger"):
        parse_json(content, JsonLimits(len(content) - 1, 10**6, 10**6))
    if containers:
        with pytest.raises(ValueError, match="lists and objects"):
            parse_json(content, JsonLimits(len(content), 10**6, containers - 1))


@pytest.mark.parametrize("before", [CHUNK - 3, CHUNK - 2, CHUNK - 1, CHUNK])
@pytest.mark.parametrize("escapes", [1, 2, 3, 4, 5])
def test_a_chunk_ends_within_no_escape(before, escapes):
    value = ["x" * (before - 2 - escapes) + "\\" * escapes + '"[', "[[["]
    content = json.dumps(value).encode()
    assert parse_json(content, JsonLimits(1 << 30, 3, 1)) == value


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a": NaN}', "NaN"), (b"[-Infinity]", "Infinity"), (b"[1e999]", "too large"), (b'{"a": 1, "a": 2}', "twice"),
        (b'["\\ud800"]', "surrogate"), (b'["a\\uDFFFb"]', "surrogate"), (b"[" * 30 + b"]" * 30, "nested"),
        (b"\xff", "utf-8"), (b"", "Expecting value"), (b"[" + b"9" * 5000 + b"]", "digits"), (b"]" * 9, "Expecting"),
    ],
    ids=ascii,
)  # fmt: skip
def test_what_is_no_json_that_the_program_writes(content, said):
    with pytest.raises(ValueError, match=said):
        parse_json(content, JsonLimits(10**6, 100, 100))


def test_surrogates_where_names_of_files_may_have_them():
    assert parse_json(b'["\\udcff"]', JsonLimits(100, 10, 10), surrogates=True) == ["\udcff"]
    assert parse_json(b'["\\ud83d\\ude00"]', JsonLimits(100, 10, 10)) == ["😀"]
