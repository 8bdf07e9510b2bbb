"""The output layer's bias at the start of a fine-tuning: predictions as frequent as the tokens themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tidegate.config import ModelConfig
from tidegate.models.language_model import LanguageModel
from tidegate.text.prepare import prepare
from tidegate.text.tokenizer import train
from tidegate.training.batches import Cursor, Feed
from tidegate.training.begin import token_counts
from tidegate.training.token_prior import KEPT, fit_output_bias

TEXT = "潮起潮落，月明江上。the tide comes in.\n" * 60


@pytest.fixture
def case(tmp_path):
    """A model of many tokens, a text that lacks some of them, its feed and its counts."""
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    tokenizer = train("characters", [TEXT + "海上生明月xyz"])
    prepared = prepare([tmp_path / "text.txt"], cache=tmp_path / "cache", tokenizer=tokenizer, validation=0)
    torch.manual_seed(2)
    model = LanguageModel(ModelConfig("gru", 1, 16), tokenizer.vocabulary_size)
    with torch.no_grad():
        model.output.bias.copy_(2 * torch.randn(tokenizer.vocabulary_size))
    feed = Feed(prepared.train, tokenizer.document_id, 4, 16, 0)
    return model, feed, token_counts(prepared.train, tokenizer.vocabulary_size).astype(float)


@torch.no_grad()
def shares_and_loss(model, feed):
    batch = feed.read(Cursor(0, 0))
    logits, _ = model(batch.inputs, None, batch.fresh)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten())
    return torch.softmax(logits.double(), dim=-1).mean(dim=(0, 1)).numpy(), float(loss)


def test_predictions_become_as_frequent_as_the_tokens(case):
    model, feed, counts = case
    _, loss = shares_and_loss(model, feed)
    before = model.state_dict()["output.bias"].clone()
    fit_output_bias(model, feed, counts)
    wanted = counts / counts.sum()
    shares, better = shares_and_loss(model, feed)
    assert better < loss - 0.5
    # the softmax's own sum moves a little, so the shares are met nearly, and those of frequent tokens best
    assert np.abs(shares - wanted).sum() < 0.3
    assert (model.output.bias - before)[counts == 0].min() >= np.log(KEPT) - 1e-4


def test_only_the_bias_changes(case):
    model, feed, counts = case
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fit_output_bias(model, feed, counts)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"output.bias"}


def test_what_fits_already_hardly_changes(case):
    """The second time moves what the first left over."""
    model, feed, counts = case
    fit_output_bias(model, feed, counts)
    first = model.output.bias.detach().clone()
    fit_output_bias(model, feed, counts)
    moved = (model.output.bias - first).detach().abs().numpy()
    assert (moved * counts / counts.sum()).sum() < 0.2


def test_a_token_that_the_model_never_gives_stays_finite(case):
    model, feed, counts = case
    with torch.no_grad():
        model.output.bias[3] = -1e4
    fit_output_bias(model, feed, counts)
    assert torch.isfinite(model.output.bias).all()
