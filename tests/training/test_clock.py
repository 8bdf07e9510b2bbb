"""The clock of a run: never backwards, still while the process is stopped, though that be for hours."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.training.clock import PAUSE_SECONDS, TrainingClock

from .conftest import Recorder, small_loop

HOURS = 3 * 3600.0


class Times:
    """A clock whose times are told beforehand; the last goes on."""

    def __init__(self, *times: float) -> None:
        self.times = list(times)

    def __call__(self) -> float:
        return self.times.pop(0) if len(self.times) > 1 else self.times[0]


def test_it_counts_on_from_what_was_trained_before():
    clock = TrainingClock(100.0, Times(5.0, 7.0, 7.5), Times(0.0, 2.0, 2.5))
    assert [clock.elapsed(), clock.elapsed()] == [102.0, 102.5]


def test_a_stop_of_hours_does_not_count():
    clock = TrainingClock(10.0, Times(0.0, 1.0, 1.0 + HOURS, 2.0 + HOURS), Times(0.0, 1.0, 1.5, 2.5))
    assert [clock.elapsed(), clock.elapsed(), clock.elapsed()] == [11.0, 11.5, 12.5]
    assert clock.pause() == HOURS - 0.5
    assert clock.pause() == 0.0


def test_a_long_step_that_computes_counts():
    clock = TrainingClock(0.0, Times(0.0, HOURS), Times(0.0, HOURS * 1.9))
    assert clock.elapsed() == HOURS
    assert clock.pause() == 0.0


def test_a_short_wait_counts():
    clock = TrainingClock(0.0, Times(0.0, PAUSE_SECONDS), Times(0.0))
    assert clock.elapsed() == PAUSE_SECONDS


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=2))
def test_it_never_goes_back(times):
    clock = TrainingClock(0.0, Times(*(now for now, _ in times)), Times(*(busy for _, busy in times)))
    found = [0.0, *(clock.elapsed() for _ in times)]
    assert found == sorted(found)


@pytest.mark.parametrize("jump", [HOURS, -HOURS])
def test_a_run_of_minutes_trains_its_minutes_whatever_the_clock_does(prepared, jump):
    """Stopped or set by hours after its tenth step, the run goes on to its half minute, and says so."""
    ticks = itertools.count()

    def now() -> float:
        tick = next(ticks)
        return tick / 10 + (jump if tick > 10 else 0.0)

    recorder = Recorder()
    loop = small_loop(prepared, recorder, clock=now, minutes=0.5)
    loop.computed = itertools.count(0, 0.1).__next__
    assert loop.run()
    assert loop.state.progress.step > 50
    assert loop.state.progress.elapsed < 40
    seconds = [e["elapsed"] for e in recorder.of("step")]
    assert seconds == sorted(seconds)
    pauses = recorder.of("pause")
    assert len(pauses) == (jump > 0)
    assert all("180 minutes" in pause["message"] for pause in pauses)
