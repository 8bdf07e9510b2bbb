"""Weights under another vocabulary: what the model knew of its tokens stays, whatever their numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.runtime.small_models import random_tensors
from tidegate.config import ModelConfig
from tidegate.models.language_model import LanguageModel
from tidegate.models.transfer import transferred
from tidegate.text.token_match import match
from tidegate.text.tokenizer import train

FORMS = [
    ModelConfig(hidden_size=6),
    ModelConfig("gru", 1, 6, 4, tied=True),
    ModelConfig("rnn", 1, 6, block="plain", tied=True),
]


def models(config, old, new):
    tensors = random_tensors(config, old.vocabulary_size)
    before, after = LanguageModel(config, old.vocabulary_size), LanguageModel(config, new.vocabulary_size)
    before.load_tensors(tensors)
    after.load_tensors(transferred(tensors, match(old, new)))
    return before, after


@torch.no_grad()
@pytest.mark.parametrize("config", FORMS, ids=lambda c: f"{c.cell} {c.block} {c.tied}")
def test_a_vocabulary_in_another_order_changes_nothing(config):
    """Fewer tokens and in other places: the logits of those that stay are the very same."""
    old, new = train("words", ["x the tide comes in in in y"], 100), train("words", ["x in comes tide tide the"], 100)
    before, after = models(config, old, new)
    text = " the tide comes in"
    one, _ = before(torch.from_numpy(old.encode(text).astype(np.int64))[:, None])
    two, _ = after(torch.from_numpy(new.encode(text).astype(np.int64))[:, None])
    old_of_new = match(old, new).old_of_new
    torch.testing.assert_close(two[..., old_of_new >= 0], one[..., old_of_new[old_of_new >= 0]], rtol=1e-6, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("config", FORMS, ids=lambda c: f"{c.cell} {c.block} {c.tied}")
def test_new_characters_change_nothing_of_what_is_known(config):
    """They share the unknown token's probability with it and are read as it was: the loss of a known token is the same,
    after new ones too."""
    old = train("characters", ["潮起潮落 the tide"])
    new = old.joined(train("characters", ["".join(map(chr, range(0x5000, 0x5200)))]))
    before, after = models(config, old, new)
    text = "潮起\u5000 the\u5001\u5002 tide 潮落"
    known = torch.tensor([character not in "\u5000\u5001\u5002" for character in text])[1:, None].float()

    def loss(model, tokenizer):
        ids = torch.from_numpy(tokenizer.encode(text).astype(np.int64))[:, None]
        return float(model.loss(ids[:-1], ids[1:], known)[0])

    # the softmax's sum has V terms more, each rounded once
    rounding = new.vocabulary_size * float(np.finfo(np.float32).eps)
    assert loss(after, new) == pytest.approx(loss(before, old), rel=rounding)


def test_a_new_token_that_old_ones_spell_starts_from_their_mean():
    """Of pairs of bytes nothing is unknown: what is new is a longer piece of what is known."""
    old, new = train("bpe", ["tide tide tide moon moon"], 262), train("bpe", ["tidemoon " * 9], 264)
    found, config = match(old, new), FORMS[1]
    tensors = random_tensors(config, old.vocabulary_size)
    after = transferred(tensors, found)
    assert found.parts
    for token, parts in found.parts.items():
        assert b"".join(map(old.token_bytes, parts)) == new.token_bytes(token)
        wanted = tensors["embedding.weight"][parts].mean(axis=0)
        np.testing.assert_allclose(after["embedding.weight"][token], wanted, rtol=1e-6, atol=1e-6)
        bias = tensors["output.bias"][parts].mean() - np.log(found.added)
        np.testing.assert_allclose(after["output.bias"][token], bias, rtol=1e-5, atol=1e-6)
