"""One run that learns a task on an encoder, from its folder's first file to its report, through the one loop."""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from tidegate.config import ModelConfig, TrainingConfig
from tidegate.folder.card import Card, write_card
from tidegate.folder.model_folder import ModelFolder, write_tokenizer
from tidegate.folder.presence import is_file
from tidegate.nn.dropout import DropoutMasks
from tidegate.nn.sequence import kernels_line
from tidegate.text.console import Console
from tidegate.text.tokenizer import Tokenizer
from tidegate.training import checkpoint
from tidegate.training.conduct import conduct, resumable
from tidegate.training.curves import Curves
from tidegate.training.events import Events, read_log, shown
from tidegate.training.label_feed import SampleFeed
from tidegate.training.loop import Loop
from tidegate.training.optimize import Objective
from tidegate.training.outcome import outcome
from tidegate.training.record import RunRecord, announce_differences, write_record
from tidegate.training.run_folder import RunFolder
from tidegate.training.schedule import Horizon
from tidegate.training.state import Capture, TrainState, put_weights, restore
from tidegate.tuning import TuningConfig

Rows = Sequence[tuple[str, str]]


class Task(Protocol):
    """What is learnt on an encoder: which samples, against which loss, how it is measured and kept."""

    what: str
    """``Classifier``"""
    verb: str
    """of the command line, that runs it"""
    tokenizer: Tokenizer
    digest: str
    """tells samples, what is to be learnt of them, and their split"""
    chooses: bool
    """whether the validation samples are enough to choose a step by"""

    def begin(
        self, model: ModelConfig, bases: Sequence[ModelFolder], training: TrainingConfig, tuning: TuningConfig
    ) -> tuple[SampleFeed, TrainState]:
        """Return the feed and the state from which a run starts; bases: the language model, and a second one that reads
        from the other end where there is one; none where a checkpoint gives all weights."""

    def ready(self, feed: SampleFeed, state: TrainState, console: Console) -> SampleFeed:
        """Return the feed to train on, once the weights are those of the run."""

    def objective(self, state: TrainState, batch: Any, masks: DropoutMasks, config: TrainingConfig) -> Objective:
        """Compute the mean loss of a sample."""

    def evaluate(self, state: TrainState) -> dict[str, Any]:
        """Measure on the validation samples; return the fields of the event, none where there are none."""

    def write(self, path: Path, model: ModelConfig, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Write what runs into the folder."""

    def finish(self, path: Path, state: TrainState, console: Console) -> tuple[dict[str, float], list[str]]:
        """Measure the best weights, write the report; return the last event's figures, and what to say."""

    def announced(self, feed: SampleFeed) -> list[str]:
        """Say what there is to learn from."""

    def card_rows(self) -> tuple[Rows, Rows, Sequence[str]]:
        """Return the card's rows of data and of training, and the names of what is told apart."""


@dataclass
class TaskRun:
    """One run that learns a task; to its loop it is the outside."""

    folder: RunFolder
    record: RunRecord
    recorded: RunRecord | None
    """as it was when the run began; None for a new run"""
    task: Task
    feed: SampleFeed
    state: TrainState
    console: Console
    began: float
    """when what counts as the run's time began"""
    results: dict[str, float] = dataclasses.field(default_factory=dict)
    """the last figures, by names for people"""

    def __post_init__(self) -> None:
        c = self.record.model
        self._curves = Curves(self.folder.curves, f"{c.layers}×{c.hidden_size} {c.cell}, {self.task.what.lower()}")

    def run(self) -> int:
        """Train, measure, report; returns the exit code. What the disk does not take can be mended."""
        with resumable(self.folder):
            return self._run()

    def _run(self) -> int:
        resumed_at = self._begin()
        self._announce(resumed_at)
        if self.state.progress.finished and any(event["event"] == "end" for event in read_log(self.folder.log)):
            self._say(f"{self.folder.path} is finished: nothing is left to do.")
            return 0
        self.feed = self.task.ready(self.feed, self.state, self.console)
        config = self.record.training
        horizon = Horizon.of(config, self.feed.windows, self.feed.lanes * self.feed.window)

        def loop(events: Events, interrupted: Callable[[], bool]) -> Loop:
            if self.state.progress.step == 0:  # reading and measuring before the first step count
                self.state.progress.elapsed = time.monotonic() - self.began
            learnt = self.task.objective
            return Loop(
                self.state, self.feed, horizon, config, events, self, interrupted, objective=learnt,
                chooses=self.task.chooses and config.keep == "best",
            )  # fmt: skip

        known = self.state.progress.events
        return conduct(self.folder, self.console, resumed_at, known, lambda events: None, loop, self._finish)

    def _begin(self) -> int | None:
        """Write a new run's first files, or put back a resumed one's state; returns the step it goes on from."""
        first = self.recorded or self.record
        write_record(self.folder.record, dataclasses.replace(first, data=self.record.data, labels=self.record.labels))
        # after the record: a folder without one is no run's, and a new run would be refused there
        write_tokenizer(self.folder.path, self.task.tokenizer)
        if self.recorded is None:
            return None
        if not is_file(self.folder.checkpoint):  # killed before its first checkpoint: it begins again, the same
            return 0
        found = checkpoint.load(self.folder.checkpoint, self.state, self.record.training.evaluations)
        restore(self.state, found)
        return self.state.progress.step

    def _announce(self, resumed_at: int | None) -> None:
        c, parameters = self.record.model, list(self.state.model.parameters())
        total, learning = (
            sum(p.numel() for p in parameters if p.requires_grad or everyone) for everyone in (True, False)
        )
        of_these = "" if learning == total else f", {learning:,} trainable"
        tokenizer = self.task.tokenizer
        self._say(kernels_line())
        self._say(
            f"{self.task.what}: {c.layers}×{c.hidden_size} {c.cell}, {total:,} parameters{of_these}, "
            f"{tokenizer.vocabulary_size:,} tokens ({tokenizer.kind})"
        )
        for sentence in self.task.announced(self.feed):
            self._say(sentence)
        if resumed_at is None:
            self._say(f"Folder: {self.folder.path}   (Ctrl-C keeps all and stops)")
            return
        self._say(f"Resuming {self.folder.path} at step {self.state.progress.step}.")
        recorded = self.recorded.surroundings if self.recorded else {}
        for sentence in announce_differences(recorded, self.record.surroundings):
            self._say(sentence)

    # ---- The loop's outside ------------------------------------------------------------------------------------------

    def evaluate(self, state: TrainState) -> dict[str, Any]:
        """Measure on the validation samples."""
        found = self.task.evaluate(state)
        self.results = {f"validation, {shown(k)}": v for k, v in found.items() if isinstance(v, float)}
        return found

    def save(self, captured: Capture) -> None:
        """Write the checkpoint."""
        checkpoint.save(self.folder.checkpoint, captured)

    def keep(self, state: TrainState) -> None:
        """Write the folder anew: the best weights, curves, card."""
        weights = {name: t.numpy() for name, t in (state.best or state.average).items()} or state.model.tensors()
        self.task.write(self.folder.path, self.record.model, weights)
        self._curves.draw(self.folder.log, at_once=state.progress.finished)
        write_card(self.folder.path, self._card(state))

    def _finish(self, events: Events) -> None:
        """Measure the best weights, write folder and report for the last time."""
        self.state.release()
        if best := self.state.best or self.state.average:
            put_weights(self.state.model, best)
        told, sentences = self.task.finish(self.folder.path, self.state, self.console)
        self.results = {shown(name): value for name, value in told.items()}
        self.keep(self.state)  # before the log says that all is done
        events.tell("end", self.state.progress.step, **told)
        for sentence in sentences:
            self._say(sentence)
        keeps_best = self.task.chooses and self.record.training.keep == "best"
        is_whole = self.record.labels is None or self.record.labels.recipe != "ulmfit"
        for sentence in outcome(self.record.training, read_log(self.folder.log), keeps_best, is_whole):
            self._say(sentence)
        self._say(f"Report: {self.folder.path / 'report.md'}")
        path = shlex.quote(str(self.folder.path))
        self._say(f"Done: {self.folder.path}   Try it:  tidegate {self.task.verb} {path} < texts.txt")

    def _card(self, state: TrainState) -> Card:
        record, progress, t = self.record, state.progress, self.record.training
        assert record.labels is not None
        assert record.tuning is not None
        base = "" if record.labels.recipe == "scratch" else Path(record.tuning.model).name
        data, training, names = self.task.card_rows()
        return Card(
            title=f"{self.task.what}: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}",
            model=record.model,
            parameters=sum(p.numel() for p in state.model.parameters()),
            data=[
                ("texts", ", ".join(Path(name).name for name in record.data.data)),
                ("digest of texts, labels and split", record.data_digest),
                *data,
                *([("started from", f"{base}, digest {record.base_digest}")] if base else []),
                ("tokenizer", f"{self.task.tokenizer.kind}, {self.task.tokenizer.vocabulary_size:,} tokens"),
            ],
            training=[
                ("recipe", record.labels.recipe),
                ("steps", f"{progress.step:,}, those kept after {progress.best_step:,}"),
                ("time", f"{progress.elapsed:.0f} s"),
                ("batch size", f"{self.feed.lanes}"),
                (
                    "optimizer",
                    f"AdamW, learning rate {t.learning_rate:g}, weight decay {t.weight_decay:g}, clip {t.clip:g}",
                ),
                ("learning rate by layer, gradual unfreezing", f"{record.tuning.layer_rate:g}, {record.tuning.thaw:g}"),
                ("dropout", f"{t.dropout:g}, above the encoder {t.output_dropout or 0:g}"),
                *training,
                ("seed", str(t.seed)),
            ],
            results=[(name, f"{value:.4f}") for name, value in self.results.items()],
            command=record.command,
            versions=list(record.surroundings.items()),
            base=base,
            labels=names,
            verb=self.task.verb,
        )

    def _say(self, sentence: str) -> None:
        self.console.print(Text(sentence), soft_wrap=True)
