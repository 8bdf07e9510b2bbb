"""From settings to a run: the text prepared, the start values drawn or taken, the folder made; then it trains."""

from __future__ import annotations

import dataclasses
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.text import Text

from tidegate.config import DataConfig, Direction, ModelConfig, RunConfig, TokenizerKind, TrainingConfig
from tidegate.errors import TidegateError
from tidegate.folder.chat_file import Chat, read_chat, read_template_file
from tidegate.folder.model_folder import ModelFolder, read_tokenizer
from tidegate.folder.presence import is_file
from tidegate.labelling import LabelConfig
from tidegate.nn.threads import use_threads
from tidegate.text.chat_template import ChatTemplate
from tidegate.text.conversations.forms import Choices
from tidegate.text.dialogue_store import Settings, prepare_dialogues
from tidegate.text.prepare import Prepared
from tidegate.text.standard_input import NAME as STANDARD_INPUT
from tidegate.text.tokenizer import Tokenizer
from tidegate.training.begin import begin
from tidegate.training.record import RunRecord, absolute, absolute_tuning, command_of, read_record, settle
from tidegate.training.run_folder import RunFolder
from tidegate.training.start import chosen, find_rate, fitted
from tidegate.training.surroundings import surroundings
from tidegate.training.task_launch import TaskSettings, launch_task
from tidegate.training.tuned_start import TunedStart
from tidegate.training.view import SteadyConsole
from tidegate.training.waiting import cache_folder, prepare_text, tell_damage, waiting, with_standard_input
from tidegate.training.whole_run import Training
from tidegate.tuning import TRAINING, TuningConfig


@dataclass(frozen=True)
class RunSettings:
    """All that a person set, or that a resumed run's record says."""

    data: DataConfig
    model: ModelConfig
    training: TrainingConfig
    tuning: TuningConfig | None = None
    """of a fine-tuning"""
    labels: LabelConfig | None = None
    """of one that learns labels"""


def launch(settings: RunSettings, run: RunConfig) -> int:
    """Train a model into a folder; returns the exit code."""
    # a gate that closes leaves denormal numbers, which are slow: they count as zero. Before all else, because the
    # threads, which inherit it, start with the first computation
    torch.set_flush_denormal(True)
    try:
        return _launch(settings, run)
    finally:
        torch.set_flush_denormal(False)


def _launch(settings: RunSettings, run: RunConfig) -> int:
    console = SteadyConsole()
    recorded = tokenizer = None
    if run.resume is not None:
        folder, recorded = _resumed(run)
        tokenizer = read_tokenizer(folder.path) if is_file(folder.path / "tokenizer.json") else None
        settings = _settled(settings, recorded, run)
    model, training, tuning = settings.model, settings.training, settings.tuning
    use_threads(training.threads)
    if settings.labels is not None:
        return _launch_task(settings, run, recorded, console)
    as_given = with_standard_input(settings.data, run.cache, console)
    data = absolute(as_given)  # a command is for others to read, without this machine's paths
    base = _base(tuning, recorded, run)
    if base is not None:
        kind: TokenizerKind = base.tokenizer.kind  # type: ignore[assignment]  # a class's name is one of them
        model, data = _turned(base.model, tuning), dataclasses.replace(data, tokenizer=kind)
    template = _template(tuning, base, recorded, run)
    prepared = _prepared(data, run, console, tokenizer, base, tuning, template, model.direction)
    if recorded is None:
        folder = RunFolder(_new_folder(run.out, data))
    start, began = None, time.monotonic()
    if tuning is not None:
        start = _tuned_start(tuning, base, recorded, run, console, prepared, model)
    if run.preset is not None:
        model, training = chosen(run.preset, model, training, run.given, prepared, console)
    elif recorded is None:
        training = fitted(model, training, run.given, prepared, console, start)
    if run.find_lr:
        again = partial(command_of, as_given, model, out=run.out, tuning=tuning)
        return find_rate(folder.path, again, prepared, model, training, console, start)
    command = command_of(as_given, model, training, tuning=tuning) if recorded is None else recorded.command
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
        tuning=absolute_tuning(tuning),
        old_digest="" if start is None or start.old is None else start.old.text_digest,
        base_digest=_base_digest(start, recorded),
    )
    if recorded is not None:
        _check_same(recorded, record, folder)
    # before the folder: a model that the memory does not hold leaves nothing behind
    feed, state = begin(prepared, model, training, start)
    with folder.made(), folder.locked():
        folder.remove_leftovers()
        if recorded is None and folder.record.exists():  # another process was faster
            raise TidegateError(
                f"{folder.path} holds a run already: resume it (--resume {folder.path}) or choose another --out."
            )
        chat = None if template is None else Chat(template, prepared.single_turn)
        return Training(folder, record, recorded, prepared, feed, state, console, start, chat, began=began).run()


def _base_digest(start: TunedStart | None, recorded: RunRecord | None) -> str:
    """Return the digest of the model that a fine-tuning starts from; empty where there is none."""
    if start is None:
        return ""
    return start.base_digest or (recorded.base_digest if recorded is not None else "")


def _launch_task(settings: RunSettings, run: RunConfig, recorded: RunRecord | None, console: SteadyConsole) -> int:
    if run.find_lr:
        raise TidegateError(
            "--find-lr tries learning rates on a language model, but this task trains on labels: omit it."
        )
    assert settings.tuning is not None
    assert settings.labels is not None
    if STANDARD_INPUT in (*settings.data.data, settings.data.validation_data):
        raise TidegateError("Texts with labels have columns, which standard input does not name: give a file.")
    out = str(run.resume) if recorded is not None else str(_new_folder(run.out, settings.data))
    given = TaskSettings(settings.data, settings.training, settings.tuning, settings.labels)

    def language_model(
        data: DataConfig, model: ModelConfig, training: TrainingConfig, tuning: TuningConfig | None, run: RunConfig
    ) -> int:
        return _launch(RunSettings(data, model, training, tuning), run)

    return launch_task(given, run, out, language_model, recorded)


def _turned(model: ModelConfig, tuning: TuningConfig | None) -> ModelConfig:
    """Return a base model's settings, of one that learns to read from the other end where that is asked for."""
    if tuning is None or tuning.direction is None:
        return model
    return dataclasses.replace(model, direction=tuning.direction)


def _resumed(run: RunConfig) -> tuple[RunFolder, RunRecord]:
    if run.out is not None:
        raise TidegateError(f"A resumed run stays in its folder, {run.resume}: omit --out {run.out}.")
    folder = RunFolder(Path(str(run.resume)))
    return folder, read_record(folder.record)


def _settled(settings: RunSettings, recorded: RunRecord, run: RunConfig) -> RunSettings:
    """Return the settings of a run's record; where others are asked for, that is an error."""
    data, named = settings.data, run.given - {"data", "validation_data"}
    settle(dataclasses.replace(data, data=(), validation_data=None), recorded.data, DataConfig, named)
    return RunSettings(
        dataclasses.replace(  # the text may have moved: its digest decides
            recorded.data,
            data=data.data or recorded.data.data,
            validation_data=data.validation_data or recorded.data.validation_data,
        ),
        settle(settings.model, recorded.model, ModelConfig, named),
        settle(settings.training, recorded.training, TrainingConfig, named),
        _settled_tuning(settings.tuning, recorded.tuning, named - {"model", "old"}),
        recorded.labels if settings.labels is None else _settled_labels(settings.labels, recorded.labels, named),
    )


def _settled_labels(given: LabelConfig, recorded: LabelConfig | None, named: frozenset[str]) -> LabelConfig | None:
    """The test texts, and a second model, too, may have moved."""
    paths: dict[str, Any] = {"test_data": None, "unlabelled": (), "backward": None}
    was = LabelConfig() if recorded is None else dataclasses.replace(recorded, **paths)
    settle(dataclasses.replace(given, **paths), was, LabelConfig, named - set(paths))
    if recorded is None:
        return None
    backward = recorded.backward and (given.backward or recorded.backward)
    return dataclasses.replace(recorded, test_data=given.test_data or recorded.test_data, backward=backward)


def _settled_tuning(
    given: TuningConfig | None, recorded: TuningConfig | None, named: frozenset[str]
) -> TuningConfig | None:
    """The model it starts from and the old text, too, may have moved."""
    if given is None:
        return recorded
    if recorded is None:
        settle(dataclasses.replace(given, model=""), TuningConfig(), TuningConfig, named)
        return None
    settle(dataclasses.replace(given, model="", old=recorded.old, replay=given.replay), recorded, TuningConfig, named)
    return dataclasses.replace(recorded, model=given.model or recorded.model, old=given.old or recorded.old)


def _base(tuning: TuningConfig | None, recorded: RunRecord | None, run: RunConfig) -> ModelFolder | None:
    """Return the model that a fine-tuning starts from; None where its checkpoint has all of it."""
    if tuning is None:
        return None
    if recorded is not None and tuning.lora_rank is None and is_file(RunFolder(Path(str(run.resume))).checkpoint):
        return None
    base = ModelFolder.read(tuning.model)
    if RunFolder(base.path).is_locked():
        raise TidegateError(f"{base.path} is being trained just now: wait for its end, or give another model.")
    return base


def _prepared(
    data: DataConfig,
    run: RunConfig,
    console: SteadyConsole,
    tokenizer: Tokenizer | None,
    base: ModelFolder | None,
    tuning: TuningConfig | None,
    template: ChatTemplate | None,
    direction: Direction,
) -> Prepared:
    joins = None
    keeps = tuning is not None and (tuning.new_tokens == "unknown" or tuning.lora_rank is not None)
    if template is not None:
        if direction == "backward":
            raise TidegateError("A model that reads texts from their ends cannot answer: give one that reads forward.")
        known = tokenizer or (base.tokenizer if base is not None else None)
        assert known is not None
        assert tuning is not None
        adds = tokenizer is None and not keeps
        prepared = _prepared_dialogues(data, run, console, known, template, tuning.assistant, adds)
    else:
        if base is not None and tuning is not None and tokenizer is None:
            tokenizer = base.tokenizer if keeps else None
            joins = base.tokenizer if tuning.new_tokens == "add" else None
        prepared = prepare_text(data, run.cache, console, tokenizer, run.processes, joins).read_as(direction)
    unknown = prepared.train.unknown_count
    if tuning is not None and tuning.lora_rank is not None and tuning.new_tokens != "unknown" and unknown:
        raise TidegateError(
            f"{unknown:,} of the text's {len(prepared.train):,} tokens are unknown to the model, and an adapter has "
            "the model's vocabulary: give --new-tokens unknown to leave them so, or omit --lora-rank."
        )
    if prepared.validation is not None and len(prepared.validation) < 2:
        raise TidegateError(
            "The validation text is too short, one token, and two are needed, for the first is predicted from nothing: "
            "give more text, a larger --validation, or 0 for none."
        )
    return prepared


def _template(
    tuning: TuningConfig | None, base: ModelFolder | None, recorded: RunRecord | None, run: RunConfig
) -> ChatTemplate | None:
    """Return the template of conversations: that of a resumed run, the one that is named, or the model's own."""
    if tuning is None or tuning.task == "lm":
        return None
    if recorded is not None and (kept := read_chat(Path(str(run.resume)))) is not None:
        return kept.template
    if tuning.template is None:
        own = read_chat(base.path) if base is not None else None
        return own.template if own is not None else ChatTemplate.of("turns")
    path = Path(tuning.template)
    return read_template_file(path) if path.is_file() else ChatTemplate.of(tuning.template)


def _prepared_dialogues(
    data: DataConfig,
    run: RunConfig,
    console: SteadyConsole,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    assistant: str | None,
    adds: bool,
) -> Prepared:
    if not data.data:
        raise TidegateError("No conversations are named: give .jsonl, .json, .csv or .tsv files, or their folder.")
    held_out = () if data.validation_data is None else (data.validation_data,)
    choices = Choices(data.columns, assistant)
    how = Settings(template, data.validation, held_out, data.encoding, choices, data.keep_duplicates)

    def tell(sentence: str) -> None:
        console.print(Text(sentence), soft_wrap=True)

    with waiting(console, "preparing the conversations") as progress:
        prepared = prepare_dialogues(data.data, how, tokenizer, cache_folder(run.cache), adds, progress, tell)
    tell_damage(prepared, console)
    return prepared


def _tuned_start(
    tuning: TuningConfig,
    base: ModelFolder | None,
    recorded: RunRecord | None,
    run: RunConfig,
    console: SteadyConsole,
    prepared: Prepared,
    model: ModelConfig,
) -> TunedStart:
    old = _old_text(tuning, run, console, prepared.tokenizer)
    if old is not None:
        old = old.read_as(model.direction)
    if base is not None:
        return dataclasses.replace(TunedStart.of(tuning, base, prepared.tokenizer, old), model=model)
    assert recorded is not None
    return TunedStart(tuning, model, None, "", None, old)


def _old_text(tuning: TuningConfig, run: RunConfig, console: SteadyConsole, tokenizer: Tokenizer) -> Prepared | None:
    """Prepare the text of what the model knew before, in the vocabulary that it will have."""
    if tuning.old is None:
        return None
    data = DataConfig(data=(tuning.old,))
    if tuning.old == TRAINING:
        record = RunFolder(Path(tuning.model)).record
        if not is_file(record):
            raise TidegateError(f"{tuning.model} does not say what it was trained on: name the old text, --old FILE.")
        learnt = read_record(record)
        if learnt.tuning is not None and learnt.tuning.task != "lm":
            raise TidegateError(f"{tuning.model} was trained on conversations: name a text as the old one, --old FILE.")
        data = learnt.data
    old = prepare_text(data, run.cache, console, tokenizer, run.processes)
    if old.validation is None or len(old.validation) < 2:
        raise TidegateError(f"The old text {tuning.old} has no validation part to measure: give a longer one.")
    return old


def _new_folder(out: str | None, data: DataConfig) -> Path:
    """Return the folder of a new run; one that is given must be empty or not there yet."""
    if out is not None:
        path = Path(out)
        if path.is_file():
            raise TidegateError(f"--out {out} is a file, but a folder was wanted: choose another name.")
        if path.is_dir() and not RunFolder(path).is_unused():
            raise TidegateError(
                f"--out {out} is not empty: resume the run in it with --resume {out}, or choose another name."
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
    if recorded.old_digest != now.old_digest:
        raise TidegateError(
            f"The old text of {folder.path} is another now: give it back as it was, or name where it lies by --old."
        )
    if recorded.base_digest != now.base_digest:
        raise TidegateError(
            f"The run {folder.path} started from another model (digest {recorded.base_digest[:12]}, now "
            f"{now.base_digest[:12]}): name the folder where that one lies now."
        )
