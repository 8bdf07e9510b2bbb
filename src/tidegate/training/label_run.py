"""One run that learns labels, from its folder's first file to its report; the loop is that of every run."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from tidegate.folder.atomic import write_atomically
from tidegate.folder.card import Card, write_card
from tidegate.folder.label_folder import ClassifierFolder, write_classifier
from tidegate.nn.sequence import kernels_line
from tidegate.text.tokenizer import Tokenizer
from tidegate.training import checkpoint
from tidegate.training.conduct import conduct, resumable
from tidegate.training.curves import draw_curves
from tidegate.training.events import Events, read_log
from tidegate.training.label_feed import EncodedTexts, LabelFeed
from tidegate.training.label_start import LabelObjective, Split, encoded, logits_of, pool_all
from tidegate.training.loop import Loop
from tidegate.training.record import RunRecord, announce_differences, write_record
from tidegate.training.run_folder import RunFolder
from tidegate.training.schedule import Horizon
from tidegate.training.state import Capture, TrainState, put_weights, restore
from tidegate.training.waiting import waiting

UNIT = "nats a text"


@dataclass
class LabelRun:
    """One run that learns labels; to its loop it is the outside."""

    folder: RunFolder
    record: RunRecord
    recorded: RunRecord | None
    """as it was when the run began; None for a new run"""
    split: Split
    tokenizer: Tokenizer
    train: EncodedTexts
    validation: EncodedTexts
    feed: LabelFeed
    state: TrainState
    objective: LabelObjective
    console: Console
    results: dict[str, float] = field(default_factory=dict)
    """the last figures, by names for people"""
    temperature: float = 1.0

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
        if self.record.labels is not None and self.record.labels.recipe == "fast":
            with waiting(self.console, "reading the texts, once") as progress:
                pooled = pool_all(self.state.classifier, self.train, progress)
            self.feed = LabelFeed(self.train, self.feed.lanes, self.feed.seed, pooled)
        horizon = Horizon.of(self.record.training, self.feed.windows, self.feed.lanes * self.feed.window)

        def loop(events: Events, interrupted: Callable[[], bool]) -> Loop:
            config = self.record.training
            return Loop(self.state, self.feed, horizon, config, events, self, interrupted, objective=self.objective)

        return conduct(self.folder, self.console, resumed_at, lambda events: None, loop, partial(self._finish))

    def _begin(self) -> int | None:
        """Write a new run's first files, or put back a resumed one's state; returns the step it goes on from."""
        first = self.recorded or self.record
        first = dataclasses.replace(first, data=self.record.data, labels=self.record.labels)
        write_record(self.folder.record, first)
        if self.recorded is None:
            return None
        if not self.folder.checkpoint.exists():  # killed before its first checkpoint: it begins again, the same
            return 0
        restore(self.state, checkpoint.load(self.folder.checkpoint, self.state))
        return self.state.progress.step

    def _announce(self, resumed_at: int | None) -> None:
        c, model, split = self.record.model, self.state.model, self.split
        parameters = sum(p.numel() for p in model.parameters())
        learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
        of_these = "" if learning == parameters else f", {learning:,} to learn"
        self._say(kernels_line())
        self._say(
            f"Classifier: {c.layers}×{c.hidden_size} {c.cell}, {parameters:,} parameters{of_these}, "
            f"{len(split.names):,} labels, {self.tokenizer.vocabulary_size:,} tokens ({self.tokenizer.kind})"
        )
        test = "" if split.test is None else f", {len(split.test):,} to test"
        self._say(
            f"Texts: {len(split.train):,} to learn from, {len(split.validation):,} to validate{test}; "
            f"{self.feed.window:,} tokens in the mean, {self.feed.windows:,} steps an epoch"
        )
        whole = split.whole
        for count, what in ((whole.duplicates, "came before"), (whole.empty, "are empty")):
            if count:
                self._say(f"{count:,} texts {what}, and are left out.")
        if whole.conflicts:
            self._say(f"{whole.conflicts:,} of those had another label than the first of them, which counts.")
        unknown = self.tokenizer.unknown_id
        count = 0 if unknown is None else sum(int((ids == unknown).sum()) for ids in self.train.ids)
        if count:
            self._say(f"{count:,} tokens of the texts are unknown to the model.")
        if resumed_at is None:
            self._say(f"Folder: {self.folder.path}   (Ctrl-C keeps all and stops)")
        else:
            self._say(f"Resuming {self.folder.path} at step {self.state.progress.step}.")
            recorded = self.recorded.surroundings if self.recorded else {}
            for sentence in announce_differences(recorded, self.record.surroundings):
                self._say(sentence)

    # ---- The loop's outside ------------------------------------------------------------------------------------------

    def evaluate(self, state: TrainState) -> dict[str, Any]:
        """Measure on the validation texts."""
        if not len(self.validation.ids):
            return {}
        from tidegate.training.label_report import figures_of, probabilities_of

        logits = logits_of(state.classifier, self.validation)
        figures = figures_of(self.validation.targets, probabilities_of(logits, self.validation.targets.ndim > 1))
        self.results = {f"validation, {name.replace('_', ' ')}": value for name, value in figures.items()}
        nats = figures.pop("nats_a_text")
        return {"protocol": "validation texts", "unit": UNIT, "validation": nats, **figures}

    def save(self, captured: Capture) -> None:
        """Write the checkpoint."""
        checkpoint.save(self.folder.checkpoint, captured)

    def keep(self, state: TrainState) -> None:
        """Write the classifier's folder anew: the best weights, curves, card."""
        weights = {name: t.numpy() for name, t in (state.best or state.average).items()} or state.model.tensors()
        multi = self.validation.targets.ndim > 1
        write_classifier(
            self.folder.path,
            ClassifierFolder(self.record.model, self.tokenizer, self.split.names, multi, self.temperature, weights),
        )
        c = self.record.model
        draw_curves(self.folder.curves, read_log(self.folder.log), f"{c.layers}×{c.hidden_size} {c.cell}, classifier")
        write_card(self.folder.path, self._card(state))

    # ---- The end -----------------------------------------------------------------------------------------------------

    def _finish(self, events: Events) -> None:
        """Calibrate the best weights, measure them and the peer, write folder and report for the last time."""
        from tidegate.training import label_report as report

        state, split = self.state, self.split
        state.release()
        if best := state.best or state.average:
            put_weights(state.model, best)
        multi = self.train.targets.ndim > 1
        parts = {}
        if len(self.validation.ids):
            parts["validation"] = (split.validation, self.validation)
        if split.test is not None:
            parts["test"] = (split.test, encoded(split.test, split.names, self.tokenizer, multi))
        parts = parts or {"training": (split.train, self.train)}
        with waiting(self.console, "measuring") as progress:
            logits = {part: logits_of(state.classifier, texts, progress) for part, (_, texts) in parts.items()}
        if "validation" in logits:
            self.temperature = report.fitted_temperature(logits["validation"], self.validation.targets)
        judged = {
            part: report.Judged(texts, ids.targets, report.probabilities_of(logits[part], multi, self.temperature))
            for part, (texts, ids) in parts.items()
        }
        with waiting(self.console, "measuring the peer, TF-IDF and a logistic regression") as _:
            peers = report.peers(split.train, self.train.targets, judged, len(split.names))
        found = report.write_report(self.folder.path, split.names, judged, peers, self.temperature)
        write_atomically(self.folder.path / report.FIGURES, report.to_bytes(found))
        self._tell(found, events)
        self.keep(state)

    def _tell(self, found: dict[str, Any], events: Events) -> None:
        told, self.results = {}, {}
        for part in ("training", "validation", "test"):
            figures = found.get(part)
            if figures is None:
                continue
            for who, values in (("", figures), ("peer_", figures.get("peer"))):
                for name in ("accuracy", "macro_f1", "nats_a_text"):
                    if values:
                        told[f"{part}/{who}{name}"] = values[name]
                        self.results[f"{part}, {who.replace('_', ' ')}{name.replace('_', ' ')}"] = values[name]
            beside = figures.get("peer")
            than = f"; {beside['name']}: {beside['accuracy']:.2%}, {beside['macro_f1']:.2%}" if beside else ""
            self._say(
                f"{part.capitalize()}, {figures['texts']:,} texts: accuracy {figures['accuracy']:.2%}, "
                f"macro-F1 {figures['macro_f1']:.2%}{than}"
            )
        events.tell("end", self.state.progress.step, **told)
        self._say(f"Report: {self.folder.path / 'report.md'}")
        path = shlex.quote(str(self.folder.path))
        self._say(f"Done: {self.folder.path}   Label texts, one a line:  tidegate classify {path} < texts.txt")

    def _card(self, state: TrainState) -> Card:
        record, progress, t = self.record, state.progress, self.record.training
        labels, split = record.labels, self.split
        assert labels is not None
        assert record.tuning is not None
        base = "" if labels.recipe == "scratch" else Path(record.tuning.model).name
        return Card(
            title=f"Classifier: {', '.join(split.names[:5])}{' …' if len(split.names) > 5 else ''}",
            model=record.model,
            parameters=sum(p.numel() for p in state.model.parameters()),
            data=[
                ("texts", ", ".join(Path(name).name for name in record.data.data)),
                ("digest of texts, labels and split", split.digest),
                ("texts learnt from", f"{len(split.train):,}"),
                ("validation", f"{len(split.validation):,} texts"),
                ("test", "none" if split.test is None else f"{len(split.test):,} texts"),
                *([("started from", f"{base}, digest {record.base_digest}")] if base else []),
                ("tokenizer", f"{self.tokenizer.kind}, {self.tokenizer.vocabulary_size:,} tokens"),
            ],
            training=[
                ("recipe", labels.recipe),
                ("steps", f"{progress.step:,}, the best after {progress.best_step:,}"),
                ("time", f"{progress.elapsed:.0f} s"),
                ("texts side by side", f"{self.feed.lanes}"),
                ("optimizer", f"AdamW, rate {t.learning_rate:g}, decay {t.weight_decay:g}, clip {t.clip:g}"),
                ("rates by layer, thawing", f"{record.tuning.layer_rate:g}, {record.tuning.thaw:g}"),
                ("dropout", f"{t.dropout:g}, before the head {t.output_dropout or 0:g}"),
                ("temperature", f"{self.temperature:.3f}"),
                ("seed", str(t.seed)),
            ],
            results=[(name, f"{value:.4f}") for name, value in self.results.items()],
            command=record.command,
            versions=list(record.surroundings.items()),
            base=base,
            labels=split.names,
        )

    def _say(self, sentence: str) -> None:
        self.console.print(Text(sentence), soft_wrap=True)
