"""Settings that follow from the size of the data: steps enough, evaluations within a tenth, and what is given stays."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tidegate.config import ModelConfig, TrainingConfig
from tidegate.training import sizing
from tidegate.training.begin import begin
from tidegate.training.sizing import BY_SIZE, Amounts, measured_pace, run_tokens, sized

NOTHING: frozenset[str] = frozenset()
amounts = st.builds(Amounts, st.integers(200, 10**9), st.integers(0, 10**8))
speeds = st.floats(50, 1e6)


@given(amounts)
def test_a_run_without_a_horizon_has_some_hundreds_of_steps(text):
    found = sized(TrainingConfig(), NOTHING, text)
    steps = run_tokens(found, text.training, None) / (found.lanes * found.window)
    assert steps >= sizing.LEAST_STEPS - 1
    assert found.epochs >= 5
    assert 1 <= found.lanes <= 32


@given(amounts, st.floats(0.05, 1000), speeds)
def test_so_has_one_by_the_clock_where_fewer_streams_can_give_them(text, minutes, speed):
    found = sized(TrainingConfig(minutes=minutes), NOTHING, text, speed)
    steps = minutes * 60 * speed / (found.lanes * found.window)
    assert steps >= sizing.LEAST_STEPS or found.lanes <= sizing.FEWEST_STREAMS


@given(amounts, st.floats(0.1, 1000), speeds)
def test_evaluations_and_the_final_one_take_a_tenth_each_at_most(text, minutes, speed):
    found = sized(TrainingConfig(minutes=minutes), NOTHING, text, speed)
    seconds = minutes * 60
    each = min(found.evaluation_tokens, text.validation) / (3 * speed) + sizing.SAMPLE_WORK / speed + 0.7
    fewest = found.evaluations == sizing.FEWEST_EVALUATIONS
    assert each * found.evaluations <= 0.1 * seconds * (1 + 1e-9) or (
        fewest and min(found.evaluation_tokens, text.validation) <= 1000
    )
    final = 2 * min(found.final_tokens, text.validation) / (3 * speed)
    assert final <= 0.1 * seconds * (1 + 1e-9) or found.final_tokens <= 1000
    assert found.final_seconds <= seconds / 2  # rounded, it is still half at most


@given(amounts, st.floats(0.1, 100), speeds)
def test_what_is_given_stays(text, minutes, speed):
    training = TrainingConfig(minutes=minutes, final_seconds=1.0, learning_rate=0.5)
    assert sized(training, BY_SIZE | {"learning_rate", "minutes"}, text, speed) == training


@given(amounts, st.floats(0.5, 50))
def test_a_run_of_passes_is_the_same_when_its_settings_are_given_again(text, epochs):
    """The command that a run records names what differs from the defaults; the rest must be chosen alike."""
    found = sized(TrainingConfig(epochs=epochs), frozenset({"epochs"}), text)
    plain = TrainingConfig()
    named = {f.name for f in dataclasses.fields(plain) if getattr(found, f.name) != getattr(plain, f.name)}
    assert sized(found, frozenset(named), text) == found


@given(st.integers(1, 32), st.integers(2_000, 10**7))
def test_smaller_batches_have_smaller_steps(lanes, tokens):
    found = sized(TrainingConfig(epochs=5.0, learning_rate=1e-3), NOTHING, Amounts(tokens, 0))
    assert found.learning_rate == pytest.approx(1e-3 * math.sqrt(found.lanes / 32), rel=0.05)
    kept = sized(TrainingConfig(epochs=5.0, learning_rate=1e-3, lanes=lanes), frozenset({"lanes"}), Amounts(tokens, 0))
    assert (kept.lanes, kept.learning_rate) == (lanes, 1e-3)


@given(st.integers(1, 5000))
def test_short_texts_have_several_windows_in_each_stream(tokens):
    found = sized(TrainingConfig(), NOTHING, Amounts(tokens, 0))
    assert sizing.SHORTEST_WINDOW <= found.window <= 64
    assert found.lanes == 1 or tokens // found.lanes >= sizing.STREAM_WINDOWS * found.window


def test_measuring_changes_nothing_of_the_run(prepared):
    model, training = ModelConfig(hidden_size=12), TrainingConfig(lanes=4, window=8, minutes=0.05)
    _, before = begin(prepared, model, training)
    assert 100 < measured_pace(prepared, model, training) < 1e8
    _, after = begin(prepared, model, training)
    for name, tensor in before.model.state_dict().items():
        assert torch.equal(tensor, after.model.state_dict()[name])
