"""What a run will come to, as it is said; and that the terminal foretells the end once, when it is worth it."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from tidegate.training import forecast
from tidegate.training.forecast import Forecast, amount, clock, duration
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
    said = Forecast(24_100.4, 600, 14.2e6, 3.14, 120).sentence(10)
    assert said == (
        "Here it reads about 24,100 tokens a second: in 10 minutes 14.2 million tokens, 3.1 passes over the text.\n"
        "First sample after about 60 seconds; done at about 12:12."
    )


def step(elapsed, progress, tokens):
    return {
        "event": "step", "step": 1, "loss": 2.0, "tokens_a_second": tokens / elapsed,
        "elapsed": elapsed, "progress": progress, "tokens": tokens,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("events", "wanted"),
    [
        ([step(1, 0.01, 10_000)], None),  # too early to know
        ([step(6, 0.01, 10_000), step(7, 0.011, 11_000)], r"\d\d:\d\d, after 1\.0 million tokens\."),
        ([step(6, 0.5, 10_000)], None),  # done before one has read it
        ([step(6, 0.0, 0)], None),
    ],
)
def test_the_end_is_foretold_once(events, wanted):
    console = Console(file=io.StringIO(), width=200)
    view = TerminalView(console)
    for event in events:
        view.take(event)
    view.close()
    found = re.findall(r"is done at about (.*)", console.file.getvalue())
    assert len(found) == (wanted is not None)
    assert wanted is None or re.fullmatch(wanted, found[0])
