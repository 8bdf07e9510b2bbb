"""The loop: it learns, ends where it should, goes back from a broken step, and resumes as if it had never stopped."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from tidegate import native
from tidegate.errors import TidegateError
from tidegate.models.language_model import LanguageModel
from tidegate.training import checkpoint, curves, run
from tidegate.training.loop import MAX_ROLLBACKS
from tidegate.training.run_folder import RunFolder
from tidegate.training.state import capture, restore

from .conftest import Recorder, small_loop


def losses(recorder):
    return {e["step"]: e["loss"] for e in recorder.of("step")}


def weights(loop):
    return {n: t.clone() for n, t in loop.state.model.named_parameters()}


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "gru_reset_before"])
def test_it_learns(prepared, cell):
    recorder = Recorder()
    small_loop(prepared, recorder, cell=cell, steps=150, patience=0, learning_rate=1e-2).run()
    found = losses(recorder)
    assert len(found) == 150
    assert found[1] > 3.2  # ln of about thirty characters
    assert sum(found[s] for s in range(141, 151)) / 10 < found[1] - 0.3


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "gru_reset_before"])
def test_the_core_learns_what_pytorch_learns(prepared, cell, monkeypatch):
    """The same run by the native core and by PyTorch's operators: nearly the same losses."""
    if native.core() is None:
        pytest.skip("the native core is not here")
    curves = []
    for _ in range(2):
        recorder = Recorder()
        small_loop(prepared, recorder, cell=cell, steps=30, patience=0).run()
        curves.append(list(losses(recorder).values()))
        monkeypatch.setattr(native, "core", lambda: None)
    assert curves[0] != curves[1], "the core did not run"
    # Adam divides by the gradient's size, so that the last bits of a small gradient count fully; thirty steps keep it
    assert curves[0] == pytest.approx(curves[1], rel=1e-3)


@pytest.mark.parametrize("settings", [{"steps": 7}, {"tokens": 7 * 32}, {"tokens": 7 * 32 - 5}])
def test_a_horizon_in_steps_or_tokens_ends_there(prepared, settings):
    recorder = Recorder(validation=[1.0])
    loop = small_loop(prepared, recorder, evaluations=3, **settings)
    assert loop.run()
    assert loop.state.progress.step == 7
    assert [e["step"] for e in recorder.of("evaluation")] == [3, 5, 7]


def test_a_horizon_in_epochs_reads_the_text_so_often(prepared):
    loop = small_loop(prepared, Recorder(), epochs=2)
    loop.run()
    assert (loop.state.progress.epoch, loop.state.progress.window) == (2, 0)


def test_a_horizon_in_minutes_ends_by_the_clock_and_so_does_its_schedule(prepared):
    ticks = itertools.count()
    recorder = Recorder()
    loop = small_loop(
        prepared, recorder, clock=lambda: next(ticks) / 10, minutes=0.5, schedule="cosine", final_rate=0.1
    )
    loop.run()
    steps = recorder.of("step")
    assert loop.state.progress.elapsed >= 30
    assert steps[-2]["elapsed"] < 30
    assert steps[-1]["rate"] == pytest.approx(0.1 * loop.config.learning_rate, rel=0.05)


def test_the_best_weights_are_kept_and_patience_ends_the_run(prepared):
    recorder = Recorder(validation=[3.0, 2.0, 2.5, 2.6, 2.7])
    loop = small_loop(prepared, recorder, steps=100, evaluations=10, patience=3)
    assert loop.run()
    assert loop.state.progress.step == 50
    assert loop.state.progress.best_loss == 2.0
    assert loop.state.progress.best_step == 20
    assert "step 20" in recorder.of("early_stop")[0]["message"]
    assert not torch.equal(loop.state.best["output.weight"], loop.state.model.output.weight)
    at_20 = next(c for c in recorder.saved if c.numbers["step"] == 20)
    assert torch.equal(loop.state.best["output.weight"], at_20.tensors["model/output.weight"])


def test_patience_zero_never_stops(prepared):
    loop = small_loop(prepared, Recorder(validation=[1.0, 2.0]), steps=20, evaluations=20, patience=0)
    loop.run()
    assert loop.state.progress.step == 20


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_goes_back_and_halves_the_rate(prepared, monkeypatch, value):
    """At step 130 once: back to step 100, at half the rate, said so, and no trace in the weights."""
    broken = iter([130])
    next_broken = next(broken)
    right = LanguageModel.loss

    def sometimes(model, *inputs):
        nonlocal next_broken
        nats, state = right(model, *inputs)
        if loop.state.progress.step == next_broken:
            next_broken = next(broken, None)
            return nats * value, state
        return nats, state

    monkeypatch.setattr(LanguageModel, "loss", sometimes)
    recorder = Recorder()
    loop = small_loop(prepared, recorder, steps=140, evaluations=1)
    assert loop.run()
    (rollback,) = recorder.of("rollback")
    assert "Step 131" in rollback["message"]
    assert "Back to step 100, at 0.5 of the learning rate" in rollback["message"]
    first, second = (e for e in recorder.of("step") if e["step"] == 101)
    assert second["rate"] == pytest.approx(first["rate"] / 2)
    assert second["loss"] == first["loss"]  # the same state, the same window, the same masks
    assert all(torch.isfinite(w).all() for w in weights(loop).values())


def test_a_run_that_never_recovers_ends_with_a_sentence(prepared, monkeypatch):
    right = LanguageModel.loss

    def never(model, *inputs):
        nats, state = right(model, *inputs)
        return nats * math.nan, state

    monkeypatch.setattr(LanguageModel, "loss", never)
    with pytest.raises(TidegateError, match=rf"not finite {MAX_ROLLBACKS + 1} times.*--learning-rate"):
        small_loop(prepared, Recorder(), steps=10).run()


REGULARIZED = {"input_dropout": 0.2, "output_dropout": 0.1, "embedding_dropout": 0.1, "weight_dropout": 0.3} | {
    "ar": 2.0, "tar": 1.0, "ema": 0.9, "output_sample": 9,
}  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "settings"), [("lstm", {}), ("gru_reset_before", {}), ("lstm", REGULARIZED)], ids=["lstm", "gru", "all"]
)
@pytest.mark.parametrize("stop_at", [1, 37, 100, 113])
def test_resumed_is_never_stopped(prepared, tmp_path, cell, settings, stop_at):
    """Every later loss and the last weights are equal to the last bit, through the file on disk."""
    whole_events, whole = Recorder(validation=[2.0]), None
    whole = small_loop(prepared, whole_events, cell=cell, steps=150, patience=0, **settings)
    whole.run()

    first = Recorder(validation=[2.0])
    stopped = small_loop(
        prepared,
        first,
        cell=cell,
        steps=150,
        patience=0,
        interrupted=lambda: stopped.state.progress.step == stop_at,
        **settings,
    )
    assert not stopped.run()
    checkpoint.save(tmp_path / "c.safetensors", first.saved[-1])

    second = Recorder(validation=[2.0])
    resumed = small_loop(prepared, second, cell=cell, steps=150, patience=0, **settings)
    restore(resumed.state, checkpoint.load(tmp_path / "c.safetensors", resumed.state, resumed.config.evaluations))
    resumed.events.told = resumed.state.progress.events
    assert resumed.run()

    assert losses(first) | losses(second) == losses(whole_events)
    assert min(losses(second)) == stop_at + 1
    assert all(torch.equal(w, weights(resumed)[n]) for n, w in weights(whole).items())
    assert all(torch.equal(w, resumed.state.average[n]) for n, w in whole.state.average.items())
    assert bool(whole.state.average) == ("ema" in settings)
    assert resumed.state.progress == whole.state.progress


def test_a_capture_is_not_touched_by_what_comes_after(prepared):
    loop = small_loop(prepared, Recorder(), steps=5)
    before = capture(loop.state)
    kept = {n: t.clone() for n, t in before.tensors.items()}
    restore(loop.state, before)
    loop.run()
    assert all(torch.equal(t, kept[n]) for n, t in before.tensors.items())


def test_a_fresh_batch_forgets_the_carried_state(prepared):
    """State must not leak over an epoch's end."""
    loop = small_loop(prepared, Recorder(), steps=1)
    batch = loop.feed.read(loop.state.progress.cursor)
    model = loop.state.model
    noisy = tuple(type(layer)(*(torch.randn_like(s) for s in layer)) for layer in loop.state.carried)
    assert torch.equal(model(batch.inputs, noisy, batch.fresh)[0], model(batch.inputs, None, batch.fresh)[0])


def test_a_validation_loss_that_is_not_finite_is_no_best(prepared, tmp_path):
    recorder = Recorder(validation=[math.nan, 2.0, math.inf])
    loop = small_loop(prepared, recorder, steps=30, evaluations=3)
    loop.run()
    assert (loop.state.progress.best_loss, loop.state.progress.best_step) == (2.0, 20)
    checkpoint.save(tmp_path / "c.safetensors", recorder.saved[-1])
    assert checkpoint.load(tmp_path / "c.safetensors", loop.state, loop.config.evaluations).numbers["best_loss"] == 2.0


def test_what_is_kept_before_there_is_a_best_is_the_average(prepared, tmp_path, monkeypatch):
    loop = small_loop(prepared, Recorder(validation=[math.nan]), steps=5, ema=0.9)
    loop.run()
    assert not loop.state.best
    kept = {}
    monkeypatch.setattr(run, "write_weights", lambda path, tensors, tokenizer: kept.update(tensors))
    monkeypatch.setattr(curves, "draw_curves", lambda *_: None)
    run.RunOutside(RunFolder(tmp_path / "run"), prepared, "", 100, lambda *_: None).keep(loop.state)
    latest = loop.state.model.tensors()
    assert kept.keys() == latest.keys()
    assert all((kept[name] == weights.numpy()).all() for name, weights in loop.state.average.items())
    assert any((kept[name] != latest[name]).any() for name in latest)


def test_a_resumed_horizon_in_minutes_goes_on_with_its_clock(prepared):
    """Of thirty seconds ten were used: twenty are left, and the schedule goes on from a third."""

    def clock():
        return next(ticks) / 10

    ticks = itertools.count()
    first = Recorder()
    stopped = small_loop(
        prepared, first, clock=clock, minutes=0.5, interrupted=lambda: stopped.state.progress.elapsed > 10
    )
    assert not stopped.run()
    ticks = itertools.count(5000)  # another process, another origin of the clock
    resumed = small_loop(prepared, Recorder(), clock=clock, minutes=0.5)
    restore(resumed.state, first.saved[-1])
    resumed.run()
    assert 30 <= resumed.state.progress.elapsed < 31
    assert resumed.events.sinks[0].of("step")[0]["progress"] == pytest.approx(1 / 3, abs=0.05)


@pytest.mark.parametrize(("slow", "fewest", "most"), [(0.0, 10, 10), (40.0, 2, 4)])
def test_slow_evaluations_take_a_tenth_of_the_minutes_and_the_last_one_is_made(prepared, slow, fewest, most):
    """Of 600 seconds, a second a step: evaluations of 40 seconds wait until the ones before are a tenth of the time."""
    now = [0.0]

    def clock():
        now[0] += 0.25
        return now[0]

    class Slow(Recorder):
        def evaluate(self, state):
            now[0] += slow
            return super().evaluate(state)

    recorder = Slow(validation=[3.0])
    small_loop(prepared, recorder, clock=clock, minutes=10.0, evaluations=10, patience=0).run()
    found = recorder.of("evaluation")
    assert fewest <= len(found) <= most
    assert found[-1]["progress"] == 1
    assert all(slow * k <= 0.1 * e["elapsed"] + slow for k, e in enumerate(found[1:], 1))


def test_by_steps_no_evaluation_waits(prepared):
    """The weights that are best must be the same on another day."""
    ticks = itertools.count()
    recorder = Recorder(validation=[3.0])
    small_loop(prepared, recorder, clock=lambda: 100.0 * next(ticks), steps=40, evaluations=4, patience=0).run()
    assert [e["step"] for e in recorder.of("evaluation")] == [10, 20, 30, 40]


def test_the_last_weights_are_kept_where_that_is_asked_for(prepared):
    recorder = Recorder(validation=[2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    loop = small_loop(prepared, recorder, steps=60, evaluations=6, patience=2)
    loop.chooses = False
    assert loop.run()
    assert loop.state.progress.step == 60  # no early stop
    for name, weight in loop.state.model.named_parameters():
        assert torch.equal(loop.state.best[name], weight)


def test_the_speed_that_is_told_is_that_of_the_steps(prepared):
    now = [0.0]

    def clock():
        now[0] += 0.5
        return now[0]

    class Slow(Recorder):
        def evaluate(self, state):
            now[0] += 1000
            return super().evaluate(state)

    recorder = Slow(validation=[3.0])
    small_loop(prepared, recorder, clock=clock, steps=40, evaluations=4, patience=0).run()
    speeds = [e["tokens_a_second"] for e in recorder.of("step")]
    assert max(speeds) < 2 * min(speeds)
