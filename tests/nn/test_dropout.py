"""Dropout: one mask a window, drawn from (seed, step, site) alone; and what each kind drops."""

from __future__ import annotations

import torch

from tidegate.config import TrainingConfig
from tidegate.nn.dropout import DropoutMasks, Shares, mix


def units(x, share, seed, step, site):
    return DropoutMasks(Shares(), seed, step).units(x, share, site)


def test_one_mask_for_all_steps_another_for_each_lane():
    y = units(torch.ones(6, 4, 64), 0.5, seed=1, step=2, site=0)
    assert torch.equal(y, y[:1].expand_as(y))
    assert not torch.equal(y[:, 0], y[:, 1])
    assert set(y.unique().tolist()) == {0.0, 2.0}


def test_masks_depend_on_seed_step_and_site_alone():
    x = torch.ones(2, 3, 32)
    base = units(x, 0.3, 7, 11, 1)
    torch.rand(5)  # the global generator has no part in it
    assert torch.equal(units(x, 0.3, 7, 11, 1), base)
    for other in (
        units(x, 0.3, 8, 11, 1),
        units(x, 0.3, 7, 12, 1),
        units(x, 0.3, 7, 11, 2),
    ):
        assert not torch.equal(other, base)


def test_first_lanes_keep_their_masks_in_a_wider_run():
    narrow = units(torch.ones(1, 2, 16), 0.5, 3, 5, 0)
    wide = units(torch.ones(1, 6, 16), 0.5, 3, 5, 0)
    assert torch.equal(wide[:, :2], narrow)


def test_the_mean_is_kept():
    y = units(torch.ones(1, 1000, 100), 0.25, 0, 0, 0)
    # 100,000 independent units of variance 1/3: six standard deviations are 0.011
    assert abs(y.mean().item() - 1) < 0.011


def test_no_dropout_is_the_identity():
    x = torch.randn(2, 2, 4)
    masks = DropoutMasks(Shares(), 0, 0)
    assert masks.units(x, 0.0, 0) is x
    assert masks.words(x, torch.zeros(2, 2, dtype=torch.int64), 3) is x
    assert masks.weights(x, 0) is x


def test_near_seeds_are_mixed_apart():
    assert len({mix(a, b, c) for a in range(10) for b in range(10) for c in range(3)}) == 300


def test_a_dropped_word_is_dropped_wherever_it_stands():
    inputs = torch.tensor([[0, 1], [1, 2], [2, 0], [3, 3]])
    masks = DropoutMasks(Shares(embedding=0.5), 0, 0)
    y = masks.words(torch.ones(4, 2, 5), inputs, 4)
    by_word = [y[inputs == word] for word in range(4)]
    assert all(torch.equal(rows, rows[:1, :1].expand_as(rows)) for rows in by_word)
    assert {rows[0, 0].item() for rows in by_word} == {0.0, 2.0}


def test_weights_are_dropped_one_by_one_another_mask_a_layer_and_a_step():
    weight = torch.ones(40, 30)
    masks = DropoutMasks(Shares(weight=0.25), 3, 4)
    dropped = masks.weights(weight, 0)
    assert set(dropped.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    # 1,200 weights, each dropped with probability 1/4: six standard deviations are 90
    assert abs(int((dropped == 0).sum()) - 300) < 90
    assert torch.equal(masks.weights(weight, 0), dropped)
    assert not torch.equal(masks.weights(weight, 1), dropped)
    assert not torch.equal(DropoutMasks(Shares(weight=0.25), 3, 5).weights(weight, 0), dropped)


def test_a_dropped_weight_gets_no_gradient_and_stays_contiguous():
    weight = torch.randn(8, 6, requires_grad=True)
    dropped = DropoutMasks(Shares(weight=0.5), 0, 0).weights(weight, 0)
    assert dropped.is_contiguous()
    dropped.sum().backward()
    assert torch.equal(weight.grad == 0, dropped == 0)


def test_shares_that_are_not_set_follow_the_ordinary_dropout():
    plain, residual = (Shares.of(TrainingConfig(dropout=0.3), block) for block in ("plain", "residual"))
    assert plain == Shares(hidden=0.3, input=0.3, output=0.3)
    assert residual == Shares(hidden=0.3, input=0.3, output=0.0)
    given = TrainingConfig(
        dropout=0.3, input_dropout=0.1, output_dropout=0.2, embedding_dropout=0.4, weight_dropout=0.5
    )
    assert Shares.of(given, "plain") == Shares.of(given, "residual") == Shares(0.3, 0.1, 0.2, 0.4, 0.5)
