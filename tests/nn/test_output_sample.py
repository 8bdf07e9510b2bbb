"""A sample of the vocabulary: its chances, what the estimate is in the mean, and its gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tidegate.config import ModelConfig
from tidegate.models.language_model import LanguageModel
from tidegate.nn.output_sample import OutputSampler, chances

COUNTS = np.array([1000, 400, 90, 50, 20, 9, 5, 3, 2, 1, 0, 0])


@given(counts=st.lists(st.integers(0, 10**9), min_size=1, max_size=60), size=st.integers(1, 80))
@settings(max_examples=300, deadline=None)
def test_chances_add_up_and_the_more_frequent_is_the_likelier(counts: list[int], size: int) -> None:
    found = chances(np.array(counts), size)
    assert (found > 0).all()
    assert (found <= 1).all()
    assert found.sum() == pytest.approx(min(size, len(counts)), rel=1e-9)
    order = np.argsort(counts, kind="stable")
    assert (np.diff(found[order]) >= 0).all()
    free = found < 1
    if free.any():  # in proportion, where it is no certainty
        ratio = found[free] / (np.array(counts)[free] + 1)
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)


def test_a_sample_has_the_targets_where_it_says() -> None:
    targets = torch.tensor([[11, 0], [7, 11]])
    sampler = OutputSampler(COUNTS, 4)
    sample = sampler.draw(targets, 3)
    assert torch.equal(sample.tokens[sample.targets], targets)
    assert torch.equal(sample.tokens, sample.tokens.unique())
    assert (sample.correction[sample.targets] == 0).all()
    again, other = sampler.draw(targets, 3), [sampler.draw(targets, seed).tokens.tolist() for seed in range(20)]
    assert torch.equal(sample.tokens, again.tokens)
    assert len({tuple(tokens) for tokens in other}) > 5
    assert 0 in sample.tokens, "the most frequent is there always"


def test_the_sum_over_the_vocabulary_is_right_in_the_mean() -> None:
    """Without the correction it is not, by far more than what chance leaves."""
    logits = torch.randn(len(COUNTS), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    targets, sampler = torch.tensor([[2, 9]]), OutputSampler(COUNTS, 5)
    samples = [sampler.draw(targets, seed) for seed in range(4000)]
    sums = torch.stack([(logits[s.tokens] + s.correction).exp().sum() for s in samples])
    bare = torch.stack([logits[s.tokens].exp().sum() for s in samples])
    error = 5 * sums.std() / len(samples) ** 0.5  # five standard errors of the mean
    assert abs(sums.mean() - logits.exp().sum()) < error
    assert abs(bare.mean() - logits.exp().sum()) > 5 * error


@pytest.mark.parametrize("tied", [False, True])
def test_the_loss_is_the_softmax_over_the_sample(tied: bool) -> None:
    """Against all logits, those outside set to minus infinity; gradients of all weights too."""
    torch.manual_seed(0)
    model = LanguageModel(ModelConfig(hidden_size=8, tied=tied), len(COUNTS))
    inputs, targets = torch.randint(0, 12, (5, 3)), torch.randint(0, 12, (5, 3))
    weight = torch.rand(5, 3)
    sample = OutputSampler(COUNTS, 4).draw(targets, 0)
    assert 4 < len(sample.tokens) < 12
    found, _ = model.loss(inputs, targets, weight, sample=sample)
    outside = torch.full((12,), -torch.inf).index_copy(0, sample.tokens, sample.correction)
    logits = model(inputs)[0] + outside
    wanted = (F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none") * weight.flatten()).sum()
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    parameters = list(model.parameters())
    for one, other in zip(torch.autograd.grad(found, parameters), torch.autograd.grad(wanted, parameters), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_sample_of_all_is_the_whole() -> None:
    torch.manual_seed(0)
    model = LanguageModel(ModelConfig(hidden_size=8), len(COUNTS))
    inputs, targets = torch.randint(0, 12, (5, 3)), torch.randint(0, 12, (5, 3))
    sample = OutputSampler(COUNTS, len(COUNTS)).draw(targets, 0)
    assert torch.equal(model.loss(inputs, targets, sample=sample)[0], model.loss(inputs, targets)[0])
