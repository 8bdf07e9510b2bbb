"""The training loop, from top to bottom: one step after another, and now and then an evaluation or a checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from tidegate.config import TrainingConfig
from tidegate.errors import TidegateError
from tidegate.nn.dropout import DropoutMasks
from tidegate.training.batches import Cursor
from tidegate.training.clock import TrainingClock
from tidegate.training.events import Events
from tidegate.training.forecast import Pace
from tidegate.training.optimize import Objective, Step, language_objective, train_step
from tidegate.training.schedule import Horizon, learning_rate
from tidegate.training.state import Capture, TrainState, averaged, capture, restore

GOOD_STATE_STEPS = 100
"""Steps between two states kept in memory to go back to; every checkpoint is one as well."""
EVALUATION_FRACTION = 0.1
"""Where the horizon is in minutes, an evaluation waits as long as they have taken more of the time than this."""
MAX_ROLLBACKS = 8
"""A run that finds a non-finite loss more often than this will not recover."""


class AnyFeed(Protocol):
    """Gives batches, the same at the same cursor."""

    def read(self, cursor: Cursor) -> Any:
        """Return the batch at the cursor: ``token_count``, ``cursor``, and what the objective takes."""


class Outside(Protocol):
    """What the loop asks of the world: an evaluation, a place for checkpoints."""

    def evaluate(self, state: TrainState) -> dict[str, Any]:
        """Measure and sample; return the fields of the event, among them ``validation`` (nats/token, or a text) if
        there is a validation text."""

    def keep(self, state: TrainState) -> None:
        """Write the best weights so far into the model folder."""

    def save(self, captured: Capture) -> None:
        """Write a checkpoint."""


@dataclass
class Loop:
    """One run: what it trains on, towards which horizon, and whom it tells."""

    state: TrainState
    feed: AnyFeed
    horizon: Horizon
    config: TrainingConfig
    events: Events
    outside: Outside
    interrupted: Callable[[], bool]
    """asked after every step: True ends the loop with a checkpoint"""
    clock: Callable[[], float] = time.monotonic
    computed: Callable[[], float] = time.process_time
    """CPU seconds of this process: what tells a pause from a slow step"""
    objective: Callable[[TrainState, Any, DropoutMasks, TrainingConfig], Objective] = language_objective
    """what each step goes against"""
    chooses: bool = True
    """whether the best evaluation's weights are kept; else the last one's, where too little is measured to tell"""
    _pace: Pace = field(init=False)

    def run(self) -> bool:
        """Train to the horizon, or until early stopping or an interruption. Returns whether the run is finished."""
        state, progress = self.state, self.state.progress
        good: Capture | None = capture(state)
        saved_at = self.clock()
        trained = TrainingClock(progress.elapsed, self.clock, self.computed)
        self._pace = Pace(progress.tokens, progress.elapsed)
        while not state.progress.finished:
            progress = state.progress
            done = self.horizon.progress(progress.step, progress.elapsed)
            rate = progress.rate_scale * learning_rate(self.config, progress.step, done)
            step = train_step(state, self.feed.read(progress.cursor), self.config, rate, done, self.objective)
            progress.elapsed = trained.elapsed()
            self._tell_pause(trained.pause())

            if not step.finite:
                assert good is not None
                self._go_back(good, step)
                continue
            done = self.horizon.progress(progress.step, progress.elapsed)

            # now and then: a line in the log
            if progress.step % self.config.log_every == 0:
                self._log(step, rate, done)

            # a few times over the run, and at its end: evaluate, keep the best, show a sample
            if self._is_due(done):
                began = progress.elapsed
                self._evaluate(done)
                good = None  # its memory, before the next takes as much
                good, saved_at = self._save(), self.clock()
                progress.elapsed = trained.elapsed()
                self._tell_pause(trained.pause())
                self._pace.evaluated(progress.elapsed - began)

            # every hundred steps: a good state to go back to; now and then it goes to disk
            elif (due := self.clock() - saved_at >= self.config.save_seconds) or progress.step % GOOD_STATE_STEPS == 0:
                good = None
                progress.events = self.events.told
                good = capture(state)
                if due:
                    self.outside.save(good)
                    saved_at = self.clock()

            if self.interrupted() and not progress.finished:
                self._save()
                return False
        return True

    def _is_due(self, done: float) -> bool:
        """Whether to evaluate now. By the clock, a slow evaluation makes the next one wait; by steps never: the same
        run would else find other weights best on another day."""
        due = math.floor(done * self.config.evaluations + 1e-9) > self.state.progress.evaluations
        if self.horizon.seconds is None or done >= 1:
            return due
        return due and self._pace.evaluation_fraction(self.state.progress.elapsed) <= EVALUATION_FRACTION

    def _tell_pause(self, seconds: float) -> None:
        if seconds:
            minutes = f"{seconds / 60:,.0f} minutes"
            message = f"The process stood still for {minutes}, stopped or asleep: they do not count as training time."
            self.events.tell("pause", self.state.progress.step, seconds=round(seconds, 3), message=message)

    def _log(self, step: Step, rate: float, done: float) -> None:
        p = self.state.progress
        self.events.tell(
            "step",
            p.step,
            loss=step.loss,
            norm=step.norm,
            rate=rate,
            tokens=p.tokens,
            progress=done,
            elapsed=round(p.elapsed, 3),
            tokens_a_second=self._pace.tokens_per_second(p.tokens, p.elapsed),
        )

    def _evaluate(self, done: float) -> None:
        p = self.state.progress
        p.evaluations = math.floor(done * self.config.evaluations + 1e-9)
        with averaged(self.state):
            found = self.outside.evaluate(self.state)
            weights = {n: w.detach().clone() for n, w in self.state.model.named_parameters()}
        loss = found.get("validation")
        is_best = (
            not self.chooses or loss is None or (math.isfinite(loss) and (p.best_loss is None or loss < p.best_loss))
        )
        if is_best:
            p.best_loss, p.best_step, p.since_best = loss, p.step, 0
            self.state.best = weights
        else:
            p.since_best += 1
        self.events.tell(
            "evaluation",
            p.step,
            tokens=p.tokens,
            progress=done,
            elapsed=round(p.elapsed, 3),
            best=p.best_loss if self.chooses else None,
            is_best=is_best,
            **found,
        )
        if self.config.patience and self.chooses and p.since_best >= self.config.patience and done < 1:
            p.finished = True
            message = (
                f"Stopped early: no better validation loss in {p.since_best} evaluations; "
                f"the weights of step {p.best_step} are kept."
            )
            self.events.tell("early_stop", p.step, message=message)
        if p.evaluations >= self.config.evaluations:  # the last, though rounding may leave `done` a hair below 1
            p.finished = True

    def _save(self) -> Capture:
        """Write the checkpoint first and the model folder after it, so that the folder is never ahead of what a resumed
        run knows."""
        self.state.progress.events = self.events.told
        captured = capture(self.state)
        self.outside.save(captured)
        self.outside.keep(self.state)
        return captured

    def _go_back(self, good: Capture, step: Step) -> None:
        """Return to the last good state at half the rate, and say so."""
        failed_at, rollbacks = self.state.progress.step, self.state.progress.rollbacks + 1
        scale, elapsed = self.state.progress.rate_scale / 2, self.state.progress.elapsed
        if rollbacks > MAX_ROLLBACKS:
            raise TidegateError(
                f"The loss was not finite {rollbacks} times (last: {step.loss}, gradient norm {step.norm}): "
                "start again with a smaller --learning-rate."
            )
        restore(self.state, good)
        p = self.state.progress
        p.rate_scale, p.rollbacks, p.elapsed = scale, rollbacks, elapsed
        message = (
            f"Step {failed_at + 1}: loss {step.loss}, gradient norm {step.norm}, not finite. "
            f"Back to step {p.step}, at {p.rate_scale:g} of the learning rate."
        )
        self.events.tell("rollback", p.step, failed_at=failed_at, rate_scale=p.rate_scale, message=message)
