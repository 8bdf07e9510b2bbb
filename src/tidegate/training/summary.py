"""What there is to say of a run, read from its folder in little time and without PyTorch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tidegate.errors import TidegateError
from tidegate.folder import label_folder, tagger_folder
from tidegate.folder.checked_tensors import read_header
from tidegate.folder.model_folder import CONFIG, read_config
from tidegate.folder.tensors import expected_shapes
from tidegate.training.events import NATS, read_milestones, unit_of
from tidegate.training.record import RunRecord, read_record
from tidegate.training.run_folder import RunFolder

State = Literal["finished", "stopped early", "running", "stopped", "broken"]
LARGEST = 2.0**62
"""of any number in a log"""
DEPTH = 4
"""Folders below the one named that are searched for runs."""
SCORES = ("accuracy", "f1", "macro_f1")
"""Figures of labels: F1 of entities, or the mean of that of the classes."""
_NO_EVALUATION = {"classify": {"unit": "nats/text"}}


class Evaluation(NamedTuple):
    """A loss of the validation text on the way."""

    tokens: int
    """read in training so far"""
    seconds: float
    """trained so far"""
    nats: float
    """in the run's unit"""


class Score(NamedTuple):
    """A figure of labels, 0 to 1."""

    value: float
    is_final: bool
    """measured at the end, else on the way"""


@dataclass(frozen=True)
class RunSummary:
    """A run as it stands; what is not known is None."""

    path: Path
    state: State
    """stopped early: there was nothing more to gain; stopped: it can be resumed"""
    problem: str | None = None
    """what is wrong with a broken one"""
    task: str = "lm"
    """lm, chat, classify or tag"""
    model: str = ""
    """2×256 lstm"""
    tokenizer: str = ""
    """characters, 65"""
    parameters: int | None = None
    text: str = ""
    """names of what it is trained on"""
    text_digest: str = ""
    """tells the text and its split: losses of one digest are of one validation text; empty in older runs"""
    data_digest: str = ""
    """tells text, split and tokenizer"""
    started: str = ""
    """UTC, ISO 8601; empty in older runs"""
    progress: float = 0.0
    """fraction of the horizon, 0 to 1"""
    step: int = 0
    tokens: int = 0
    """read in training"""
    seconds: float = 0.0
    """trained, evaluations included"""
    tokens_a_second: float | None = None
    protocol: str = ""
    """under which the validation losses were measured, those of the evaluations and those at the end"""
    unit: str = NATS
    """of these losses; nats/text where texts are labelled"""
    evaluations: Sequence[Evaluation] = ()
    """those with a finite loss, in order"""
    figures: dict[str, float] = field(default_factory=dict)
    """measured at the end on the validation text, as the log names them: carried_20lanes/nats_a_token"""
    on_the_way: dict[str, float] = field(default_factory=dict)
    """accuracy and F1 where the loss on the way was lowest, by their names in the log; empty for language models"""

    @property
    def best_evaluation(self) -> float | None:
        """The lowest loss on the way, in `unit`, of the part of the validation text that evaluations read."""
        return min((evaluation.nats for evaluation in self.evaluations), default=None)

    @property
    def final_nats(self) -> float | None:
        """The loss at the end on the validation text, in `unit`, under `protocol`."""
        return self.figures.get("validation/nats_a_text", self._final("nats_a_token"))

    @property
    def final_bits(self) -> float | None:
        """The same in bits/byte of the text, which compares models of different tokenizers."""
        return self._final("bits_a_byte")

    def score(self, *names: str) -> Score | None:
        """Return the first of these figures of labels that is known: at the end, or else on the way."""
        for found, prefix, is_final in ((self.figures, "validation/", True), (self.on_the_way, "", False)):
            for name in names:
                if (value := found.get(prefix + name)) is not None:
                    return Score(value, is_final)
        return None

    def _final(self, figure: str) -> float | None:
        """Return a figure under `protocol`, whether of the whole text or of its first tokens, as the name then says."""
        for name, value in self.figures.items():
            measured, _, which = name.partition("/")
            if which == figure and (measured == self.protocol or measured.startswith(f"{self.protocol}_first_")):
                return value
        return None


def find_runs(folder: Path) -> list[Path]:
    """Return the run folders at or below a folder, sorted; a TidegateError where there are none."""
    try:
        found = list(_walk(folder, DEPTH))
    except OSError as error:
        raise TidegateError(f"{folder} could not be read: {error.strerror or error}.") from None
    if not found:
        there = "has no runs in it" if folder.is_dir() else "is no folder"
        raise TidegateError(f"{folder} {there}: begin with tidegate train, or name the folder that holds your runs.")
    return found


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    if RunFolder(folder).training.is_dir():
        yield folder
    elif depth and folder.is_dir():
        for inner in sorted(folder.iterdir()):
            if inner.is_dir() and not inner.name.startswith("."):
                yield from _walk(inner, depth - 1)


_UNEXPECTED = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""What JSON of another shape than a run writes ends in."""


def summarize(path: Path) -> RunSummary:
    """Read a run's folder; whatever is wrong with it makes a broken run, never an error."""
    folder = RunFolder(path)
    try:
        record = read_record(folder.record)
        running = folder.is_locked()
        return _summary(path, record, _parameters(path, record), read_milestones(folder.log), running)
    except TidegateError as error:
        return RunSummary(path, "broken", str(error))
    except OSError as error:
        return RunSummary(path, "broken", f"{error.filename or path} could not be read: {error.strerror or error}.")
    except _UNEXPECTED as error:
        return RunSummary(path, "broken", f"{folder.log} or {folder.record} has an unexpected value ({error}).")


def _parameters(path: Path, record: RunRecord) -> tuple[int, int] | None:
    """Return the vocabulary's size and the number of parameters; None before the first file of the model."""
    for file in (path / label_folder.WEIGHTS, path / tagger_folder.WEIGHTS):
        if file.is_file():
            shapes = read_header(file).shapes
            return shapes["embedding.weight"][0], sum(math.prod(shape) for shape in shapes.values())
    if not (path / CONFIG).is_file():
        return None
    vocabulary: int = read_config(path)[1]["vocabulary_size"]
    return vocabulary, sum(math.prod(shape) for shape in expected_shapes(record.model, vocabulary).values())


def _summary(
    path: Path, record: RunRecord, size: tuple[int, int] | None, events: list[dict[str, Any]], running: bool
) -> RunSummary:
    m, data = record.model, record.data
    timed = [event for event in events if event["event"] in ("step", "evaluation")]
    last = timed[-1] if timed else {}
    evaluations = [event for event in timed if math.isfinite(event.get("validation", math.nan))]
    ends = [event for event in events if event["event"] == "end"]
    lowest = min(evaluations, key=lambda event: float(event["validation"]), default={})
    steps = [event for event in timed if event["event"] == "step"]
    return RunSummary(
        path,
        _state(events, running),
        task=_task(record),
        model=f"{m.layers}×{m.hidden_size} {m.cell}{_of_task(record)}",
        tokenizer=data.tokenizer + (f", {size[0]:,}" if size else ""),
        parameters=size[1] if size else None,
        text=", ".join(Path(name).name for name in data.data) or f"embedded corpus {data.corpus}",
        text_digest=str(record.text_digest),
        data_digest=str(record.data_digest),
        started=str(record.started),
        progress=_number(last, "progress", 0),
        step=int(_number(last, "step", 0)),
        tokens=int(_number(last, "tokens", 0)),
        seconds=_number(last, "elapsed", 0),
        tokens_a_second=_number(steps[-1], "tokens_a_second") if steps else None,
        protocol=str(evaluations[-1]["protocol"]) if evaluations else "",
        unit=unit_of(evaluations[-1] if evaluations else _NO_EVALUATION.get(_task(record), {})),
        evaluations=[
            Evaluation(int(_number(e, "tokens")), _number(e, "elapsed"), _number(e, "validation")) for e in evaluations
        ],
        figures={name: float(value) for name, value in ends[-1].items() if "/" in name} if ends else {},
        on_the_way={name: float(lowest[name]) for name in SCORES if math.isfinite(lowest.get(name, math.nan))},
    )


def _number(event: dict[str, Any], name: str, otherwise: float | None = None) -> float:
    """Return a number of an event, whatever else JSON may hold there: NaN and numbers beyond all runs are refused."""
    value = event[name] if otherwise is None else event.get(name, otherwise)
    if type(value) not in (int, float) or not 0 <= value <= LARGEST:
        raise ValueError(f"{name} is {str(value)[:40]}")
    return float(value)


def _task(record: RunRecord) -> str:
    return "lm" if record.tuning is None else record.tuning.task


def _of_task(record: RunRecord) -> str:
    return "" if record.labels is None or record.tuning is None else f", {record.tuning.task}"


def _state(events: list[dict[str, Any]], running: bool) -> State:
    told = {event["event"] for event in events}
    if running:
        return "running"
    if "end" not in told:
        return "stopped"
    return "stopped early" if "early_stop" in told else "finished"
