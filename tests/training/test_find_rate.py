"""The range test: its curve, its proposal, and that it takes the run's own steps and leaves nothing but a picture."""

from __future__ import annotations

import math
import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.cli import main, parse
from tidegate.config import ModelConfig, TrainingConfig
from tidegate.errors import TidegateError
from tidegate.training import find_rate
from tidegate.training.begin import begin
from tidegate.training.find_rate import MEMORY, STEPS, Point, RangeTest, draw_range_test, range_test, table
from tidegate.training.optimize import Step, train_step

SMALL = "--hidden-size 12 --layers 1 --lanes 4 --window 8".split()
CONFIG = TrainingConfig(lanes=4, window=8)
MODEL = ModelConfig(hidden_size=12, layers=1)


def curve(losses: list[float]) -> RangeTest:
    """A test that found these smoothed losses, at rates that double from 0.001."""
    return RangeTest(tuple(Point(0.001 * 2**i, loss, loss) for i, loss in enumerate(losses)))


@given(st.lists(st.floats(0, 20), min_size=1, max_size=60))
def test_smoothing_is_a_weighted_mean_of_all_losses_so_far(losses):
    points = list(find_rate._smoothed(iter([(0.1, loss) for loss in losses])))
    for n, point in enumerate(points, 1):
        weights = [MEMORY ** (n - 1 - j) for j in range(n)]
        assert point.smoothed == pytest.approx(sum(w * x for w, x in zip(weights, losses, strict=False)) / sum(weights))


def test_proposed_is_where_most_of_the_fall_is_done():
    # from 5 to 1: 95% of the fall is done at 1.2 and below
    assert curve([5, 4.9, 4, 2, 1.21, 1.19, 1.05, 1, 1.1, 3]).proposal == pytest.approx(0.032)


@given(st.lists(st.floats(0.5, 20), min_size=2, max_size=60), st.floats(0.1, 10))
def test_the_proposal_lies_before_the_lowest_loss_and_has_no_unit(losses, factor):
    found, scaled = curve(losses), curve([loss * factor for loss in losses])
    if found.proposal is None:
        assert min(losses) > losses[0] * 0.95 - 1e-9
    else:
        assert 0.001 <= found.proposal <= found.lowest.rate * 1.05  # two digits
        assert scaled.proposal in (found.proposal, None) or min(losses) / losses[0] == pytest.approx(0.95)


def test_a_loss_that_hardly_falls_proposes_nothing():
    assert curve([5, 5.1, 4.9, 5, 5.2]).proposal is None
    assert "about here" not in table(curve([5, 5.1, 4.9, 5, 5.2]))


def test_it_takes_the_steps_of_the_run_and_the_loss_falls(prepared):
    feed, state = begin(prepared, MODEL, CONFIG)
    told = []
    found = range_test(state, feed, CONFIG, lambda done, total: told.append((done, total)))
    assert state.progress.step == len(found.points) == told[-1][0]
    assert found.points[0].rate == pytest.approx(1e-5)
    assert found.points[1].rate / found.points[0].rate == pytest.approx(1e5 ** (1 / (STEPS - 1)))
    assert found.lowest.smoothed < found.points[0].smoothed - 0.5
    # its first losses are those of a run with the same settings at the same rates
    feed, state = begin(prepared, MODEL, CONFIG)
    for point in found.points[:5]:
        assert train_step(state, feed.read(state.progress.cursor), CONFIG, point.rate).loss == point.loss


def losses_of(monkeypatch, prepared, losses):
    """A range test whose steps find these losses."""
    rest = iter(losses)
    monkeypatch.setattr(find_rate, "train_step", lambda *_: Step(next(rest), 1.0))
    feed, state = begin(prepared, MODEL, CONFIG)
    return range_test(state, feed, CONFIG)


def test_it_ends_where_the_loss_has_risen_again(monkeypatch, prepared):
    found = losses_of(monkeypatch, prepared, [5.0] * 10 + [2.0] * 40 + [9.0] * 100)
    assert 50 < len(found.points) < 60
    assert found.ended == "the loss rose to 9.00"
    assert found.lowest.smoothed == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_it_ends_where_the_loss_is_not_finite(monkeypatch, prepared, broken):
    found = losses_of(monkeypatch, prepared, [5.0] * 10 + [2.0] * 40 + [broken])
    assert len(found.points) == 50
    assert "not finite" in found.ended
    with pytest.raises(TidegateError, match="not finite at the first step"):
        losses_of(monkeypatch, prepared, [broken])


def test_table_and_picture(tmp_path):
    found = curve([5, 4.9, 4, 2, 1.21, 1.19, 1.05, 1, 1.1, 3, 300])
    lines = table(found).splitlines()
    assert len(lines) == 12
    assert [line for line in lines if "about here" in line] == [lines[6]]
    assert len(table(RangeTest(found.points * 13)).splitlines()) <= 2 * find_rate.ROWS
    for name in ("潮.png", "folder/flat.png"):
        draw_range_test(tmp_path / name, found if "潮" in name else curve([5.0]), "1×12 lstm")
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "潮汐.txt").write_text("潮起潮落 the tide comes in, the tide goes out.\n" * 60, encoding="utf-8")
    (tmp_path / "short.txt").write_text("潮起潮落", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_proposes_a_command_and_leaves_a_picture_alone(here, capsys):
    assert main(["train", "潮汐.txt", "--find-lr", *SMALL, "--epochs", "7", "--learning-rate", "0.5"]) == 0
    said = capsys.readouterr().out
    command = re.search(r"^ +tidegate train (.*)$", said, re.MULTILINE)[1]
    data, model, training, run = parse("train", shlex.split(command))
    assert data.data == ("潮汐.txt",)
    assert model == MODEL
    assert 1e-4 < training.learning_rate < 0.3
    assert (training.epochs, training.lanes, training.window, run.find_lr) == (7, 4, 8, False)
    assert f"Learning rate {training.learning_rate:g}" in said
    assert [path.name for path in (here / "runs").iterdir()] == ["潮汐-rates.png"]
    assert main(["train", "潮汐.txt", "--find-lr", *SMALL, "--out", "deep/run"]) == 0
    assert "--out deep/run" in capsys.readouterr().out
    assert [path.name for path in (here / "deep").iterdir()] == ["run-rates.png"]


def test_a_preset_may_choose_all_but_the_rate(here, capsys, monkeypatch):
    words = ["--find-lr", "--preset", "tiny", "--hidden-size", "8", "--window", "8"]
    assert main(["train", "潮汐.txt", *words]) == 0
    command = re.search(r"^ +tidegate train (.*)$", capsys.readouterr().out, re.MULTILINE)[1]
    _, model, training, run = parse("train", shlex.split(command))
    assert (model.layers, model.hidden_size, training.minutes, run.preset) == (1, 8, 10, None)


def test_mistakes_and_ctrl_c_leave_nothing(here, capsys, monkeypatch):
    before = set(here.iterdir()) | {here / "cache"}
    assert main(["train", "short.txt", "--find-lr", *SMALL]) == 2
    assert "too short" in (said := capsys.readouterr().err) or "window" in said
    assert main(["train", "--resume", "run", "--find-lr"]) == 2
    assert "--find-lr is for a new run" in capsys.readouterr().err

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(find_rate, "train_step", interrupt)
    assert main(["train", "潮汐.txt", "--find-lr", *SMALL]) == 130
    assert set(here.iterdir()) <= before


def test_nothing_to_propose_is_said(here, capsys, monkeypatch):
    monkeypatch.setattr(find_rate, "train_step", lambda *_: Step(3.0, 1.0))
    assert main(["train", "潮汐.txt", "--find-lr", *SMALL]) == 1
    assert "hardly fell (3.000 → 3.000)" in capsys.readouterr().out
