"""One run, from its folder's first file to its last figure."""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from tidegate.folder.card import write_card
from tidegate.folder.chat_file import Chat, write_chat
from tidegate.folder.model_folder import write_config
from tidegate.folder.presence import is_file
from tidegate.models.adapted import AdaptedModel
from tidegate.nn.sequence import kernels_line
from tidegate.text.console import Console
from tidegate.text.overlap import longest_run_in_store
from tidegate.text.prepare import Prepared
from tidegate.text.store import TokenStore
from tidegate.training import checkpoint
from tidegate.training.begin import AnyFeed, token_counts
from tidegate.training.conduct import conduct, resumable
from tidegate.training.events import Events, read_log
from tidegate.training.loop import Loop
from tidegate.training.measure import CARRIED, WINDOW256, LossSum, measure, metric_name
from tidegate.training.outcome import outcome
from tidegate.training.record import RunRecord, announce_differences, write_record
from tidegate.training.report import card_of
from tidegate.training.run import RunOutside
from tidegate.training.run_folder import RunFolder
from tidegate.training.schedule import Horizon
from tidegate.training.state import TrainedModel, TrainState, put_weights, restore
from tidegate.training.token_prior import fit_output_bias
from tidegate.training.tuned_start import TunedStart
from tidegate.training.waiting import waiting


@dataclass
class Training:
    """One run, from its folder's first file to its last figure."""

    folder: RunFolder
    record: RunRecord
    recorded: RunRecord | None
    """as it was when the run began; None for a new run"""
    prepared: Prepared
    feed: AnyFeed
    state: TrainState
    console: Console
    start: TunedStart | None = None
    """what a fine-tuning starts from"""
    chat: Chat | None = None
    """how to talk with the model, where it learns to answer"""
    began: float = field(default_factory=time.monotonic)
    """when what counts as the run's time began"""
    changes: dict[str, float] = field(default_factory=dict)
    """losses before a fine-tuning, and, of the old text, after it, by names for people"""

    def run(self) -> int:
        """Train, measure, write the card; returns the exit code. What the disk does not take can be mended."""
        with resumable(self.folder):
            return self._run()

    def _run(self) -> int:
        config, feed, state = self.record.training, self.feed, self.state
        resumed_at = self._begin(state)
        self._announce(state.language_model, resumed_at, state)
        if self.start is not None and self.start.match is not None:
            self._say(self.start.match.sentence())
            if unknown := self.prepared.train.unknown_count:
                share = unknown / len(self.prepared.train)
                self._say(
                    f"{unknown:,} tokens of the text ({share:.2%}) are not in its vocabulary, and are read as unknown."
                )
        if state.progress.finished and any(event["event"] == "end" for event in read_log(self.folder.log)):
            self._say(f"{self.folder.path} is finished: nothing is left to do.")
            return 0
        horizon = Horizon.of(config, feed.windows, feed.lanes * feed.window)
        outside = RunOutside(
            self.folder, self.prepared, self._title(), config.evaluation_tokens, self._write_card, self._base()
        )

        def before(events: Events) -> None:
            outside.sample = next(
                (e.get("sample", "") for e in reversed(read_log(self.folder.log)) if e["event"] == "evaluation"), ""
            )
            if self.start is not None:
                is_new = state.progress.step == 0 and not self._logged("before")
                found = self._before(state.language_model) if is_new else self._logged("before")
                self.changes = _named(found, "before")
                if is_new:
                    events.tell("before", 0, **found)
                self._fit_prior(state)

        def loop(events: Events, interrupted: Callable[[], bool]) -> Loop:
            if state.progress.step == 0:  # measuring before the first step counts
                state.progress.elapsed = time.monotonic() - self.began
            chooses = config.keep == "best"
            return Loop(state, feed, horizon, config, events, outside, interrupted, chooses=chooses)

        finish = partial(self._finish, state, outside)
        return conduct(self.folder, self.console, resumed_at, state.progress.events, before, loop, finish)

    def _fit_prior(self, state: TrainState) -> None:
        """Put the text's frequencies of tokens into the output layer where some of its tokens are new."""
        start, model = self.start, state.language_model
        if start is None or start.match is None or not start.match.added or start.tuning.task != "lm":
            return
        if "output" in start.tuning.freeze:
            return
        if isinstance(model, AdaptedModel) or state.progress.step or is_file(self.folder.checkpoint):
            return
        V = self.prepared.tokenizer.vocabulary_size
        # as shares: of long texts a part is counted
        counts = _shares(token_counts(self.prepared.train, V))
        if start.old is not None and start.tuning.replay:
            old = _shares(token_counts(start.old.train, V))
            counts = (1 - start.tuning.replay) * counts + start.tuning.replay * old
        fit_output_bias(model, self.feed, counts)

    def _base(self) -> str:
        """Return the name of the model that a fine-tuning starts from, without where it lies."""
        return "" if self.record.tuning is None else Path(self.record.tuning.model).name

    def _begin(self, state: TrainState) -> int | None:
        """Write a new run's first files, or put back a resumed one's state; returns the step it goes on from."""
        # the first file: whatever is killed after it can be resumed. A resumed run's text may lie elsewhere now
        first = self.recorded or self.record
        first = dataclasses.replace(first, data=self.record.data, text_digest=self.record.text_digest)
        write_record(self.folder.record, first)
        train = self.prepared.train
        counts = len(train.document_starts), train.unknown_count
        template = None if self.chat is None else self.chat.template
        write_config(self.folder.path, self.record.model, self.prepared.tokenizer, *counts, template)
        if self.chat is not None:
            write_chat(self.folder.path, self.chat)
        if self.recorded is None:
            return None
        if not is_file(self.folder.checkpoint):  # killed before its first checkpoint: it begins again, the same
            return 0
        captured = checkpoint.load(self.folder.checkpoint, state, self.record.training.evaluations)
        restore(state, captured)
        return state.progress.step

    def _announce(self, model: TrainedModel, resumed_at: int | None, state: TrainState) -> None:
        feed, c, parameters = self.feed, model.config, sum(p.numel() for p in model.parameters())
        learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
        if isinstance(model, AdaptedModel):
            parameters = sum(p.numel() for p in model.base.parameters())
        of_these = "" if learning == parameters else f", {learning:,} ({learning / parameters:.1%}) trainable"
        self._say(kernels_line())
        self._say(
            f"Model: {c.layers}×{c.hidden_size} {c.cell}, {parameters:,} parameters{of_these}, "
            f"{self.prepared.tokenizer.vocabulary_size:,} tokens in the vocabulary ({self.prepared.tokenizer.kind})"
        )
        self._say(
            f"Text: {len(self.prepared.train):,} training tokens, batch size {feed.lanes}, "
            f"{feed.windows:,} steps per epoch"
        )
        if feed.lanes < self.record.training.lanes:
            self._say(f"The text is short: the batch size is {feed.lanes} instead of {self.record.training.lanes}.")
        if resumed_at is None:
            self._say(f"Folder: {self.folder.path}   (Ctrl-C keeps all and stops)")
        else:
            self._say(f"Resuming {self.folder.path} at step {state.progress.step}.")
            for sentence in announce_differences(
                self.recorded.surroundings if self.recorded else {}, self.record.surroundings
            ):
                self._say(sentence)

    def _finish(self, state: TrainState, outside: RunOutside, events: Events) -> None:
        """Measure the best weights under both protocols; write folder, card and curves for the last time."""
        state.release()
        if best := state.best or state.average:  # no best if no validation loss was ever finite
            put_weights(state.model, best)
        results: dict[str, LossSum] = {}
        if (text := self.prepared.validation) is not None:
            limit = self.record.training.final_tokens
            for protocol in (CARRIED,) if text.is_marked else (CARRIED, WINDOW256):
                with waiting(self.console, f"measuring, {protocol.name}") as progress:
                    loss = measure(state.language_model, text, self.prepared.tokenizer, protocol, progress, limit)
                results[metric_name(protocol, loss, text)] = loss
        outside.results = results
        old = self._old_text(state.language_model)
        self.changes |= _named(old, "after")
        if outside.sample:  # at the end alone: the whole training text is read for it
            with waiting(self.console, "comparing the sample with the training text") as progress:
                store, tokenizer = self.prepared.train, self.prepared.tokenizer
                outside.copied = longest_run_in_store(outside.sample, store, tokenizer, progress)
        figures = {
            f"{name}/{figure}": value for name, loss in results.items() for figure, value in loss.figures().items()
        }
        outside.keep(state)
        events.tell("end", state.progress.step, **figures, **old)
        for name, loss in results.items():
            bits = f", {loss.bits_a_byte:.4f} bits/byte" if loss.bytes else ""
            self._say(f"Validation, {name}: {loss.nats_a_token:.4f} nats/token{bits}")
        for what, value in self.changes.items():
            self._say(f"{what}: {value:.4f}")
        unknown = self.prepared.validation.unknown_count if self.prepared.validation is not None else 0
        if unknown:
            self._say(f"The validation text has {unknown:,} tokens that the vocabulary lacks.")
        for sentence in outcome(self.record.training, read_log(self.folder.log), self.record.training.keep == "best"):
            self._say(sentence)
        what = "Generate text" if self.chat is None else "Chat"
        if self.record.model.direction == "backward":
            what = "It reads from the end, for --backward of --task classify. Evaluate it"
        self._say(f"Done: {self.folder.path}   {what}:  {self._generate()}")

    def _generate(self) -> str:
        path, tuning = shlex.quote(str(self.folder.path)), self.record.tuning
        verb = "generate" if self.chat is None else "chat"
        if self.record.model.direction == "backward":
            verb = "evaluate"
        if tuning is None or tuning.lora_rank is None:
            return f"tidegate {verb} {path}"
        return f"tidegate {verb} {shlex.quote(tuning.model)} --adapter {path}"

    def _logged(self, name: str) -> dict[str, float]:
        """Return the losses of an event of the log."""
        event = next((event for event in read_log(self.folder.log) if event["event"] == name), {})
        return {key: value for key, value in event.items() if "/" in key}

    def _before(self, model: TrainedModel) -> dict[str, float]:
        """Measure the new text, and the old one, before the first step."""
        found = {}
        if (text := self.prepared.validation) is not None:
            found[f"{CARRIED.name}/nats_a_token"] = self._loss("before", model, text).nats_a_token
        return found | self._old_text(model)

    def _old_text(self, model: TrainedModel) -> dict[str, float]:
        """Measure the text of what the model knew before; nothing where none is named."""
        if self.start is None or self.start.old is None or self.start.old.validation is None:
            return {}
        loss = self._loss("the old text", model, self.start.old.validation)
        return {f"old/{CARRIED.name}/nats_a_token": loss.nats_a_token}

    def _loss(self, what: str, model: TrainedModel, text: TokenStore) -> LossSum:
        limit = self.record.training.final_tokens
        with waiting(self.console, f"measuring, {what}") as progress:
            return measure(model, text, self.prepared.tokenizer, CARRIED, progress, limit)

    def _write_card(self, state: TrainState, outside: RunOutside) -> None:
        card = card_of(self.record, self.prepared, state, outside.results, outside.sample, outside.copied, self.changes)
        write_card(self.folder.path, card)

    def _title(self) -> str:
        # not the folder's name: it may be Chinese, and the fonts that draw pictures often lack its characters
        c = self.record.model
        return f"{c.layers}×{c.hidden_size} {c.cell}, {self.prepared.tokenizer.kind}"

    def _say(self, sentence: str) -> None:
        self.console.print(Text(sentence), soft_wrap=True)


def _shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(counts / max(1, counts.sum()))


def _named(losses: dict[str, float], when: str) -> dict[str, float]:
    """Name losses for people: ``Old text before, carried_20lanes, nats/token``."""
    texts = {f"{CARRIED.name}/nats_a_token": "New text", f"old/{CARRIED.name}/nats_a_token": "Old text"}
    return {f"{texts[key]} {when}, {CARRIED.name}, nats/token": loss for key, loss in losses.items()}
