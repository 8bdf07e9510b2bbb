"""The conditional random field against every sequence there is, and PyTorch's against the theory's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tidegate.nn.crf import CRF, FORBIDDEN
from tidegate.theory.crf import Chain, best, log_partition, score


def random_chain(K, seed, forbid=False):
    rng = np.random.default_rng(seed)
    chain = Chain(rng.normal(size=(K, K)), rng.normal(size=K), rng.normal(size=K))
    if forbid:
        chain.transitions[rng.random((K, K)) < 0.3] = -np.inf
        chain.start[0] = chain.end[K - 1] = -np.inf
    return chain, rng


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 99), st.booleans())
def test_partition_and_likeliest_are_those_of_all_sequences(K, T, seed, forbid):
    chain, rng = random_chain(K, seed, forbid)
    emissions = 2 * rng.normal(size=(T, K))
    every = {tags: score(emissions, np.array(tags), chain) for tags in itertools.product(range(K), repeat=T)}
    scores = np.array(list(every.values()))
    if not np.isfinite(scores).any():  # all is forbidden
        assert log_partition(emissions, chain) == -np.inf
        return
    expected = np.log(np.exp(scores - scores.max()).sum()) + scores.max()
    assert log_partition(emissions, chain) == pytest.approx(expected, abs=1e-9)
    assert every[tuple(best(emissions, chain).tolist())] == pytest.approx(scores.max(), abs=1e-9)


def torch_crf(chain):
    K = len(chain.start)
    crf = CRF(([True] * K, [[True] * K for _ in range(K)], [True] * K)).double()
    for parameter, value in zip((crf.transitions, crf.start, crf.end), chain, strict=True):
        parameter.data = torch.from_numpy(value)
    return crf


def test_losses_of_padded_sequences_are_those_of_the_theory():
    chain, rng = random_chain(4, 0)
    lengths = [5, 1, 3]
    emissions, tags = rng.normal(size=(5, 3, 4)), rng.integers(0, 4, (5, 3))
    expected = sum(
        log_partition(emissions[:n, b], chain) - score(emissions[:n, b], tags[:n, b], chain)
        for b, n in enumerate(lengths)
    )
    crf = torch_crf(chain)
    loss = crf.loss(torch.from_numpy(emissions), torch.from_numpy(tags), torch.tensor(lengths))
    assert loss.item() == pytest.approx(expected, abs=1e-9)
    emissions[3:, 2] = 99  # beyond an end
    tags[1:, 1] = 99
    again = crf.loss(torch.from_numpy(emissions), torch.from_numpy(tags), torch.tensor(lengths))
    assert again.item() == pytest.approx(expected, abs=1e-9)


def test_its_gradient():
    chain, rng = random_chain(3, 1)
    crf = torch_crf(chain)
    emissions = torch.from_numpy(rng.normal(size=(4, 2, 3))).requires_grad_()
    tags, lengths = torch.from_numpy(rng.integers(0, 3, (4, 2))), torch.tensor([4, 2])
    assert torch.autograd.gradcheck(lambda e: crf.loss(e, tags, lengths), emissions)
    parameters = [crf.transitions, crf.start, crf.end]
    gradients = torch.autograd.grad(crf.loss(emissions, tags, lengths), parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        for place in np.ndindex(*parameter.shape):
            with torch.no_grad():
                parameter[place] += 1e-6
                up = crf.loss(emissions, tags, lengths).item()
                parameter[place] -= 2e-6
                down = crf.loss(emissions, tags, lengths).item()
                parameter[place] += 1e-6
            assert (up - down) / 2e-6 == pytest.approx(gradient[place].item(), abs=1e-6)


def test_what_is_forbidden_is_never_likeliest_and_a_wrong_target_has_a_loss():
    crf = CRF(([True, False], [[True, True], [False, True]], [True, True]))
    transitions, start, _ = crf.scores()
    assert transitions[1, 0] == start[1] == FORBIDDEN
    emissions = torch.tensor([[[0.0, 5.0]], [[5.0, 0.0]]])
    chain = Chain(*(part.detach().numpy() for part in crf.scores()))
    assert best(emissions[:, 0].numpy(), chain).tolist() == [0, 0]
    loss = crf.loss(emissions, torch.tensor([[1], [0]]), torch.tensor([2]))
    assert 1e3 < loss.item() < 1e6
    loss.backward()
    assert torch.isfinite(crf.transitions.grad).all()
