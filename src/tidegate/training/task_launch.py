"""From settings to a run that learns labels: the texts read, the language model taught the task's text, the folder
made; then it trains."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.text import Text

from tidegate.config import HORIZONS, DataConfig, Direction, ModelConfig, RunConfig, TrainingConfig
from tidegate.errors import TidegateError
from tidegate.folder.atomic import write_atomically
from tidegate.folder.label_folder import read_encoder
from tidegate.folder.model_folder import ModelFolder, read_tokenizer
from tidegate.folder.presence import is_file
from tidegate.labelling import FEW_TEXTS, LEAST_STEPS, LabelConfig
from tidegate.text.lines import read_texts
from tidegate.text.tokenizer import Tokenizer
from tidegate.text.word_features import spoken
from tidegate.training.classify_task import ClassifyTask, read_split
from tidegate.training.events import read_log
from tidegate.training.record import (
    RunRecord,
    absolute,
    absolute_labels,
    absolute_tuning,
    command_of,
    read_record,
)
from tidegate.training.run_folder import RunFolder
from tidegate.training.surroundings import surroundings
from tidegate.training.tag_task import TagTask, read_tag_split
from tidegate.training.task_run import Task, TaskRun
from tidegate.training.view import SteadyConsole
from tidegate.training.waiting import cache_folder
from tidegate.tuning import DEFAULTS, TuningConfig

LANGUAGE_VALIDATION, LEAST_TEXTS = 0.05, 100
"""share of the task's text that ulmfit's language model is measured by, and texts from which on it is"""
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
    console = SteadyConsole(highlight=False)
    data, labels = absolute(settings.data), absolute_labels(settings.labels)
    tuning, training = settings.tuning, settings.training
    folder = RunFolder(Path(out))
    samples = _samples(data, labels, tuning.task, training.seed)
    if recorded is None:
        training = for_few(training, labels if tuning.task == "classify" else None, len(samples.texts), run.given)
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
                stage = LanguageStage(source, direction, path)
                if recorded is None and (code := _language_stage(stage, settings, samples, run, launch, console)):
                    return code
            bases.append(read_encoder(path))
            if RunFolder(bases[-1].path).is_locked():
                raise TidegateError(
                    f"{bases[-1].path} is being trained just now: wait for its end, or give another model."
                )
        tokenizer, model = bases[0].tokenizer, bases[0].model
        _check_second(bases)
    # a command is for others to read, without this machine's paths
    command = command_of(settings.data, model, training, tuning=tuning, labels=settings.labels)
    settled = TaskSettings(data, training, tuning, labels)
    return _train(settled, command, folder, samples.task(tokenizer, model), model, bases, recorded, console)


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


def _samples(data: DataConfig, labels: LabelConfig, task: str, seed: int) -> Samples:
    if task == "tag":
        tagged = read_tag_split(data, labels, seed)
        texts = ["".join(spoken(sentence.tokens)) for sentence in tagged.train]
        return Samples(lambda tokenizer, model: TagTask(tagged, tokenizer, labels), texts, len(tagged.validation))
    split = read_split(data, labels, seed)
    return Samples(
        lambda tokenizer, model: ClassifyTask(split, tokenizer, model.direction, labels),
        split.train.texts,
        len(split.validation),
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
        return TaskRun(folder, record, recorded, task, feed, state, console).run()


def for_few(training: TrainingConfig, labels: LabelConfig | None, texts: int, given: frozenset[str]) -> TrainingConfig:
    """Return the settings of the training as few texts want them, where they are not given: more passes, and, where a
    classifier that has read before learns as a whole, smaller steps, so that it keeps what it knows."""
    if training.epochs is not None and not given & set(HORIZONS):
        steps_an_epoch = math.ceil(texts / training.lanes)
        training = dataclasses.replace(training, epochs=max(training.epochs, LEAST_STEPS / steps_an_epoch))
    if labels is not None and labels.recipe in ("ulmfit", "direct") and "learning_rate" not in given:
        rate = training.learning_rate * math.sqrt(min(1.0, texts / FEW_TEXTS))
        training = dataclasses.replace(training, learning_rate=float(f"{rate:.2g}"))
    return training


class LanguageStage(NamedTuple):
    """A language model that learns the task's text."""

    source: str
    """what it starts from"""
    direction: Direction
    target: Path


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
        text += [one for one in read_texts(argument, settings.data.columns, settings.data.encoding) if one.strip()]
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
    training = TrainingConfig(epochs=labels.language_epochs, seed=t.seed, threads=t.threads, **chosen)
    direction = None if stage.direction == "forward" else stage.direction
    tuning = TuningConfig(model=stage.source, new_tokens=settings.tuning.new_tokens, direction=direction)
    there = RunFolder(target)
    if is_file(there.record):
        known = read_record(there.record)
        if (known.training, known.tuning, known.data.data) != (training, absolute_tuning(tuning), (str(file),)):
            raise TidegateError(
                f"{target} holds a language model of another run: remove it, or choose another --out for this one."
            )
        if any(event["event"] == "end" for event in read_log(there.log)):
            console.print("It is there already, and finished.")
            return 0
        again = dataclasses.replace(run, out=None, resume=str(target), preset=None, find_lr=False, given=frozenset())
        code = launch(DataConfig(), ModelConfig(), TrainingConfig(), None, again)
    else:
        anew = dataclasses.replace(run, out=str(target), resume=None, preset=None, find_lr=False)
        share = LANGUAGE_VALIDATION if len(distinct) >= LEAST_TEXTS else 0.0
        code = launch(DataConfig(data=(str(file),), validation=share), ModelConfig(), training, tuning, anew)
    if code:
        console.print("Then give the command of the classifier again: it goes on from there.", soft_wrap=True)
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
