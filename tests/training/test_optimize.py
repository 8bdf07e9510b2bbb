"""Penalties of the activations, and the moving average of the weights."""

from __future__ import annotations

import pytest
import torch

from tidegate.models.encoder import Features
from tidegate.training.optimize import activity_penalty
from tidegate.training.state import averaged

from .conftest import Recorder, small_loop


def features(T=5, B=3, H=4):
    torch.manual_seed(0)
    last = torch.randn(T, B, H)
    return Features(torch.empty(0), (), last, last * torch.tensor([2.0, 0.0, 2.0, 2.0]))


def test_penalties_are_those_of_the_paper():
    f, fresh = features(), torch.zeros(5, 3, dtype=torch.bool)
    ar = sum(float(h) ** 2 for h in f.last_dropped.flatten()) / f.last_dropped.numel()
    tar = sum(float((f.last[t] - f.last[t - 1]).square().sum()) for t in range(1, 5)) / (4 * 3 * 4)
    assert float(activity_penalty(f, fresh, 2.0, 0.0)) == pytest.approx(2 * ar, rel=1e-5)
    assert float(activity_penalty(f, fresh, 0.0, 3.0)) == pytest.approx(3 * tar, rel=1e-5)
    assert float(activity_penalty(f, fresh, 2.0, 3.0)) == pytest.approx(2 * ar + 3 * tar, rel=1e-5)
    assert activity_penalty(f, fresh, 0.0, 0.0) == 0.0


def test_a_new_document_may_differ_from_the_one_before():
    f, fresh = features(), torch.zeros(5, 3, dtype=torch.bool)
    fresh[2, 1] = True
    pairs = [(t, b) for t in range(1, 5) for b in range(3) if (t, b) != (2, 1)]
    wanted = sum(float((f.last[t, b] - f.last[t - 1, b]).square().sum()) for t, b in pairs) / (len(pairs) * 4)
    assert float(activity_penalty(f, fresh, 0.0, 1.0)) == pytest.approx(wanted, rel=1e-5)
    assert float(activity_penalty(f, torch.ones(5, 3, dtype=torch.bool), 0.0, 1.0)) == 0.0
    assert activity_penalty(features(T=1), fresh[:1], 0.0, 1.0) == 0.0


def test_penalties_reach_the_gradient_but_not_the_loss_that_is_told(prepared):
    """The first loss is of the same weights; the gradient, and so all that follows, is another."""
    runs = []
    for settings in ({}, {"ar": 5.0}, {"tar": 5.0}):
        recorder = Recorder()
        small_loop(prepared, recorder, steps=3, **settings).run()
        runs.append([(e["loss"], e["norm"]) for e in recorder.of("step")])
    plain, *penalised = runs
    for run in penalised:
        assert run[0][0] == plain[0][0]
        assert run[0][1] != plain[0][1]
        assert run[2][0] != plain[2][0]


def test_the_average_is_that_of_the_formula(prepared):
    history = []

    def note():
        history.append({n: w.detach().clone() for n, w in loop.state.model.named_parameters()})
        return False

    loop = small_loop(prepared, Recorder(), interrupted=note, steps=40, ema=0.8)
    loop.run()
    name = "output.weight"
    expected = history[0][name].clone()
    for n, weights in enumerate(history[1:], start=2):
        decay = min(0.8, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * weights[name]
    torch.testing.assert_close(loop.state.average[name], expected)


def test_what_is_evaluated_and_kept_is_the_average(prepared):
    """And the weights that are trained on are put back."""
    recorder = Recorder(validation=[2.0])
    seen = []
    loop = small_loop(prepared, recorder, steps=20, evaluations=2, ema=0.8)
    recorder.evaluate = lambda state: seen.append(state.model.output.weight.detach().clone()) or {"validation": 2.0}
    averages = []
    loop.interrupted = lambda: averages.append(loop.state.average["output.weight"].clone()) or False
    loop.run()
    assert torch.equal(seen[-1], averages[-1])
    # the losses are equal, so that the first evaluation is the best
    assert torch.equal(loop.state.best["output.weight"], seen[0])
    assert not torch.equal(loop.state.model.output.weight, averages[-1])
    before = loop.state.model.output.weight.detach().clone()
    with averaged(loop.state):
        assert torch.equal(loop.state.model.output.weight, averages[-1])
    assert torch.equal(loop.state.model.output.weight, before)
