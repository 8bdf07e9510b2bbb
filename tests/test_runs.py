"""The verb runs: a table that reads well in any width, a list for programs, a picture."""

from __future__ import annotations

import json
import re

import pytest
from rich.cells import cell_len

from tests.training.run_folders import write_run
from tidegate.cli import main
from tidegate.config import DataConfig, ModelConfig
from tidegate.errors import TidegateError
from tidegate.runs import RunsSettings, runs


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def three(here):
    """Two runs that compare, and a broken one."""
    long_ago = "2025-01-02T03:04:05+00:00"
    write_run(here / "runs/诗 大", (3.0, 2.0, 2.1), model=ModelConfig(hidden_size=16), started=long_ago)
    write_run(here / "runs/plain", (3.0,), final=2.5, data=DataConfig(data=("唐诗.txt",)))
    (here / "runs/torn/training").mkdir(parents=True)
    (here / "runs/torn/training/run.json").write_text("{")
    return here


def table(capsys, *words):
    assert main(["runs", *words]) == 0
    return capsys.readouterr().out.splitlines()


def order(lines):
    return [next(name for name in ("诗 大", "plain", "torn") if name in line) for line in lines[1:4]]


def test_the_table(three, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    lines = table(capsys)
    assert order(lines) == ["诗 大", "plain", "torn"]
    assert lines[0].split()[:4] == ["#", "run", "model", "tokenizer"]
    assert "~2.0000" in lines[1]
    assert "stopped, 30%" in lines[1]
    assert "3:00" in lines[1]
    assert "2025-01-02 03:04" in lines[1]
    assert "2.5000" in lines[2]
    assert "finished" in lines[2]
    assert lines[3].split() == ["3", "torn", "broken"]
    assert any(line.startswith("torn: ") and "cannot be read" in line for line in lines[4:])
    assert not any("texts differ" in line or "tokenizers differ" in line for line in lines)


def test_columns_stand_under_one_another_whatever_the_script(three, capsys):
    lines = table(capsys)[:4]
    starts = [cell_len(line[: line.index(word)]) for line, word in zip(lines, ("model", "2×16", "2×8"), strict=False)]
    assert len(set(starts)) == 1


@pytest.mark.parametrize(
    ("sort", "wanted"),
    [
        ("best", ["诗 大", "plain", "torn"]),
        ("name", ["plain", "诗 大", "torn"]),
        ("started", ["plain", "诗 大", "torn"]),
        ("tokens", ["诗 大", "plain", "torn"]),
        ("time", ["诗 大", "plain", "torn"]),
        ("speed", ["诗 大", "plain", "torn"]),
        ("parameters", ["诗 大", "plain", "torn"]),
    ],
)
def test_orders(three, capsys, sort, wanted):
    assert order(table(capsys, "--sort", sort)) == wanted


def test_what_does_not_compare_is_marked(here, capsys):
    write_run(here / "runs/a", (3.0,), text="one")
    write_run(here / "runs/b", (1.0,), text="two")
    write_run(here / "runs/c", (2.0,), text="one", tokenizer="other")
    lines = table(capsys)
    assert [line.split()[1:3] for line in lines[1:4]] == [["a", "A"], ["c", "A"], ["b", "B"]]
    assert "The validation texts differ: compare losses only between runs of the same text." in lines
    assert [line for line in lines if line.startswith("  ")] == ["  A  a.txt", "  B  b.txt"]
    assert "The tokenizers of text A differ: compare these losses in bits/byte only." in lines


LONG = "一次很长的训练，名字里有学习率和权重衰减-lr-0.003-wd-0.1"


@pytest.fixture
def every_task(here):
    """Runs of all tasks, finished and not, with long names and long lists of texts."""
    many = DataConfig(data=tuple(f"卷{number}.txt" for number in range(60)))
    for number, final in enumerate((2.0, None, 2.2)):
        write_run(here / f"runs/{LONG}-{number}", (3.0, 2.1), final=final, text="novel", data=many)
    for number, final in enumerate((0.4, None)):
        scores = {"accuracy": 0.91 - number / 100, "macro_f1": 0.85}
        write_run(here / f"runs/评论-{number}", (0.6, 0.5), final=final, text="labels", task="classify", scores=scores)
    write_run(here / "runs/entities", (0.3,), final=0.3, text="tags", task="tag", scores={"accuracy": 0.98, "f1": 0.77})
    return here


@pytest.mark.parametrize("width", [None, 80, 100, 160, 300])
@pytest.mark.parametrize("only", ["", "评论", "entities", LONG])
def test_every_line_fits_and_has_what_the_task_is_judged_by(every_task, capsys, monkeypatch, width, only):
    monkeypatch.delenv("COLUMNS", raising=False)
    if width is not None:
        monkeypatch.setenv("COLUMNS", str(width))
    lines = table(capsys, *sorted(f"runs/{path.name}" for path in (every_task / "runs").glob(f"{only}*")))
    assert max(map(cell_len, lines)) <= (width or 80)
    text = "\n".join(lines)
    wanted = {LONG: ("2.0000", "~2.1000"), "评论": ("91.00%", "~90.00%"), "entities": ("77.00%",)}
    for name in [only] if only else wanted:
        assert all(figure in text for figure in wanted[name])
    head = lines[0].split()
    assert ("accuracy" in head) == (only != LONG)
    assert ("nats/text" in head) == ("0.4000" in text)
    assert only != "评论" or "nats/token" not in text
    assert only != LONG or "nats/token" in head
    assert only or "text" in head
    if width == 300 and only in ("", LONG):
        assert LONG in text


def test_classifiers_of_one_data_set_compare_in_nats_of_a_text_whatever_their_tokenizers(here, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    for name, final in (("a", 0.5), ("b", 0.4)):
        write_run(here / f"runs/{name}", (0.6,), final=final, task="classify", scores={"accuracy": 0.9})
    lines = table(capsys)
    assert [line.split()[1] for line in lines[1:3]] == ["b", "a"]
    assert "bits/byte" not in "".join(lines)


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_a_narrow_terminal_gets_fewer_columns(three, capsys, monkeypatch, width):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in table(capsys)[:4]]
    assert all(cell_len(line) <= width for line in lines)
    assert "nats/token" in lines[0]
    assert ("started" in lines[0]) == (width == 200)
    assert order(lines) == ["诗 大", "plain", "torn"]


def test_json_for_a_program(three, capsys):
    write_run(three / "runs/other", (float("nan"),), text="other", final=float("nan"))
    assert main(["runs", "--json"]) == 0

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert [(run["name"], run["state"], run["validation_text"]) for run in found] == [
        ("诗 大", "stopped", "A"),
        ("plain", "finished", "A"),
        ("other", "finished", "B"),
        ("torn", "broken", None),
    ]
    assert found[0]["evaluations"][1] == {"tokens": 2000, "seconds": 120.0, "nats": 2.0}
    assert found[0]["best_evaluation"] == 2.0
    assert found[1]["figures"]["carried_20lanes/nats_a_token"] == 2.5
    assert "cannot be read" in found[3]["problem"]


def test_folders_of_runs_and_runs(here, capsys):
    write_run(here / "sweep/x", (3.0,))
    write_run(here / "春/x", (2.0,))
    write_run(here / "one", (1.0,))
    lines = table(capsys, "sweep", "one", "春")
    assert [line.split()[1] for line in lines[1:4]] == ["one", "春/x", "sweep/x"]  # two x: each by its whole path


def test_a_picture(three, capsys):
    assert main(["runs", "--plot", "runs/comparison.png"]) == 0
    assert (three / "runs/comparison.png").read_bytes().startswith(b"\x89PNG")
    assert "2 runs; 1 without a comparable loss omitted" in capsys.readouterr().err
    assert len(table(capsys)) > 4  # the picture is no run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "runs is no folder"),
        (("nowhere",), "nowhere is no folder"),
        (("--plot", "x.pdf"), "ends in .png"),
        (("--sort", "bset"), "but found 'bset'"),
    ],
)
def test_mistakes_get_one_sentence(here, capsys, words, said):
    assert main(["runs", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_wrong_order_is_refused_in_python_too():
    with pytest.raises(TidegateError, match="did you mean 'best'"):
        RunsSettings(sort="bset")  # type: ignore[arg-type]


def test_nothing_to_draw_is_said(here, capsys):
    write_run(here / "runs/a", ())
    with pytest.raises(TidegateError, match="nothing to draw"):
        runs(RunsSettings(plot="c.png"))


def test_control_characters_do_not_reach_the_terminal(here, capsys):
    write_run(here / "runs/a\x1b[31m", (1.0,), started="\x1b[31m")
    (here / "runs/b\x1b/training").mkdir(parents=True)
    assert "\x1b" not in "".join(table(capsys))
