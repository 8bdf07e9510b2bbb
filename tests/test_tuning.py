"""The settings of a fine-tuning: each value that makes no sense is refused, in words."""

from __future__ import annotations

import math

import pytest

from tidegate import finetune as module
from tidegate.config import DataConfig, ModelConfig, RunConfig, TrainingConfig
from tidegate.errors import TidegateError
from tidegate.labelling import LabelConfig
from tidegate.training.record import command_of
from tidegate.training.schedule import FIRST, PEAK, learning_rate
from tidegate.tuning import TuningConfig

WRONG = [
    ({"task": "translate"}, "task is 'translate'"),
    ({"new_tokens": "drop"}, "new_tokens is 'drop'"),
    ({"direction": "down"}, "direction is 'down'"),
    ({"direction": "backward", "task": "chat"}, "the task is chat"),
    ({"direction": "backward", "lora_rank": 4}, "an adapter leaves the model"),
    ({"layer_rate": 0.0}, "layer_rate is 0.0"),
    ({"thaw": 1.5}, "thaw is 1.5"),
    ({"lora_rank": 0}, "lora_rank is 0"),
    ({"lora_rank": 4, "lora_alpha": math.nan}, "lora_alpha is nan"),
    ({"lora_alpha": 4.0}, "there is none"),
    ({"lora_rank": 4, "lora_parts": ()}, "lora_parts is empty"),
    ({"lora_rank": 4, "lora_parts": ("bias",)}, "lora_parts is 'bias'"),
    ({"lora_rank": 4, "freeze": ("embedding",)}, "omit one of them"),
    ({"lora_rank": 4, "layer_rate": 0.5}, "omit one of them"),
    ({"lora_rank": 4, "thaw": 0.5}, "omit one of them"),
    ({"lora_rank": 4, "new_tokens": "replace"}, "omit one of them"),
    ({"freeze": ("blocks", "embedding", "output")}, "nothing would learn"),
    ({"replay": 0.1}, "no old text"),
    ({"replay": 0.95, "old": "text"}, "replay is 0.95"),
    ({"old": ""}, "old is ''"),
    ({"task": "chat", "new_tokens": "replace"}, "keeps the model's vocabulary"),
    ({"task": "lm", "assistant": "Ben"}, "assistant is Ben, but the task lm"),
    ({"task": "classify", "template": "turns"}, "template is turns, but the task classify"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG, ids=str)
def test_values_that_make_no_sense(settings, message):
    with pytest.raises(TidegateError, match=message):
        TuningConfig(**settings)


@pytest.mark.parametrize(
    ("task", "keep"), [("lm", "best"), ("chat", "last"), ("instruct", "last"), ("classify", "best")]
)
def test_conversations_keep_the_last_step(task, keep, monkeypatch):
    found = []
    monkeypatch.setattr(module, "launch", lambda settings, run: found.append(settings.training) or 0)
    for training, given in ((TrainingConfig(), frozenset()), (TrainingConfig(keep="best"), frozenset({"keep"}))):
        run = RunConfig(out="x", given=given)
        module.finetune(TuningConfig(model="m", task=task), LabelConfig(), DataConfig(data=("t",)), training, run)
    assert [one.keep for one in found] == [keep, "best"]


def test_alpha_is_twice_the_rank():
    assert TuningConfig(lora_rank=4).alpha == 8
    assert TuningConfig(lora_rank=4, lora_alpha=2.0).alpha == 2


def test_the_command_of_a_tuning():
    data = DataConfig(data=("new text.txt",), tokenizer="bpe")
    tuning = TuningConfig(model="base-zh", lora_rank=4, lora_parts=("output",))
    training = TrainingConfig(steps=5, learning_rate=1e-2, weight_decay=0.0, dropout=0.1)
    assert command_of(data, ModelConfig(hidden_size=99), training, tuning=tuning) == (
        "tidegate finetune base-zh 'new text.txt' --lora-rank 4 --lora-parts output --steps 5"
    )


def test_a_value_of_training_from_scratch_stands_in_the_command():
    """Fine-tuning has other defaults: what equals those of training must not be left out."""
    data = DataConfig(data=("a.txt",))
    found = command_of(data, ModelConfig(), TrainingConfig(), tuning=TuningConfig(model="m"))
    assert found == "tidegate finetune m a.txt --learning-rate 0.006 --weight-decay 0.4 --dropout 0.0"


def test_the_slanted_triangle():
    """Up to the full rate over the first tenth, down along a straight line; never below a share of it."""
    config = TrainingConfig(learning_rate=2.0, schedule="triangular", warmup=1000)

    def rate(progress):
        return learning_rate(config, 7, progress)

    assert rate(0.0) == pytest.approx(2 * FIRST)
    assert rate(PEAK / 2) == pytest.approx(1.0)
    assert rate(PEAK) == pytest.approx(2.0)
    assert rate((1 + PEAK) / 2) == pytest.approx(1.0)
    assert rate(1.0) == pytest.approx(2 * FIRST)
    ended = TrainingConfig(learning_rate=2.0, schedule="triangular", final_rate=0.5)
    assert learning_rate(ended, 7, 0.55) == pytest.approx(1.5)
