"""Which weights learn, how fast and from when."""

from __future__ import annotations

import pytest
import torch

from tidegate.config import ModelConfig, TrainingConfig
from tidegate.models.language_model import LanguageModel
from tidegate.training.batches import Cursor, Feed
from tidegate.training.groups import freeze, parameter_groups
from tidegate.training.optimize import train_step
from tidegate.training.state import new_state
from tidegate.training.tuned_start import ReplayFeed
from tidegate.tuning import TuningConfig

CONFIG = ModelConfig("gru", 2, 6, 4)


def scales(model, tuning):
    """The scale and the thaw of each parameter by its name."""
    of = {
        id(p): (g["scale"], g["thaws_at"])
        for g in parameter_groups(model, TrainingConfig(), tuning)
        for p in g["params"]
    }
    return {name: of.get(id(parameter)) for name, parameter in model.named_parameters()}


def test_without_tuning_matrices_decay_and_come_first():
    model = LanguageModel(CONFIG, 9)
    matrices, vectors = parameter_groups(model, TrainingConfig(weight_decay=0.3), None)
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.3, 0.0)
    assert all(p.dim() > 1 for p in matrices["params"])
    assert len(matrices["params"]) + len(vectors["params"]) == len(list(model.parameters()))


def test_rates_fall_from_the_top():
    found = scales(LanguageModel(CONFIG, 9), TuningConfig(layer_rate=0.5, thaw=0.6))
    assert found["output.weight"] == found["final_norm.weight"] == (1.0, 0.0)
    assert found["blocks.1.cell.weight_hh_l0"] == found["blocks.1.norm.weight"] == (0.5, pytest.approx(0.2))
    assert found["blocks.0.cell.bias_ih_l0"] == (0.25, pytest.approx(0.4))
    assert found["embedding.weight"] == found["embedding_projection.weight"] == (0.125, pytest.approx(0.6))


@pytest.mark.parametrize("part", ["embedding", "blocks", "output"])
def test_what_is_frozen_stays(prepared, part):
    model = LanguageModel(CONFIG, prepared.tokenizer.vocabulary_size)
    freeze(model, (part,))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    run(prepared, model, TuningConfig(freeze=(part,)), 1.0)
    for name, parameter in model.named_parameters():
        own = "output" if name.startswith("final_norm") else name.split(".")[0].split("_")[0]
        assert torch.equal(parameter, before[name]) == (own == part), name


def test_layers_thaw_one_after_another(prepared):
    model = LanguageModel(CONFIG, prepared.tokenizer.vocabulary_size)
    for done, learn in (
        (0.0, {"output", "final_norm"}),
        (0.21, {"output", "final_norm", "blocks.1"}),
        (0.41, {"output", "final_norm", "blocks.1", "blocks.0"}),
        (0.61, {"output", "final_norm", "blocks.1", "blocks.0", "embedding", "embedding_projection"}),
    ):
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        run(prepared, model, TuningConfig(thaw=0.6), done)
        moved = [name for name, p in model.named_parameters() if not torch.equal(p, before[name])]
        assert {".".join(n.split(".")[:2]) if n.startswith("blocks") else n.split(".")[0] for n in moved} == learn


def run(prepared, model, tuning, done):
    config = TrainingConfig(lanes=2, window=8, weight_decay=0.0)
    feed = Feed(prepared.train, prepared.tokenizer.document_id, 2, 8, 0)
    state = new_state(model, config, feed.lanes, tuning)
    assert train_step(state, feed.read(state.progress.cursor), config, 0.1, done).finite


def test_replay_reads_two_texts_side_by_side(prepared):
    new = Feed(prepared.train, prepared.tokenizer.document_id, 3, 8, 0)
    old = Feed(prepared.validation, prepared.tokenizer.document_id, 1, 8, 0)
    both = ReplayFeed(new, old, 0)
    assert (both.lanes, both.window, both.windows) == (4, 8, new.windows)
    assert old.windows != new.windows
    for cursor in (Cursor(0, 0), Cursor(1, 2), Cursor(3, new.windows - 1)):
        found, of_new = both.read(cursor), new.read(cursor)
        step = cursor.epoch * new.windows + cursor.window
        of_old = old.read(Cursor(step // old.windows, step % old.windows))
        for name in ("inputs", "targets", "weight", "fresh"):
            assert torch.equal(getattr(found, name)[:, :3], getattr(of_new, name))
            assert torch.equal(getattr(found, name)[:, 3:], getattr(of_old, name))
        assert found.cursor == of_new.cursor
