"""Presets: what follows from size, time, text and speed; what is given wins; no run needs a second measuring."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.cli import main, parse
from tidegate.config import ModelConfig, TrainingConfig
from tidegate.training import presets
from tidegate.training.presets import SIZES, advice, choose, regularisation

MINUTE = TrainingConfig(minutes=1.0, window=16)


def chosen(prepared, preset="small", speed=1000.0, given=(), model=None, training=MINUTE):
    return choose(preset, model or ModelConfig(), training, frozenset(given), prepared, lambda *_: speed)


@pytest.mark.parametrize("preset", SIZES)
def test_the_size_is_the_presets(prepared, preset):
    choice = chosen(prepared, preset)
    size = SIZES[preset]
    assert (choice.model.layers, choice.model.hidden_size) == (size.layers, size.hidden_size)
    assert choice.training.learning_rate == size.learning_rate
    assert not choice.model.tied  # 29 characters
    assert choice.kept == ()


GIVEN = [
    ("layers", 5), ("layers", 2), ("hidden_size", 24), ("tied", True), ("tied", False), ("dropout", 0.0),
    ("dropout", 0.05), ("lanes", 40), ("lanes", 32), ("window", 15), ("learning_rate", 6e-3), ("weight_decay", 0.01),
    ("evaluation_tokens", 77), ("evaluations", 999), ("final_seconds", 0.5), ("final_tokens", 77),
]  # fmt: skip


BOUNDS = ("window", "evaluation_tokens", "final_tokens")
"""which a preset can only lower"""


@pytest.mark.parametrize(("field", "value"), GIVEN)
def test_what_is_given_wins_even_where_it_is_the_default(prepared, field, value):
    """At a thousand passes over a short text, the preset would choose something else for every field."""
    part = "model" if field in ModelConfig.__dataclass_fields__ else "training"
    base = {"model": ModelConfig(), "training": replace(MINUTE, evaluations=1000)}
    base[part] = replace(base[part], **{field: value})
    choice = chosen(prepared, "large", 1e5, {field}, base["model"], base["training"])
    assert getattr(getattr(choice, part), field) == value
    assert choice.kept == (field,)
    free = chosen(prepared, "large", 1e5, (), base["model"], base["training"])
    assert free.kept == ()
    if (field, value) != ("tied", False) and field not in BOUNDS:
        assert getattr(getattr(free, part), field) != value


def test_every_field_that_a_preset_chooses_is_tried(prepared):
    choice = chosen(prepared, "tiny", 50.0, training=TrainingConfig(minutes=1e-3, evaluations=100))
    base = TrainingConfig(minutes=1e-3, evaluations=100)
    changed = {
        name
        for now, was in ((choice.model, ModelConfig()), (choice.training, base))
        for name in type(now).__dataclass_fields__
        if getattr(now, name) != getattr(was, name)
    }
    assert changed <= {field for field, _ in GIVEN}


def test_ten_minutes_where_no_horizon_is_given(prepared):
    assert chosen(prepared, training=TrainingConfig(window=8)).training.minutes == 10
    for horizon in ({"steps": 30}, {"epochs": 2.0}, {"tokens": 999}, {"minutes": 3.0}):
        training = TrainingConfig(window=8, **horizon)
        settled = chosen(prepared, training=training).training
        assert [getattr(settled, name) for name in presets.HORIZONS] == [
            getattr(training, name) for name in presets.HORIZONS
        ]


@given(st.floats(1e-3, 1e5), st.floats(1e-3, 1e5), st.integers(1, 10**8), st.integers(1, 10**8), st.integers(1, 10**9))
def test_more_passes_or_weights_never_mean_less_regularisation(a, b, few, many, text):
    passes, weights = sorted((a, b)), sorted((few, many))
    least, most = regularisation(passes[0], weights[0], text), regularisation(passes[1], weights[1], text)
    assert 0 <= least[0] <= most[0] <= 0.5
    assert 0.4 <= least[1] <= most[1] <= 3.0


MEASURED = [
    (4.3, 1_100_000, 900_000, 0.0),
    (5.0, 1_100_000, 57_600, 0.0),
    (10.0, 154_000, 57_600, 0.0),
    (20.0, 154_000, 57_600, 0.14),
    (11.8, 488_000, 36_000, 0.25),
]


@pytest.mark.parametrize(("passes", "weights", "text", "wanted"), MEASURED)
def test_dropout_goes_through_what_was_measured(passes, weights, text, wanted):
    assert regularisation(passes, weights, text)[0] == pytest.approx(wanted, abs=0.02)


def test_the_forecast_is_speed_times_time(prepared):
    choice = chosen(prepared, speed=1000.0, training=replace(MINUTE, final_seconds=6.0), given={"final_seconds"})
    assert choice.forecast.seconds == 60
    assert choice.forecast.tokens == pytest.approx(0.9 * 54_000)  # a tenth for the evaluations
    assert choice.forecast.passes == pytest.approx(choice.forecast.tokens / len(prepared.train))
    in_steps = chosen(prepared, speed=1000.0, training=TrainingConfig(steps=100, window=8, evaluations=1))
    assert in_steps.forecast.tokens == 100 * 8 * in_steps.training.lanes
    assert in_steps.forecast.seconds == pytest.approx(in_steps.forecast.tokens / 1000, rel=0.2)


@pytest.mark.parametrize(
    ("preset", "speed", "minutes", "wanted"),
    [
        ("large", 1e5, 60, r"text is small.*tiny would fit better"),
        ("tiny", 1e5, 60, r"text is small"),  # a few thousand characters are little for any size
        ("large", 1.0, 1, r"is (small|short)"),
    ],
)
def test_advice_on_a_short_text(prepared, preset, speed, minutes, wanted):
    choice = chosen(prepared, preset, speed, training=TrainingConfig(minutes=minutes, window=8))
    said = advice(preset, choice, prepared)
    assert re.search(wanted, said)
    assert preset != "tiny" or "fit better" not in said


class StoreOfSize:
    """A store of which only the size is asked."""

    document_starts = np.zeros(1, np.int64)

    def __init__(self, tokens):
        self.tokens = tokens

    def __len__(self):
        return self.tokens


class Long:
    """A prepared text as far as its length counts."""

    def __init__(self, prepared, tokens):
        self.tokenizer, self.validation, self.train = prepared.tokenizer, None, StoreOfSize(tokens)


@pytest.mark.parametrize(
    ("preset", "tokens", "speed", "minutes", "wanted"),
    [
        ("small", 5_000_000, 20_000, 10, None),
        ("tiny", 5_000_000, 60_000, 3, None),
        ("large", 50_000_000, 1_500, 10, r"time is short.*about|time is short.*would fit better"),
        ("tiny", 500_000_000, 60_000, 600, r"enough for a larger model.*--preset (medium|large)"),
        ("large", 100_000, 50_000, 600, r"text is small.*--preset (tiny|small)"),
    ],
)
def test_advice_follows_from_text_and_time(prepared, preset, tokens, speed, minutes, wanted):
    long = Long(prepared, tokens)
    said = advice(preset, chosen(long, preset, speed, training=TrainingConfig(minutes=minutes)), long)
    assert said is None if wanted is None else re.search(wanted, said), said


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "潮汐.txt").write_text("潮起潮落 the tide comes in, the tide goes out.\n" * 60, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def record(folder):
    return json.loads((folder / "training/run.json").read_text(encoding="utf-8"))


def test_a_run_records_what_was_chosen_and_never_measures_again(here, capsys, monkeypatch):
    words = ["潮汐.txt", "--preset", "tiny", "--steps", "20", "--evaluations", "2", "--window", "8"]
    assert main(["train", *words, "--hidden-size", "8", "--out", "run"]) == 0
    said = capsys.readouterr().out
    assert "Preset tiny: 1×8 lstm" in said
    assert "not as the preset has it: evaluations, hidden_size, window" in said
    assert re.search(r"trains on about [\d,]+ tokens per second: in .* on .* to .* tokens.*passes over the text", said)
    assert re.search(r"First sample after about .*; done at about \d\d:\d\d", said)
    first = record(here / "run")
    assert (first["model"]["layers"], first["model"]["hidden_size"], first["training"]["steps"]) == (1, 8, 20)
    assert "--preset" not in first["command"]

    monkeypatch.setattr(presets, "measured_pace", lambda *_: pytest.fail("measured again"))
    assert main(["train", "--resume", "run"]) == 0
    assert record(here / "run") == first
    assert main([*shlex.split(first["command"])[1:], "--out", "again"]) == 0
    again = record(here / "again")
    assert (again["model"], again["training"]) == (first["model"], first["training"])
    logs = [(here / name / "training/log.jsonl").read_text(encoding="utf-8").splitlines() for name in ("run", "again")]
    losses = [[json.loads(line).get("loss") for line in log] for log in logs]
    assert losses[0] == losses[1]


def test_a_preset_is_for_a_new_run(capsys):
    assert main(["train", "--resume", "run", "--preset", "tiny"]) == 2
    assert "--preset is for a new run" in capsys.readouterr().err
    assert main(["train", "--preset", "huge"]) == 2
    assert "expected one of tiny, small, medium, large, but found 'huge'" in capsys.readouterr().err


def test_which_fields_were_given(here):
    (here / "c.yaml").write_text("preset: small\nminutes: 3\nlayers: 2\n", encoding="utf-8")
    *_, run = parse("train", ["--config", "c.yaml", "--lanes=32", "--tied"])
    assert run.preset == "small"
    assert run.given == {"preset", "minutes", "layers", "lanes", "tied"}
    assert parse("train", ["text.txt"])[3].given == frozenset()


def test_print_config_leaves_to_the_preset_what_is_not_given(here, capsys):
    with pytest.raises(SystemExit) as end:
        main(["train", "--preset", "tiny", "--layers", "2", "--print_config"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "preset: tiny" in shown
    assert "layers: 2" in shown
    assert "hidden_size" not in shown
    (here / "c.yaml").write_text(shown, encoding="utf-8")
    assert parse("train", ["--config", "c.yaml"])[3].given == {"preset", "layers"}


def test_minutes_without_a_preset_choose_nothing():
    _, model, training, run = parse("train", ["--minutes", "7"])
    assert (model, training, run.preset) == (ModelConfig(), TrainingConfig(minutes=7.0), None)
