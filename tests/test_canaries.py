"""Break the training half on purpose and want red: a suite that cannot fail proves nothing.

(The theory's own canaries are in tests/theory/test_canaries.py.)
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tidegate.nn import composite
from tidegate.theory.state import HiddenState, LSTMState

from .native.cases import by_core, by_theory, check, random_case
from .native.plain_core import RememberingCore
from .nn import test_sequence

RIGHT = composite._run_segment


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
    monkeypatch.setattr(composite, "_run_segment", broken)
    with pytest.raises(AssertionError):
        test_sequence.test_forward_and_backward_agree_with_the_theory(cell, (5, 3, 4, 7), False)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_forgotten_reset_is_found(monkeypatch, cell):
    monkeypatch.setattr(composite, "_reset", lambda state, fresh: state)
    with pytest.raises(AssertionError):
        test_sequence.test_a_fresh_lane_forgets_all_that_was_before(cell)


def test_a_lost_state_is_found(monkeypatch):
    monkeypatch.setattr(
        composite, "_run_segment", lambda cell, x, state, w: RIGHT(cell, x, type(state)(*(s * 0 for s in state)), w)
    )
    with pytest.raises(AssertionError):
        test_sequence.test_two_windows_with_carried_state_are_one_long_window()


# ---- The native path: the same bugs in a core ------------------------------------------------------------------------


class Broken(RememberingCore):
    """The stand-in core with a bug; its arguments are those of `tidegate._core`."""

    def __init__(self, forward=None, backward=None):
        self.break_forward, self.break_backward = forward, backward

    def sequence_forward(self, *inputs):
        super().sequence_forward(*(self.break_forward(*inputs) if self.break_forward else inputs))

    def sequence_backward(self, *inputs):
        super().sequence_backward(*inputs)
        if self.break_backward:
            self.break_backward(*inputs)


def with_input(index, change):
    """Break one of forward's inputs: cell, x, h_0, c_0, weight_ih, weight_hh, bias_ih, bias_hh, fresh, lengths."""

    def broken(*inputs):
        return *inputs[:index], None if inputs[index] is None else change(inputs[index]), *inputs[index + 1 :]

    return broken


def swapped_h_0_and_c_0(*inputs):
    return *inputs[:2], *((inputs[3], inputs[2]) if inputs[3] is not None else (-inputs[2], None)), *inputs[4:]


def without_its_first_rows(gradient):
    """Zero a fourth of a gradient: of a weight, one gate's rows or some of them; else some steps or lanes."""
    gradient[: (len(gradient) + 3) // 4] = 0


BACKWARD = {"d_x": 13, "d_h_0": 14, "d_weight_ih": 16, "d_weight_hh": 17, "d_bias_ih": 18, "d_bias_hh": 19}
BROKEN = {
    "h_0 and c_0 swapped": Broken(swapped_h_0_and_c_0),
    "bias_hh forgotten": Broken(with_input(7, lambda b: b * 0)),
    "bias_ih forgotten": Broken(with_input(6, lambda b: b * 0)),
    "the first step skipped": Broken(with_input(1, lambda x: np.concatenate([x[:1] * 0, x[1:]]))),
    "resets forgotten": Broken(with_input(8, lambda fresh: fresh * False)),
    "lengths forgotten": Broken(with_input(9, lambda lengths: lengths * 0 + lengths.max())),
    "h_0 forgotten": Broken(with_input(2, lambda h: h * 0)),
} | {
    f"no {name} in the first rows": Broken(backward=lambda *inputs, k=k: without_its_first_rows(inputs[k]))
    for name, k in BACKWARD.items()
}


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "gru_reset_before"])
@pytest.mark.parametrize("bug", BROKEN)
def test_a_broken_core_is_found(cell, bug):
    case = random_case(cell, 5, 4, 3, 7, fresh=True, lengths=True)
    case.fresh[0], case.lengths[:2] = False, 5
    found = by_core(RememberingCore(), case)
    check(found, by_theory(case), case.tolerance, case)
    found = by_core(BROKEN[bug], case)
    with pytest.raises(AssertionError):
        check(found, by_theory(case), case.tolerance, case)


def test_a_core_that_writes_too_little_is_found():
    """Buffers come in full of NaN."""
    case = random_case("lstm", 5, 4, 3, 7)
    core = Broken(backward=lambda *inputs: inputs[BACKWARD["d_bias_ih"]].__setitem__(slice(3), np.nan))
    with pytest.raises(AssertionError):
        check(by_core(core, case), by_theory(case), case.tolerance, case)
