"""`tidegate prepare`: its report, for people and for programs."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

from tidegate.cli import main


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIDEGATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "120")
    texts = tmp_path / "文集"
    texts.mkdir()
    (texts / "一.txt").write_text("床前明月光，疑是地上霜。\n" * 40, encoding="utf-8")
    (texts / "two.md").write_text("The tide comes in, the tide goes out.\n" * 40, encoding="utf-8")
    (texts / "again.md").write_text("The tide comes in, the tide goes out.\r\n" * 40, encoding="utf-8")
    (texts / "empty.txt").write_text("")
    (texts / "picture.png").write_bytes(b"\x89PNG")
    return tmp_path


def test_the_report_says_what_was_found(here, capsys):
    assert main(["prepare", "文集"]) == 0
    rows = {}
    for line in capsys.readouterr().out.splitlines():
        if line.startswith("│"):
            name, value = (part.strip() for part in line.strip("│").split("│"))
            rows[name] = value
    assert rows["files"] == "4 (4 × plain text)"
    assert rows["documents"] == "2"
    assert rows["characters"] == "2,040 (3,000 bytes of UTF-8)"
    assert rows["scripts"].startswith("Latin 62.9%, spaces 19.1%, Han 11.2%")
    assert rows["longest line"] == "37 characters, in 文集/again.md"
    assert rows["duplicates"].startswith("1 documents omitted")
    assert rows["omitted"] == "1 × .png, which is no text; 1 documents without text"
    assert rows["training set"] == "1,936 tokens"


def test_json_has_the_same_for_programs(here, capsys):
    assert main(["prepare", "文集", "--json", "--tokenizer", "bytes"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["files"], told["documents"], told["duplicates"], told["empty"]) == (4, 2, 1, 1)
    assert told["training_tokens"] + told["validation_tokens"] == 3000 + 2
    assert told["left_out"] == {".png": 1}
    assert not told["reused"]
    assert main(["prepare", "文集", "--json", "--tokenizer", "bytes"]) == 0
    assert json.loads(capsys.readouterr().out)["reused"]


def test_training_finds_what_was_prepared(here, capsys):
    assert main(["prepare", "文集", "--json"]) == 0
    digest = json.loads(capsys.readouterr().out)["digest"]
    assert main(["train", "文集", "--steps", "1", "--hidden-size", "4", "--window", "8", "--out", "run"]) == 0
    assert json.loads((here / "run/training/run.json").read_text())["data_digest"] == digest


def test_what_looks_wrong_is_said(here, capsys):
    (here / "data.txt").write_text("x" * 200_000, encoding="utf-8")
    (here / "new.txt").write_text("春眠不觉晓" * 50, encoding="utf-8")
    (here / "held.jsonl").write_text('{"text": "' + "x" * 200_000 + '"}\n{"text": "春"}\n', encoding="utf-8")
    assert main(["prepare", "data.txt", "--validation-data", "new.txt"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "A line of 200,000 characters in data.txt is rarely text" in said
    assert "of the validation text is unknown to the vocabulary" in said
    assert main(["prepare", "data.txt", "--validation-data", "held.jsonl"]) == 0
    assert "1 documents of the validation text are also in the training text" in capsys.readouterr().out


def test_text_comes_from_standard_input(here, capsys, monkeypatch):
    class Standard:
        buffer = io.BytesIO("潮起潮落，春去秋来。\n".encode("gb18030") * 50)

        def isatty(self):
            return False

    monkeypatch.setattr(sys, "stdin", Standard())
    assert main(["prepare", "-", "--encoding", "gb18030", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["character_count"] == 550


def test_it_imports_no_torch(here):
    code = "import sys; from tidegate.cli import main; main(['prepare', '文集']); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "False"
