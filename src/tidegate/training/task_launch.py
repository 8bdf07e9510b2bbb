"""From settings to a run that learns labels: the texts read, the language model taught the task's text, the folder
made; then it trains."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.text import Text

from tidegate.config import DataConfig, Direction, ModelConfig, RunConfig, TrainingConfig
from tidegate.errors import TidegateError
from tidegate.folder.atomic import write_atomically
from tidegate.folder.label_folder import read_encoder
from tidegate.folder.model_folder import ModelFolder, read_tokenizer
from tidegate.folder.presence import is_file
from tidegate.labelling import LabelConfig
from tidegate.text.lines import read_texts
from tidegate.text.tokenizer import Tokenizer
from tidegate.text.word_features import spoken
from tidegate.training.classify_task import ClassifyTask, read_split
from tidegate.training.events import read_log
from tidegate.training.label_sizing import for_few, in_minutes, measured_samples
from tidegate.training.record import (
    RunRecord,
    absolute,
    absolute_labels,
    absolute_tuning,
    command_of,
    read_record,
)
from tidegate.training.run_folder import RunFolder
from tidegate.training.sizing import BY_SIZE, MEASURING
from tidegate.training.surroundings import surroundings
from tidegate.training.tag_task import TagTask, read_tag_split
from tidegate.training.task_run import Task, TaskRun
from tidegate.training.view import SteadyConsole
from tidegate.training.waiting import cache_folder
from tidegate.tuning import DEFAULTS, TuningConfig

LANGUAGE_VALIDATION, LEAST_TEXTS = 0.05, 100
"""share of the task's text that ulmfit's language model is measured by, and texts from which on it is"""
LANGUAGE_FRACTION, LEAST_FRACTION = 0.5, 0.3
"""of a horizon in minutes: what ulmfit's language models take, and what the labels have at least"""
LANGUAGE_MODEL = "-language-model"
"""what the folder of ulmfit's language model is called, after that of the classifier"""


@dataclasses.dataclass(frozen=True)
class TaskSettings:
    """All that a person set of a run that learns labels, or that a resumed run's record says."""

    data: DataConfig
    training: TrainingConfig
    tuning: TuningConfig
    labels: LabelConfig


Launch = Callable[[DataConfig, ModelConfig, TrainingConfig, TuningConfig | None, RunConfig], int]
"""trains a language model into a folder; returns the exit code"""


def launch_task(settings: TaskSettings, run: RunConfig, out: str, launch: Launch, recorded: RunRecord | None) -> int:
    """Train a classifier into a folder; returns the exit code. recorded: of a run that is gone on with."""
    console = SteadyConsole()
    data, labels = absolute(settings.data), absolute_labels(settings.labels)
    tuning, training = settings.tuning, settings.training
    folder = RunFolder(Path(out))
    samples = _samples(data, labels, tuning.task, training.seed)
    began = time.monotonic()
    if not samples.held_out:
        sentence = "Nothing is kept for validation: the last step counts, whether it is the best or not."
        console.print(sentence, soft_wrap=True)
    bases: list[ModelFolder] = []
    if recorded is not None and is_file(folder.checkpoint):
        tokenizer, model = read_tokenizer(folder.path), recorded.model
    else:
        sources: list[tuple[str, Direction]] = [(tuning.model, "forward")]
        if labels.backward is not None:
            sources.append((labels.backward, "backward"))
        if labels.recipe == "ulmfit":  # before the language models learn for minutes
            _check_sources([read_encoder(source) for source, _ in sources])
        for source, direction in sources:
            path = Path(source)
            if labels.recipe == "ulmfit":
                end = LANGUAGE_MODEL + ("" if direction == "forward" else "-backward")
                path = folder.path.with_name(folder.path.name + end)
                stage = LanguageStage(source, direction, path, len(sources))
                if recorded is None and (code := _language_stage(stage, settings, samples, run, launch, console)):
                    return code
            bases.append(read_encoder(path))
            if RunFolder(bases[-1].path).is_locked():
                raise TidegateError(
                    f"{bases[-1].path} is being trained just now: wait for its end, or give another model."
                )
        tokenizer, model = bases[0].tokenizer, bases[0].model
        _check_second(bases)
    task = samples.task(tokenizer, model)
    minutes = training.minutes
    if recorded is None:
        if minutes is not None and labels.recipe == "ulmfit":
            left = minutes - (time.monotonic() - began) / 60
            training = dataclasses.replace(training, minutes=round(max(left, LEAST_FRACTION * minutes), 4))
            began = time.monotonic()
        whole = TaskSettings(data, training, tuning, labels)
        training = _sized(whole, run.given, samples, task, model, bases, console)
    # a command is for others to read: without this machine's paths, with the minutes of all stages
    of_all = dataclasses.replace(training, minutes=minutes)
    command = command_of(settings.data, model, of_all, tuning=tuning, labels=settings.labels)
    settled = TaskSettings(data, training, tuning, labels)
    return _train(settled, command, folder, task, model, bases, recorded, console, began)


def _sized(
    settings: TaskSettings,
    given: frozenset[str],
    samples: Samples,
    task: Task,
    model: ModelConfig,
    bases: Sequence[ModelFolder],
    console: SteadyConsole,
) -> TrainingConfig:
    """Choose what follows from the number of samples and, by the clock, from the speed of this machine."""
    training, labels, kind = settings.training, settings.labels, settings.tuning.task
    pace = None
    reads_once = kind == "classify" and labels.recipe == "fast"  # its steps take next to nothing
    if training.minutes is not None and not reads_once:
        console.print(Text(MEASURING))
        pace = measured_samples(task, model, bases, training, settings.tuning)
    training = for_few(training, labels, kind, len(samples.texts), given, pace)
    if training.minutes is None:
        return training
    characters = sum(map(len, samples.texts)) if kind == "classify" else 0
    return in_minutes(training, given, pace or math.inf, samples.held_out, samples.tested, characters)


def _check_sources(bases: list[ModelFolder]) -> None:
    """What ulmfit starts from reads forward, and both models alike: a second one it has learn to read from the end."""
    first = bases[0]
    for base in bases:
        if "labels" in base.metadata:
            raise TidegateError(
                f"{base.path} is a classifier, and no language model any more that could learn the task's text first: "
                "give --recipe direct to go on from it, or the language model that it started from."
            )
    if first.model.direction == "backward":
        raise TidegateError(
            f"{first.path} reads from the end: give a model that reads forward, and this as --backward."
        )
    for second in bases[1:]:
        _check_alike(first, second)


def _check_alike(first: ModelFolder, second: ModelFolder) -> None:
    if dataclasses.replace(second.model, direction=first.model.direction) != first.model:
        raise TidegateError(f"{second.path} is of another shape than {first.path}: give one of the same.")
    if second.tokenizer.digest != first.tokenizer.digest:
        raise TidegateError(f"{second.path} has another vocabulary than {first.path}: give one of the same.")


def _check_second(bases: list[ModelFolder]) -> None:
    """A second model reads the same tokens from the other end, and is of the same shape."""
    first = bases[0]
    for second in bases[1:]:
        if second.model == first.model:
            raise TidegateError(
                f"{second.path} and {first.path} both read {first.model.direction}, but the second must read from the "
                "other end: train one with --direction backward, or give --recipe ulmfit, which has it learn to."
            )
        _check_alike(first, second)


class Samples(NamedTuple):
    """What a task learns from, before it has a vocabulary."""

    task: Callable[[Tokenizer, ModelConfig], Task]
    texts: list[str]
    """of the training part: one a sample"""
    held_out: int
    """how many are for validation"""
    tested: int
    """how many are for the test"""


def _samples(data: DataConfig, labels: LabelConfig, task: str, seed: int) -> Samples:
    if task == "tag":
        tagged = read_tag_split(data, labels, seed)
        texts = ["".join(spoken(sentence.tokens)) for sentence in tagged.train]
        make = lambda tokenizer, model: TagTask(tagged, tokenizer, labels)  # noqa: E731
        return Samples(make, texts, len(tagged.validation), len(tagged.test or ()))
    split = read_split(data, labels, seed)
    return Samples(
        lambda tokenizer, model: ClassifyTask(split, tokenizer, model.direction, labels),
        split.train.texts,
        len(split.validation),
        0 if split.test is None else len(split.test),
    )


def _train(
    settings: TaskSettings,
    command: str,
    folder: RunFolder,
    task: Task,
    model: ModelConfig,
    bases: Sequence[ModelFolder],
    recorded: RunRecord | None,
    console: SteadyConsole,
    began: float,
) -> int:
    data, training, tuning, labels = settings.data, settings.training, settings.tuning, settings.labels
    tokenizer = task.tokenizer
    digest = "+".join(base.metadata["weights_digest"] for base in bases)
    record = RunRecord(
        dataclasses.replace(data, tokenizer=tokenizer.kind),  # type: ignore[arg-type]  # a class's name is one of them
        model,
        training,
        task.digest,
        tokenizer.digest,
        surroundings(),
        command if recorded is None else recorded.command,
        task.digest,
        datetime.now(UTC).isoformat(timespec="seconds"),
        tuning=absolute_tuning(tuning),
        base_digest=digest or (recorded.base_digest if recorded is not None else ""),
        labels=labels,
    )
    if recorded is not None:
        _check_same(recorded, record, folder)
    feed, state = task.begin(model, bases, training, tuning)
    with folder.made(), folder.locked():
        folder.remove_leftovers()
        if recorded is None and folder.record.exists():  # another process was faster
            raise TidegateError(f"{folder.path} holds a run already: choose another --out.")
        return TaskRun(folder, record, recorded, task, feed, state, console, began).run()


class LanguageStage(NamedTuple):
    """A language model that learns the task's text."""

    source: str
    """what it starts from"""
    direction: Direction
    target: Path
    stages: int
    """how many of these there are"""


def _language_stage(
    stage: LanguageStage,
    settings: TaskSettings,
    samples: Samples,
    run: RunConfig,
    launch: Launch,
    console: SteadyConsole,
) -> int:
    """Have the model go on learning from the task's text, the training texts and those without labels, in a folder of
    its own; one that is there already, of the same text and settings, is gone on with. Returns the exit code."""
    text, labels, t, target = [*samples.texts], settings.labels, settings.training, stage.target
    for argument in labels.unlabelled:
        found = read_texts(argument, settings.data.columns, settings.data.encoding, whole_files=True)
        text += [one for one in found if one.strip()]
    # sorted first: the same texts make the same model, whichever of them have labels
    distinct = sorted(set(text))
    order = np.random.Generator(np.random.PCG64(t.seed)).permutation(len(distinct))
    # its validation part is the end: not the last of the alphabet
    lines = "".join(json.dumps({"text": distinct[i]}, ensure_ascii=False) + "\n" for i in order).encode()
    cache = cache_folder(run.cache).absolute()
    cache.mkdir(parents=True, exist_ok=True)
    file = cache / f"task-text-{hashlib.sha256(lines).hexdigest()[:32]}.jsonl"
    write_atomically(file, lines)
    from_the_end = ", read from its end" if stage.direction == "backward" else ""
    what = f"First a language model of the task's text{from_the_end}, in {target}:"
    console.print(Text(what, style="bold"), soft_wrap=True)
    chosen: dict[str, Any] = {"evaluations": 4, "patience": 0, **DEFAULTS}
    passes: dict[str, Any] = {"epochs": labels.language_epochs}
    if t.minutes is not None and "language_epochs" not in run.given:
        passes = {"minutes": round(LANGUAGE_FRACTION * t.minutes / stage.stages, 4)}
    training = TrainingConfig(seed=t.seed, threads=t.threads, **passes, **chosen)
    direction = None if stage.direction == "forward" else stage.direction
    tuning = TuningConfig(model=stage.source, new_tokens=settings.tuning.new_tokens, direction=direction)
    there = RunFolder(target)
    if is_file(there.record):
        known = read_record(there.record)
        by_size = {name: getattr(training, name) for name in BY_SIZE}
        was = dataclasses.replace(known.training, **by_size)
        if (was, known.tuning, known.data.data) != (training, absolute_tuning(tuning), (str(file),)):
            raise TidegateError(
                f"{target} holds a language model of another run: remove it, or choose another --out for this one."
            )
        if any(event["event"] == "end" for event in read_log(there.log)):
            console.print("It is there already, and finished.")
            return 0
        again = dataclasses.replace(run, out=None, resume=str(target), preset=None, find_lr=False, given=frozenset())
        code = launch(DataConfig(), ModelConfig(), TrainingConfig(), None, again)
    else:
        anew = dataclasses.replace(
            run, out=str(target), resume=None, preset=None, find_lr=False, given=frozenset({*passes, *chosen})
        )
        share = LANGUAGE_VALIDATION if len(distinct) >= LEAST_TEXTS else 0.0
        code = launch(DataConfig(data=(str(file),), validation=share), ModelConfig(), training, tuning, anew)
    if code:
        console.print("Then give the command of the classifier again: it resumes from there.", soft_wrap=True)
    return code


def _check_same(recorded: RunRecord, now: RunRecord, folder: RunFolder) -> None:
    """A run goes on with the texts that it began with, wherever they now lie."""
    for what, was, new in (
        ("texts", recorded.data_digest, now.data_digest),
        ("tokenizer", recorded.tokenizer_digest, now.tokenizer_digest),
        ("base model", recorded.base_digest, now.base_digest),
    ):
        if was != new:
            raise TidegateError(
                f"The run {folder.path} was trained with another {what} (digest {was[:12]}, now {new[:12]}): give it "
                "back as it was, or start a new run."
            )
