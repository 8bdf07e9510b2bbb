"""``tidegate train``: from raw text to a model folder."""

from __future__ import annotations

import dataclasses
import re
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.text import Text

from tidegate.config import DataConfig, ModelConfig, RunConfig, TrainingConfig
from tidegate.errors import TidegateError
from tidegate.folder.card import write_card
from tidegate.folder.model_folder import read_tokenizer, write_config
from tidegate.models.language_model import LanguageModel
from tidegate.nn.sequence import kernels_line
from tidegate.text.overlap import longest_run_in_store
from tidegate.text.prepare import Prepared
from tidegate.training import checkpoint
from tidegate.training.batches import Feed
from tidegate.training.begin import begin
from tidegate.training.events import Events, JsonlLog, TensorBoardLog, read_log
from tidegate.training.loop import Loop
from tidegate.training.measure import CARRIED, WINDOW256, LossSum, measure, metric_name
from tidegate.training.record import (
    RunRecord,
    absolute,
    announce_differences,
    command_of,
    read_record,
    settle,
    write_record,
)
from tidegate.training.report import card_of
from tidegate.training.run import RunOutside, interruptible
from tidegate.training.run_folder import RunFolder
from tidegate.training.schedule import Horizon
from tidegate.training.start import chosen, find_rate
from tidegate.training.state import TrainState, restore
from tidegate.training.surroundings import surroundings
from tidegate.training.view import SteadyConsole, TerminalView
from tidegate.training.waiting import prepare_text, waiting, with_standard_input

CARRY_ON = 130
"""exit code of a run that was interrupted"""


def train(data: DataConfig, model: ModelConfig, training: TrainingConfig, run: RunConfig) -> int:
    """Train a model into a folder; returns the exit code."""
    # a gate that closes leaves denormal numbers, which are slow: they count as zero. Before all else, because the
    # threads, which inherit it, start with the first computation
    torch.set_flush_denormal(True)
    try:
        return _train(data, model, training, run)
    finally:
        torch.set_flush_denormal(False)


def _train(data: DataConfig, model: ModelConfig, training: TrainingConfig, run: RunConfig) -> int:
    console = SteadyConsole(highlight=False)
    recorded = tokenizer = None
    if run.resume is not None:
        if run.out is not None:
            raise TidegateError(f"A resumed run stays in its folder, {run.resume}: leave --out {run.out} out.")
        folder = RunFolder(Path(run.resume))
        recorded = read_record(folder.record)
        tokenizer = read_tokenizer(folder.path) if (folder.path / "tokenizer.json").exists() else None
        named = run.given - {"data", "validation_data"}
        settle(dataclasses.replace(data, data=(), validation_data=None), recorded.data, DataConfig, named)
        data = dataclasses.replace(  # the text may have moved: its digest decides
            recorded.data,
            data=data.data or recorded.data.data,
            validation_data=data.validation_data or recorded.data.validation_data,
        )
        model = settle(model, recorded.model, ModelConfig, named)
        training = settle(training, recorded.training, TrainingConfig, named)
    if training.threads is not None:
        torch.set_num_threads(training.threads)
    as_given = with_standard_input(data, run.cache, console)
    data = absolute(as_given)  # a command is for others to read, without this machine's paths
    prepared = prepare_text(data, run.cache, console, tokenizer, run.processes)
    if prepared.validation is not None and len(prepared.validation) < 2:
        raise TidegateError(
            "The validation text is too short, one token, and two are needed, for the first is predicted from nothing: "
            "give more text, a larger --validation, or 0 for none."
        )
    if recorded is None:
        folder = RunFolder(_new_folder(run.out, data))
    if run.preset is not None:
        model, training = chosen(run.preset, model, training, run.given, prepared, console)
    if run.find_lr:
        again = partial(command_of, as_given, model, out=run.out)
        return find_rate(folder.path, again, prepared, model, training, console)
    command = command_of(as_given, model, training) if recorded is None else recorded.command
    record = RunRecord(
        data,
        model,
        training,
        prepared.digest,
        prepared.tokenizer.digest,
        surroundings(),
        command,
        prepared.text_digest,
        datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if recorded is not None:
        _check_same(recorded, record, folder)
    # before the folder: a model that the memory does not hold leaves nothing behind
    feed, state = begin(prepared, model, training)
    with folder.made(), folder.locked():
        folder.remove_leftovers()
        if recorded is None and folder.record.exists():  # another process was faster
            raise TidegateError(
                f"{folder.path} holds a run already: resume it (--resume {folder.path}) or choose another --out."
            )
        return Training(folder, record, recorded, prepared, feed, state, console).run()


def _new_folder(out: str | None, data: DataConfig) -> Path:
    """Return the folder of a new run; one that is given must be empty or not there yet."""
    if out is not None:
        path = Path(out)
        if path.is_file():
            raise TidegateError(f"--out {out} is a file, but a folder was wanted: choose another name.")
        if path.is_dir() and not RunFolder(path).is_unused():
            raise TidegateError(
                f"--out {out} is not empty: go on with a run in it by --resume {out}, or choose another name."
            )
        return path
    stem = Path(data.data[0]).stem if data.data else data.corpus  # of an absolute path, but perhaps a glob
    name = re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "text"
    number, path = 1, Path("runs") / name
    while path.exists():
        number += 1
        path = Path("runs") / f"{name}-{number}"
    return path


def _check_same(recorded: RunRecord, now: RunRecord, folder: RunFolder) -> None:
    """A run goes on with the text that it began with, wherever that now lies."""
    if recorded.data_digest != now.data_digest or recorded.tokenizer_digest != now.tokenizer_digest:
        raise TidegateError(
            f"The run {folder.path} was trained on another text (digest {recorded.data_digest[:12]}, now "
            f"{now.data_digest[:12]}): give back the text as it was, or start a new run with the new one."
        )


@dataclass
class Training:
    """One run, from its folder's first file to its last figure."""

    folder: RunFolder
    record: RunRecord
    recorded: RunRecord | None
    """as it was when the run began; None for a new run"""
    prepared: Prepared
    feed: Feed
    state: TrainState
    console: Console

    def run(self) -> int:
        """Train, measure, write the card; returns the exit code. What the disk does not take can be mended."""
        try:
            return self._run()
        except (TidegateError, OSError) as error:
            if not (isinstance(error, OSError) or isinstance(error.__cause__, OSError)):
                raise
            resume = f"\nThen go on with:\n  {self._resume()}" if self.folder.record.is_file() else ""
            raise TidegateError(f"{error}{resume}") from error

    def _run(self) -> int:
        config, feed, state = self.record.training, self.feed, self.state
        resumed_at = self._begin(state)
        self._announce(state.model, resumed_at, state)
        if state.progress.finished and any(event["event"] == "end" for event in read_log(self.folder.log)):
            self._say(f"{self.folder.path} is finished: nothing is left to do.")
            return 0
        horizon = Horizon.of(config, feed.windows, feed.lanes * feed.window)
        outside = RunOutside(self.folder, self.prepared, self._title(), config.evaluation_tokens, self._write_card)
        view = TerminalView(self.console)
        events = Events(
            [JsonlLog(self.folder.log, resumed_at), TensorBoardLog(self.folder.tensorboard, resumed_at), view]
        )
        try:
            with interruptible() as interrupted:
                finished = Loop(state, feed, horizon, config, events, outside, interrupted).run()
            view.close()
            if finished:
                self._finish(state, outside, events)
        except KeyboardInterrupt:
            view.close()
            self._say(f"Stopped at once. Go on from the last checkpoint with:\n  {self._resume()}")
            raise
        finally:
            view.close()
            events.close()
        if not finished:
            self._say(f"Stopped at step {state.progress.step}; all is kept. Go on with:\n  {self._resume()}")
        return 0 if finished else CARRY_ON

    def _resume(self) -> str:
        return f"tidegate train --resume {shlex.quote(str(self.folder.path))}"

    def _begin(self, state: TrainState) -> int | None:
        """Write a new run's first files, or put back a resumed one's state; returns the step it goes on from."""
        # the first file: whatever is killed after it can be resumed. A resumed run's text may lie elsewhere now
        first = self.recorded or self.record
        first = dataclasses.replace(first, data=self.record.data, text_digest=self.record.text_digest)
        write_record(self.folder.record, first)
        documents = len(self.prepared.train.document_starts)
        write_config(self.folder.path, self.record.model, self.prepared.tokenizer, documents)
        if self.recorded is None:
            return None
        if not self.folder.checkpoint.exists():  # killed before its first checkpoint: it begins again, the same
            return 0
        captured = checkpoint.load(self.folder.checkpoint, state)
        restore(state, captured)
        return state.progress.step

    def _announce(self, model: LanguageModel, resumed_at: int | None, state: TrainState) -> None:
        feed, c, parameters = self.feed, model.config, sum(p.numel() for p in model.parameters())
        self._say(kernels_line())
        self._say(
            f"Model: {c.layers}×{c.hidden_size} {c.cell}, {parameters:,} parameters, "
            f"{self.prepared.tokenizer.vocabulary_size:,} tokens in the vocabulary ({self.prepared.tokenizer.kind})"
        )
        self._say(
            f"Text: {len(self.prepared.train):,} tokens to learn from, read in {feed.lanes} lanes, "
            f"{feed.windows:,} steps an epoch"
        )
        if feed.lanes < self.record.training.lanes:
            self._say(f"The text is short: {feed.lanes} lanes instead of {self.record.training.lanes}.")
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
            state.model.load_tensors({name: t.numpy() for name, t in best.items()})
        results: dict[str, LossSum] = {}
        if (text := self.prepared.validation) is not None:
            limit = self.record.training.final_tokens
            for protocol in (CARRIED, WINDOW256):
                with waiting(self.console, f"measuring, {protocol.name}") as progress:
                    loss = measure(state.model, text, self.prepared.tokenizer, protocol, progress, limit)
                results[metric_name(protocol, loss, text)] = loss
        outside.results = results
        if outside.sample:  # at the end alone: the whole training text is read for it
            with waiting(self.console, "comparing the sample with the training text") as progress:
                store, tokenizer = self.prepared.train, self.prepared.tokenizer
                outside.copied = longest_run_in_store(outside.sample, store, tokenizer, progress)
        outside.keep(state)
        figures = {
            f"{name}/{figure}": value for name, loss in results.items() for figure, value in loss.figures().items()
        }
        events.tell("end", state.progress.step, **figures)
        for name, loss in results.items():
            bits = f", {loss.bits_a_byte:.4f} bits a byte" if loss.bytes else ""
            self._say(f"Validation, {name}: {loss.nats_a_token:.4f} nats a token{bits}")
        unknown = self.prepared.validation.unknown_count if self.prepared.validation is not None else 0
        if unknown:
            self._say(f"The validation text has {unknown:,} tokens that the vocabulary lacks.")
        self._say(f"Done: {self.folder.path}   Have it write:  tidegate generate {shlex.quote(str(self.folder.path))}")

    def _write_card(self, state: TrainState, outside: RunOutside) -> None:
        card = card_of(self.record, self.prepared, state, outside.results, outside.sample, outside.copied)
        write_card(self.folder.path, card)

    def _title(self) -> str:
        # not the folder's name: it may be Chinese, and the fonts that draw pictures often lack its characters
        c = self.record.model
        return f"{c.layers}×{c.hidden_size} {c.cell}, {self.prepared.tokenizer.kind}"

    def _say(self, sentence: str) -> None:
        self.console.print(Text(sentence), soft_wrap=True)
