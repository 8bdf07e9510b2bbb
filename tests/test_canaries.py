"""Break the training half on purpose and want red: a suite that cannot fail proves nothing.

(The theory's own canaries are in tests/theory/test_canaries.py.)
"""

from __future__ import annotations

import pytest
import torch

from tidegate.nn import sequence
from tidegate.theory.state import HiddenState, LSTMState

from .nn import test_sequence

RIGHT = sequence._run_segment


def swapped_states(cell, x, state, weights):
    if cell == "lstm":
        y, last = RIGHT(cell, x, LSTMState(state.c, state.h), weights)
        return y, last
    return RIGHT(cell, x, HiddenState(-state.h), weights)


def swapped_gates(cell, x, state, weights):
    H = state.h.shape[1]
    order = torch.arange(weights.weight_ih.shape[0])
    if len(order) == H:
        return RIGHT(cell, x, state, weights._replace(weight_ih=-weights.weight_ih))
    order[:H], order[H : 2 * H] = order[H : 2 * H].clone(), order[:H].clone()
    return RIGHT(cell, x, state, weights._replace(weight_ih=weights.weight_ih[order]))


def skipped_first_step(cell, x, state, weights):
    y, last = RIGHT(cell, x, state, weights)
    return torch.cat([y[:1] * 0, y[1:]]), last


def dropped_bias(cell, x, state, weights):
    return RIGHT(cell, x, state, weights._replace(bias_hh=weights.bias_hh * 0))


def detached_weight(cell, x, state, weights):
    """The weight drop bug: right outputs, but no gradient to W_hh."""
    y, last = RIGHT(cell, x, state, weights._replace(weight_hh=weights.weight_hh.detach()))
    return y + 0 * weights.weight_hh.sum(), last


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "gru_reset_before"])
@pytest.mark.parametrize("broken", [swapped_states, swapped_gates, skipped_first_step, dropped_bias, detached_weight])
def test_a_broken_cell_is_found(monkeypatch, cell, broken):
    monkeypatch.setattr(sequence, "_run_segment", broken)
    with pytest.raises(AssertionError):
        test_sequence.test_forward_and_backward_agree_with_the_theory(cell, (5, 3, 4, 7), False)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_forgotten_reset_is_found(monkeypatch, cell):
    monkeypatch.setattr(sequence, "_reset", lambda state, fresh: state)
    with pytest.raises(AssertionError):
        test_sequence.test_a_fresh_lane_forgets_all_that_was_before(cell)


def test_a_lost_state_is_found(monkeypatch):
    monkeypatch.setattr(
        sequence, "_run_segment", lambda cell, x, state, w: RIGHT(cell, x, type(state)(*(s * 0 for s in state)), w)
    )
    with pytest.raises(AssertionError):
        test_sequence.test_two_windows_with_carried_state_are_one_long_window()
