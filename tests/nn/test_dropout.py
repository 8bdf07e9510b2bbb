"""Variational dropout: one mask a window and lane, drawn from (seed, step, site) alone."""

from __future__ import annotations

import torch

from tidegate.nn.dropout import DropoutMasks, mix


def test_one_mask_for_all_steps_another_for_each_lane():
    y = DropoutMasks(0.5, seed=1, step=2).apply(torch.ones(6, 4, 64), site=0)
    assert torch.equal(y, y[:1].expand_as(y))
    assert not torch.equal(y[:, 0], y[:, 1])
    assert set(y.unique().tolist()) == {0.0, 2.0}


def test_masks_depend_on_seed_step_and_site_alone():
    x = torch.ones(2, 3, 32)
    base = DropoutMasks(0.3, 7, 11).apply(x, 1)
    torch.rand(5)  # the global generator has no part in it
    assert torch.equal(DropoutMasks(0.3, 7, 11).apply(x, 1), base)
    for other in (
        DropoutMasks(0.3, 8, 11).apply(x, 1),
        DropoutMasks(0.3, 7, 12).apply(x, 1),
        DropoutMasks(0.3, 7, 11).apply(x, 2),
    ):
        assert not torch.equal(other, base)


def test_first_lanes_keep_their_masks_in_a_wider_run():
    narrow = DropoutMasks(0.5, 3, 5).apply(torch.ones(1, 2, 16), 0)
    wide = DropoutMasks(0.5, 3, 5).apply(torch.ones(1, 6, 16), 0)
    assert torch.equal(wide[:, :2], narrow)


def test_the_mean_is_kept():
    y = DropoutMasks(0.25, 0, 0).apply(torch.ones(1, 1000, 100), 0)
    # 100,000 independent units of variance 1/3: six standard deviations are 0.011
    assert abs(y.mean().item() - 1) < 0.011


def test_no_dropout_is_the_identity():
    x = torch.randn(2, 2, 4)
    assert DropoutMasks(0.0, 0, 0).apply(x, 0) is x


def test_near_seeds_are_mixed_apart():
    assert len({mix(a, b, c) for a in range(10) for b in range(10) for c in range(3)}) == 300
