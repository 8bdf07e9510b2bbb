"""Settings: each field is checked, and each changes something."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from tidegate.config import HORIZONS, DataConfig, ModelConfig, RunConfig, TrainingConfig, from_dict
from tidegate.errors import TidegateError
from tidegate.evaluation_config import EvaluateConfig
from tidegate.models.language_model import LanguageModel
from tidegate.text.formats import Reading
from tidegate.text.prepare import prepare

from .training.conftest import Recorder, prepared, small_loop  # noqa: F401 (prepared is a fixture)

OUT_OF_RANGE = [
    (ModelConfig, "layers", 0),
    (ModelConfig, "layers", 65),
    (ModelConfig, "hidden_size", 0),
    (ModelConfig, "embedding_size", 0),
    (ModelConfig, "cell", "lsmt"),
    (ModelConfig, "block", "dense"),
    (ModelConfig, "direction", "down"),
    (DataConfig, "validation", 1.0),
    (DataConfig, "validation", -0.1),
    (DataConfig, "vocabulary", 1),
    (DataConfig, "tokenizer", "letters"),
    (DataConfig, "corpus", "milton"),
    (TrainingConfig, "lanes", 0),
    (TrainingConfig, "window", 0),
    (TrainingConfig, "learning_rate", 0.0),
    (TrainingConfig, "learning_rate", math.inf),
    (TrainingConfig, "warmup", -1),
    (TrainingConfig, "schedule", "cosin"),
    (TrainingConfig, "final_rate", 2.0),
    (TrainingConfig, "weight_decay", -1.0),
    (TrainingConfig, "beta1", 1.0),
    (TrainingConfig, "beta2", 1.0),
    (TrainingConfig, "epsilon", 0.0),
    (TrainingConfig, "clip", 0.0),
    (TrainingConfig, "dropout", 1.0),
    (TrainingConfig, "dropout", math.nan),
    (TrainingConfig, "input_dropout", -0.1),
    (TrainingConfig, "output_dropout", 1.0),
    (TrainingConfig, "embedding_dropout", 1.0),
    (TrainingConfig, "weight_dropout", 1.0),
    (TrainingConfig, "ar", -1.0),
    (TrainingConfig, "tar", math.inf),
    (TrainingConfig, "ema", 1.0),
    (TrainingConfig, "output_sample", 0),
    (TrainingConfig, "epochs", 0.0),
    (TrainingConfig, "steps", 0),
    (TrainingConfig, "tokens", 0),
    (TrainingConfig, "minutes", 0.0),
    (TrainingConfig, "final_seconds", -1.0),
    (TrainingConfig, "keep", "worst"),
    (TrainingConfig, "evaluations", 0),
    (TrainingConfig, "evaluation_tokens", 0),
    (TrainingConfig, "final_tokens", 0),
    (TrainingConfig, "patience", -1),
    (TrainingConfig, "seed", -1),
    (TrainingConfig, "threads", 0),
    (TrainingConfig, "log_every", 0),
    (TrainingConfig, "save_seconds", -1.0),
    (RunConfig, "processes", 0),
    (RunConfig, "preset", "huge"),
    (EvaluateConfig, "window", 0),
    (EvaluateConfig, "lanes", 0),
    (EvaluateConfig, "threads", 0),
    (EvaluateConfig, "dynamic_rate", 0.0),
    (EvaluateConfig, "dynamic_decay", 1.5),
    (EvaluateConfig, "neural_cache", 0),
    (EvaluateConfig, "cache_weight", 1.0),
    (EvaluateConfig, "cache_sharpness", -1.0),
]


@pytest.mark.parametrize(("kind", "field", "value"), OUT_OF_RANGE, ids=str)
def test_a_value_out_of_range_names_field_value_and_range(kind, field, value):
    with pytest.raises(TidegateError, match=rf"^{field} is .*must be (from|one of)"):
        kind(**{field: value})


def test_every_checked_field_is_in_the_table():
    free = {
        "data",
        "validation_data",
        "tied",
        "model",
        "json",
        "cache",
        "out",
        "resume",
        "find_lr",
        "given",
        "adapter",
        "dynamic",
    }
    free |= {"encoding", "columns", "keep_duplicates", "shuffle"}
    for kind in (ModelConfig, DataConfig, TrainingConfig, EvaluateConfig, RunConfig):
        for field in dataclasses.fields(kind):
            assert field.name in free or any((k, f) == (kind, field.name) for k, f, _ in OUT_OF_RANGE), field.name


def test_two_horizons_are_one_too_many():
    with pytest.raises(TidegateError, match=r"2 horizons \(steps, minutes\)"):
        TrainingConfig(steps=3, minutes=1.0)


def test_an_unknown_field_names_the_nearest():
    with pytest.raises(
        TidegateError, match=r"x\.json has the unknown field 'hiden_size' \(did you mean 'hidden_size'\?\)"
    ):
        from_dict(ModelConfig, {"hiden_size": 3}, "x.json")


MODEL_CHANGES = [
    ("cell", "gru"), ("layers", 3), ("hidden_size", 10), ("embedding_size", 7), ("block", "plain"), ("tied", True),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), MODEL_CHANGES)
def test_each_field_of_the_model_changes_the_model(field, value):
    def logits(config):
        torch.manual_seed(0)
        return LanguageModel(config, 9)(torch.arange(9).reshape(3, 3))[0]

    base = ModelConfig(hidden_size=12)
    assert not torch.equal(logits(base), logits(dataclasses.replace(base, **{field: value})))


def test_each_field_of_the_model_is_tried():
    # the direction is one of the text that it reads: tests of the store and of the classifier try it
    assert {name for name, _ in MODEL_CHANGES} == {f.name for f in dataclasses.fields(ModelConfig)} - {"direction"}


TRAINING_CHANGES = [
    ("lanes", 3), ("window", 9), ("learning_rate", 1e-2), ("warmup", 3),
    ("schedule", "cosine"), ("final_rate", 0.9), ("weight_decay", 5.0),
    ("beta1", 0.5), ("beta2", 0.5), ("epsilon", 1e-3), ("clip", 1e-3),
    ("dropout", 0.3), ("input_dropout", 0.3), ("output_dropout", 0.3), ("embedding_dropout", 0.3),
    ("weight_dropout", 0.3), ("ar", 2.0), ("tar", 2.0), ("ema", 0.9), ("output_sample", 5),
    ("epochs", 0.1), ("steps", 9), ("tokens", 99), ("minutes", 1e-3),
    ("evaluations", 3), ("patience", 1), ("seed", 5), ("log_every", 2), ("save_seconds", 0.5),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), TRAINING_CHANGES)
def test_each_field_of_the_training_changes_the_run(prepared, field, value):  # noqa: F811
    def told(**settings):
        ticks = iter(range(10**6))
        recorder = Recorder(validation=[1.0, 2.0])
        loop = small_loop(prepared, recorder, clock=lambda: next(ticks) / 100, **{"clip": 0.5, **settings})
        loop.run()
        events = [{k: v for k, v in e.items() if k not in ("elapsed", "tokens_a_second")} for e in recorder.events]
        best = {name: weights.tolist() for name, weights in loop.state.best.items()}
        return events, best, [c.numbers["step"] for c in recorder.saved]

    base = {"steps": 112, "evaluations": 1 if field == "save_seconds" else 10}
    changed = {**base, field: value}
    if field in HORIZONS and field != "steps":
        del changed["steps"]
    assert told(**changed) != told(**base)


def test_each_field_of_the_training_is_tried():
    # tests of the command line, of measuring, of the feed, of the schedule, of the loop
    elsewhere = {"threads", "evaluation_tokens", "final_tokens", "shuffle", "final_seconds", "keep"}
    assert {name for name, _ in TRAINING_CHANGES} | elsewhere == {f.name for f in dataclasses.fields(TrainingConfig)}


def test_each_field_of_the_data_changes_the_stores(tmp_path):
    text, other = tmp_path / "text.txt", tmp_path / "other.txt"
    text.write_text("the tide 潮 comes in " * 50, encoding="utf-8")
    other.write_text("something else 别的 " * 50, encoding="utf-8")

    def digest(**settings):
        return prepare([str(text)], cache=tmp_path / "cache", **settings).digest

    (tmp_path / "rows.csv").write_text("text,other\n" + "once upon,twice\nonce upon,thrice\n" * 20, encoding="utf-16")

    def rows(encoding="utf-16", columns=(), **settings):
        reading = Reading(encoding, columns)
        return prepare([tmp_path / "rows.csv"], cache=tmp_path / "cache", reading=reading, **settings).digest

    assert rows(encoding="latin-1") == rows(), "the mark says it"
    digests = [
        rows(), rows(columns=("other",)), rows(keep_duplicates=True),
        digest(), digest(kind="words"), digest(kind="words", vocabulary=5), digest(validation=0.2),
        digest(validation_data=[str(other)]), prepare([str(other)], cache=tmp_path / "cache").digest,
    ]  # fmt: skip
    assert len(set(digests)) == len(digests)
