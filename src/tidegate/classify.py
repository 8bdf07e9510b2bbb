"""``tidegate classify``: texts in, labels and how likely they are out, as a stream. No PyTorch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import NamedTuple

from tidegate import native
from tidegate.config import check_paths, within
from tidegate.errors import TidegateError
from tidegate.folder.atomic import write_atomically
from tidegate.folder.bases import find_model
from tidegate.runtime.classifier import SORTED, Classifier, Labelled
from tidegate.text.encodings import canonical
from tidegate.text.formats import Reading
from tidegate.text.labelled_output import Answer, check_suffix, output_lines
from tidegate.text.lines import counted, read_input
from tidegate.text.messages import say, show, show_json
from tidegate.text.printable import one_line, printable
from tidegate.text.records import PLAIN, Position, Record, read_records
from tidegate.text.sources import find_sources

SHOWN = 60
"""characters of a text beside its label, in a terminal"""


@dataclass(frozen=True)
class ClassifySettings:
    """Which classifier labels which texts, and how that is shown."""

    model: str = ""
    """The classifier's folder, as tidegate finetune --task classify writes it."""
    data: str | None = None
    """A file, folder or glob of texts: each line of a .txt, each row of a table, each item of JSON, a whole page. By
    default standard input, one text per line."""
    columns: tuple[str, ...] = ()
    """Its columns or fields that hold text; see tidegate train. By default those of the training texts, where it has
    them."""
    encoding: str | None = None
    """Encoding of that text; see tidegate train. By default that of the training texts, or UTF-8."""
    whole_files: bool = False
    """Take each .txt as one text, not each of its lines."""
    out: str | None = None
    """A .csv, .tsv or .jsonl for the texts with all columns of the data, and the columns label and probability after
    them; by default a line for each text is printed."""
    json: bool = False
    """Print one JSON object per text, with the probabilities of all labels; with --out, write these too, into a
    .jsonl."""
    threads: int | None = None
    """CPU threads at most, one for each CPU by default; fewer run where fewer prove faster. The result is the same."""

    def __post_init__(self) -> None:
        check_paths(self, "model", "data", "out")
        within(self, "threads", 1, 4096)
        if self.encoding is not None:
            canonical(self.encoding)
        if self.out is None:
            return
        check_suffix(self.out)
        if self.json and not self.out.lower().endswith(".jsonl"):
            raise TidegateError(f"json is set, but out is {self.out}: give it the suffix .jsonl, or omit --json.")
        if not Path(self.out).absolute().parent.is_dir():
            raise TidegateError(f"The folder of {self.out} is not there: make it, or give another name.")


def _check_apart(data: str, out: Path) -> None:
    """Refuse to write over one of the files that are read."""
    for source in find_sources([data]) if out.exists() else ():
        if isinstance(source.resource, Path) and out.samefile(source.resource):
            raise TidegateError(f"out is {out}, which is one of the files to label: give another name.")


class Texts(NamedTuple):
    """The texts to label."""

    records: Iterator[Record]
    position: Position | None
    """of files"""
    at_once: int
    """how many are labelled at a time"""


def classify(settings: ClassifySettings) -> int:
    """Print or write a line for each text; returns the exit code."""
    native.use_threads(settings.threads)
    if settings.data is not None and settings.out is not None:
        _check_apart(settings.data, Path(settings.out))
    classifier = Classifier.load(find_model(settings.model))
    texts = _texts(settings, classifier)
    if settings.out is None:
        _print(settings, classifier, texts)
    else:
        _write(settings.out, settings, classifier, texts)
    return 0


def _texts(settings: ClassifySettings, classifier: Classifier) -> Texts:
    if settings.data is None:
        lines = read_input(settings.columns, settings.encoding or "utf-8")
        return Texts((Record(line, PLAIN, [line]) for line in lines), None, 1 if sys.stdin.isatty() else SORTED)
    learnt = classifier.reading or Reading()
    reading = Reading(settings.encoding or learnt.encoding, settings.columns, learnt.columns)
    position, guess = Position(), settings.encoding is None
    records = read_records(settings.data, reading, position, guess=guess, whole_files=settings.whole_files)
    return Texts(records, position, SORTED)


def _labelled(classifier: Classifier, texts: Texts, *, to_file: bool = False) -> Iterator[tuple[Record, Labelled]]:
    """Yield each text with its labels; say at the end how many are empty."""
    kept, read = tee(texts.records)
    found = classifier.stream((record.text for record in read), texts.at_once)
    empty = 0
    for record, labelled in zip(kept, counted(found, "texts", texts.position, to_file=to_file), strict=True):
        yield record, labelled
        empty += not record.text.strip()
    if empty:
        say(f"{empty:,} of the texts are empty: their labels mean nothing.")


def _print(settings: ClassifySettings, classifier: Classifier, texts: Texts) -> None:
    shown = SHOWN if sys.stdout.isatty() else None
    for record, found in _labelled(classifier, texts):
        if settings.json:
            show_json(_as_object(classifier, found), flush=texts.at_once == 1)
        else:
            show(_as_line(classifier, found, record.text, shown), flush=texts.at_once == 1)


def _write(out: str, settings: ClassifySettings, classifier: Classifier, texts: Texts) -> None:
    """Write the texts with their labels; the file is there when all of them are."""
    count = 0

    def answered() -> Iterator[tuple[Record, Answer]]:
        nonlocal count
        for record, found in _labelled(classifier, texts, to_file=True):
            yield record, _answer(classifier, found, settings.json)
            count += 1
        if not count:
            raise TidegateError("There is no text to label: give some.")

    write_atomically(Path(out), lambda file: file.writelines(output_lines(out, answered())))
    say(f"{count:,} texts with their labels: {out}")


def _answer(classifier: Classifier, found: Labelled, all_labels: bool) -> Answer:
    label: object = list(found.labels) if classifier.multi_label else found.labels[0]
    return label, round(_sure(classifier, found), 6), _probabilities(classifier, found) if all_labels else None


def _sure(classifier: Classifier, found: Labelled) -> float:
    """Return the probability of the label, of several the smallest; where there is none, that of no label."""
    given = [found.probabilities[classifier.labels.index(label)] for label in found.labels]
    return float(min(given, default=1 - found.probabilities.max()))


def _as_line(classifier: Classifier, found: Labelled, text: str, shown: int | None) -> str:
    """Return label, probability and the text, of which so many characters are shown, with tabs between them."""
    labels = ", ".join(found.labels) or "-"
    line = " ".join(printable(text).split())
    line = line if shown is None or len(line) <= shown else line[:shown] + " …"
    return f"{one_line(labels)}\t{_sure(classifier, found):.3f}\t{line}"


def _as_object(classifier: Classifier, found: Labelled) -> dict[str, object]:
    label: object = list(found.labels) if classifier.multi_label else found.labels[0]
    return {"label": label, "probabilities": _probabilities(classifier, found)}


def _probabilities(classifier: Classifier, found: Labelled) -> dict[str, float]:
    pairs = zip(classifier.labels, found.probabilities.tolist(), strict=True)
    return {name: round(p, 6) for name, p in pairs}
