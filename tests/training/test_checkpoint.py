"""A checkpoint whose numbers no run of these settings has is refused: resumed, such a run would never end, or fail."""

from __future__ import annotations

import pytest

from tidegate.config import ModelConfig, TrainingConfig
from tidegate.errors import TidegateError
from tidegate.models.language_model import LanguageModel
from tidegate.training import checkpoint
from tidegate.training.state import capture, new_state

EVALUATIONS = 5


@pytest.fixture
def state():
    return new_state(LanguageModel(ModelConfig(hidden_size=4), 9), TrainingConfig(), 2)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"evaluations": 6}, "6 evaluations done, but the run has 5"),
        ({"evaluations": 6, "finished": True}, "6 evaluations done, but the run has 5"),
        ({"evaluations": 5}, "5 evaluations done, but the run has 5"),  # and yet it is not finished
        ({"step": 2**63}, "too large"),
        ({"window": 2**53}, "too large"),
        ({"events": -1}, "negative"),
        ({"elapsed": 1e300}, "too large"),
    ],
    ids=str,
)
def test_numbers_of_no_such_run_are_refused(tmp_path, state, numbers, message):
    captured = capture(state)
    checkpoint.save(tmp_path / "c", captured._replace(numbers=captured.numbers | numbers))
    with pytest.raises(TidegateError, match=message):
        checkpoint.load(tmp_path / "c", state, EVALUATIONS)


@pytest.mark.parametrize("numbers", [{"evaluations": 4}, {"evaluations": 5, "finished": True}], ids=str)
def test_those_of_a_run_are_taken(tmp_path, state, numbers):
    captured = capture(state)
    checkpoint.save(tmp_path / "c", captured._replace(numbers=captured.numbers | numbers))
    assert checkpoint.load(tmp_path / "c", state, EVALUATIONS).numbers == captured.numbers | numbers


def test_the_same_state_makes_the_same_file_in_whatever_order(tmp_path, state):
    captured = capture(state)
    checkpoint.save(tmp_path / "a", captured)
    checkpoint.save(tmp_path / "b", captured._replace(tensors=dict(reversed(captured.tensors.items()))))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
