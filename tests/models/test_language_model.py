"""The language model: its form, its start, its gradients, and what it may not see."""

from __future__ import annotations

import itertools

import pytest
import torch

from tidegate import native
from tidegate.config import ModelConfig
from tidegate.folder.tensors import expected_shapes
from tidegate.models.encoder import detach
from tidegate.models.language_model import LanguageModel
from tidegate.nn.dropout import DropoutMasks, Shares
from tidegate.nn.loss import cross_entropy_sum
from tidegate.theory.layout import GATES

SHAPES = [
    ModelConfig(cell=cell, block=block, tied=tied, embedding_size=E, hidden_size=8, layers=2)
    for cell, block, tied, E in itertools.product(GATES, ("residual", "plain"), (False, True), (None, 5))
]


@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_tensors_are_those_of_the_model_folder(config):
    model = LanguageModel(config, 11)
    assert {n: t.shape for n, t in model.tensors().items()} == expected_shapes(config, 11)


@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_every_parameter_gets_a_gradient(config):
    """A parameter without one would be dead weight, or cut off by mistake."""
    model = LanguageModel(config, 11)
    ids = torch.randint(0, 11, (6, 3))
    logits, _ = model(ids)
    cross_entropy_sum(logits, ids.roll(-1, 0)).backward()
    assert all(p.grad is not None and torch.count_nonzero(p.grad) > 0 for p in model.parameters())


@pytest.mark.parametrize("config", SHAPES[::3], ids=str)
def test_tensors_survive_a_round_trip(config):
    source, target = LanguageModel(config, 11), LanguageModel(config, 11)
    target.load_tensors(source.tensors())
    ids = torch.randint(0, 11, (6, 3))
    assert torch.equal(source(ids)[0], target(ids)[0])


def test_a_logit_depends_on_no_later_token():
    model = LanguageModel(ModelConfig(hidden_size=8), 11)
    ids = torch.randint(0, 11, (6, 2))
    changed = ids.clone()
    changed[4:] = (ids[4:] + 1) % 11
    before, after = model(ids)[0], model(changed)[0]
    assert torch.equal(before[:4], after[:4])
    assert not torch.equal(before[4:], after[4:])


def test_state_is_an_argument_and_a_result():
    """Two windows are one; nothing stays on the module; detaching cuts the gradient and nothing else."""
    model = LanguageModel(ModelConfig(hidden_size=8, cell="gru"), 11)
    ids = torch.randint(0, 11, (8, 2))
    whole, _ = model(ids)
    first, state = model(ids[:3])
    second, _ = model(ids[3:], detach(state))
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=1e-5)
    assert torch.equal(model(ids)[0], whole)
    assert not any(s.requires_grad for layer in detach(state) for s in layer)


def test_dropout_acts_where_masks_are_given_alone():
    model = LanguageModel(ModelConfig(hidden_size=8), 11)
    ids = torch.randint(0, 11, (6, 2))
    plain, dropped = model(ids)[0], model(ids, masks=DropoutMasks(Shares(hidden=0.5), 0, 1))[0]
    assert torch.equal(plain, model(ids)[0])
    assert not torch.allclose(plain, dropped)


@pytest.mark.parametrize("cell", GATES)
def test_weight_dropout_is_a_model_with_fewer_weights(cell):
    """The masked W_hh, grown, put into the model by hand gives the same; and the mask falls on W_hh alone."""
    config = ModelConfig(hidden_size=8, cell=cell)
    model, by_hand = LanguageModel(config, 11), LanguageModel(config, 11)
    by_hand.load_tensors(model.tensors())
    masks, ids = DropoutMasks(Shares(weight=0.5), 2, 3), torch.randint(0, 11, (6, 2))
    with torch.no_grad():
        for layer, block in enumerate(by_hand.blocks):
            block.cell.weight_hh_l0.copy_(masks.weights(block.cell.weight_hh_l0, layer))
    torch.testing.assert_close(model(ids, masks=masks)[0], by_hand(ids)[0])
    assert not torch.allclose(model(ids)[0], by_hand(ids)[0])


@pytest.mark.parametrize("block", ["residual", "plain"])
@pytest.mark.parametrize("name", ["hidden", "input", "output", "embedding", "weight"])
def test_each_share_drops_something_of_its_own(block, name):
    config = ModelConfig(hidden_size=8, layers=2, block=block)
    model, ids = LanguageModel(config, 11), torch.randint(0, 11, (6, 2))
    shares = dict.fromkeys(("hidden", "input", "output", "embedding", "weight"), 0.3)
    every = model(ids, masks=DropoutMasks(Shares(**shares), 0, 1))[0]
    but_one = model(ids, masks=DropoutMasks(Shares(**{**shares, name: 0.0}), 0, 1))[0]
    assert not torch.allclose(every, but_one)


def test_what_the_output_layer_reads_loses_the_share_of_the_output():
    for block in ("residual", "plain"):
        model, ids = LanguageModel(ModelConfig(hidden_size=400, block=block), 11), torch.zeros(2, 1, dtype=torch.int64)
        model.output = torch.nn.Identity()
        dropped = model(ids, masks=DropoutMasks(Shares(output=0.25), 0, 1))[0] == 0
        # 400 units, each with probability 1/4: six standard deviations are 52
        assert abs(int(dropped[0].sum()) - 100) < 52, block


def test_a_tied_output_is_the_embedding():
    model = LanguageModel(ModelConfig(hidden_size=8, tied=True), 11)
    assert model.output.weight is model.embedding.weight


@pytest.mark.parametrize("kernels", ["native", "pytorch"])
@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_the_loss_is_that_of_the_logits(config, kernels, monkeypatch):
    """And so are the gradients, that of a tied matrix too, and the state."""
    if kernels == "pytorch":
        monkeypatch.setattr(native, "core", lambda: None)
    elif native.core() is None:
        pytest.skip("the native core is not here")
    model = LanguageModel(config, 11)
    ids, weight = torch.randint(0, 11, (6, 3)), torch.rand(6, 3)
    fresh, masks = ids == 0, DropoutMasks(Shares(hidden=0.3, output=0.2, weight=0.2), 1, 2)
    logits, state = model(ids, None, fresh, masks)
    expected = cross_entropy_sum(logits, ids.roll(-1, 0), weight)
    loss, features = model.loss(ids, ids.roll(-1, 0), weight, None, fresh, masks)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    assert all(
        torch.equal(a, b) for one, two in zip(state, features.state, strict=True) for a, b in zip(one, two, strict=True)
    )
    parameters = list(model.parameters())
    pairs = zip(torch.autograd.grad(loss, parameters), torch.autograd.grad(expected, parameters), strict=True)
    for found, wanted in pairs:
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_weighted_cross_entropy_is_a_sum():
    logits, targets = torch.randn(4, 3, 7), torch.randint(0, 7, (4, 3))
    weight = torch.tensor([1.0, 0.0, 2.0]).expand(4, 3)
    per_token = -torch.log_softmax(logits, -1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(cross_entropy_sum(logits, targets, weight), (per_token * weight).sum())
    torch.testing.assert_close(cross_entropy_sum(logits, targets), per_token.sum())
