"""What a run will come to: that it stays within the bounds that are said."""

from __future__ import annotations

import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tidegate.training import forecast
from tidegate.training.forecast import Ahead, Forecast, Pace, amount, clock, duration
from tidegate.training.schedule import Horizon
from tidegate.training.view import TerminalView


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 seconds"), (89, "89 seconds"), (90, "2 minutes"), (600, "10 minutes"), (7200, "2.0 hours")],
)
def test_durations(seconds, said):
    assert duration(seconds) == said


def test_amounts():
    assert [amount(n) for n in (92_417, 999_400, 1e6, 1.25e9)] == [
        "92,000",
        "999,000",
        "1.0 million",
        "1,250.0 million",
    ]


def test_the_clock_names_the_day_where_it_is_another(monkeypatch):
    noon = time.mktime((2026, 11, 25, 12, 0, 0, 0, 0, -1))
    monkeypatch.setattr(forecast.time, "time", lambda: noon)
    assert clock(90 * 60) == "13:30"
    assert clock(24 * 3600) == "Thursday 26 November, 12:00"


def test_the_sentence_tells_tokens_passes_and_times(monkeypatch):
    noon = time.mktime((2026, 11, 25, 12, 0, 0, 0, 0, -1))
    monkeypatch.setattr(forecast.time, "time", lambda: noon)
    said = Forecast(24_100.4, 600, 14.2e6, 3.14).sentence(10)
    assert said == (
        "This machine trains on about 24,100 tokens per second: in 10 minutes on 12.1 million to 16.3 million tokens, "
        "3.1 passes over the text.\nFirst sample after about 60 seconds; done at about 12:10."
    )


def test_the_speed_is_that_of_the_steps_alone():
    pace = Pace(first_tokens=1000, first_elapsed=10.0)
    pace.evaluated(5.0)
    assert pace.tokens_per_second(3000, elapsed=25.0) == 2000 / 10
    assert pace.evaluation_fraction(25.0) == 5 / 15


@given(st.floats(10, 1e5), st.floats(0, 0.1), st.floats(0.9, 1.1), st.floats(0.05, 0.9))
def test_a_run_by_the_clock_ends_within_its_forecast(speed, evaluations, change, done):
    """Whatever the evaluations take, up to a tenth, and where the speed changes by a tenth at most."""
    horizon = Horizon(None, 600.0)
    elapsed = 600 * done
    read = 0.9 * elapsed * speed
    ahead = forecast.forecast(horizon, 10, int(read), elapsed, speed)
    reached = int(read) + (600 - elapsed) * (1 - evaluations) * speed * change
    assert ahead.tokens[0] <= reached <= ahead.tokens[1]
    assert ahead.seconds[0] == ahead.seconds[1] == 600 - elapsed


@given(st.integers(1, 99), st.floats(10, 1e5), st.floats(0, 0.1), st.floats(0.9, 1.1))
def test_a_run_of_steps_ends_within_its_forecast(step, speed, evaluations, change):
    ahead = forecast.forecast(Horizon(100, None), step, step * 64, 1.0, speed)
    taken = (100 - step) * 64 / (speed * change) * (1 + evaluations)
    assert ahead.seconds[0] <= taken <= ahead.seconds[1]
    assert ahead.tokens == (6400, 6400)


def test_the_sentence_of_a_running_run(monkeypatch):
    noon = time.mktime((2026, 11, 25, 12, 0, 0, 0, 0, -1))
    monkeypatch.setattr(forecast.time, "time", lambda: noon)
    by_clock = Ahead((540, 540), (400_000, 600_000)).sentence(60)
    assert by_clock == "At this speed the run ends at about 12:10, after 400,000 to 600,000 tokens."
    by_steps = Ahead((500, 740), (64_000, 64_000)).sentence(0)
    assert by_steps == "At this speed the run ends between 12:08 and 12:12, after 64,000 tokens."


def step(elapsed, progress, tokens):
    return {
        "event": "step", "step": 10, "loss": 2.0, "tokens_a_second": tokens / elapsed,
        "elapsed": elapsed, "progress": progress, "tokens": tokens,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("events", "count"),
    [
        ([step(1, 0.01, 10_000)], 0),  # too early to know
        ([step(1, 0.01, 1_000), step(7, 0.011, 11_000), step(8, 0.012, 12_000)], 1),
        ([step(1, 0.4, 1_000), step(7, 1.0, 10_000)], 0),
        ([step(500, 0.8, 1_000), step(590, 0.99, 10_000)], 0),  # done before one has read it
    ],
)
def test_the_end_is_forecast_once_where_it_is_worth_it(events, count):
    console = Console(file=io.StringIO(), width=200)
    view = TerminalView(console)
    view.expect(Horizon(None, 600.0), 0.0)
    for event in events:
        view.take(event)
    view.close()
    assert console.file.getvalue().count("At this speed the run ends at about") == count
