"""``tidegate classify``: texts in, labels and how likely they are out, as a stream. No PyTorch."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import tee
from typing import TextIO

from tidegate.config import check_paths
from tidegate.errors import TidegateError
from tidegate.runtime.classifier import SORTED, Classifier, Labelled
from tidegate.text.corpus import read_pieces
from tidegate.text.formats import LINE_BYTES, Reading
from tidegate.text.printable import printable
from tidegate.text.sources import find_sources

SHOWN = 60
"""characters of a text beside its label"""


@dataclass(frozen=True)
class ClassifySettings:
    """Which classifier labels which texts, and how that is shown."""

    model: str = ""
    """The classifier's folder, as tidegate finetune --task classify writes it."""
    data: str | None = None
    """A file, folder or glob of texts; by default standard input, one text a line."""
    columns: tuple[str, ...] = ()
    """Its columns or fields that hold text; see tidegate train."""
    encoding: str = "utf-8"
    """Encoding of that text; see tidegate train."""
    json: bool = False
    """Print one JSON object a text, with the probabilities of all labels."""

    def __post_init__(self) -> None:
        check_paths(self, "model", "data")


def classify(settings: ClassifySettings) -> int:
    """Print a line for each text; returns the exit code."""
    classifier = Classifier.load(settings.model)
    if settings.data is None:
        if sys.stdin.isatty():
            print("One text a line; Ctrl-D ends.", file=sys.stderr)
        texts, at_once = _lines(sys.stdin), 1 if sys.stdin.isatty() else SORTED
    else:
        texts, at_once = _documents(settings), SORTED
    kept, read = tee(texts)
    for text, found in zip(kept, classifier.stream(read, at_once), strict=True):
        print(_as_json(classifier, found) if settings.json else _as_line(classifier, found, text), flush=at_once == 1)
    return 0


def _lines(stream: TextIO) -> Iterator[str]:
    """Yield the lines of standard input; an empty one is a text as well, so that lines in and out correspond."""
    stream.reconfigure(encoding="utf-8", errors="strict")  # type: ignore[attr-defined]  # of a real stream
    number = 0
    try:
        while line := stream.readline(LINE_BYTES + 1):
            number += 1
            if len(line) > LINE_BYTES:
                raise TidegateError(f"Line {number} has more than {LINE_BYTES:,} characters: cut this text in several.")
            yield line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise TidegateError(
            f"Standard input is not UTF-8 (after line {number}: {error.reason}): give the file by --data, and its "
            "--encoding."
        ) from None


def _documents(settings: ClassifySettings) -> Iterator[str]:
    held: list[str] = []
    for piece in read_pieces(find_sources([settings.data or ""]), Reading(settings.encoding, settings.columns)):
        if piece.starts_document and held:
            yield "".join(held)
            held = []
        held.append(piece.text)
    if held:
        yield "".join(held)


def _as_line(classifier: Classifier, found: Labelled, text: str) -> str:
    """Return label, probability and the text's beginning, with tabs between them."""
    named = [(label, found.probabilities[classifier.labels.index(label)]) for label in found.labels]
    labels = ", ".join(label for label, _ in named) or "-"
    sure = min((p for _, p in named), default=1 - found.probabilities.max())
    shown = " ".join(printable(text).split())
    return f"{printable(labels)}\t{sure:.3f}\t{shown if len(shown) <= SHOWN else shown[:SHOWN] + ' …'}"


def _as_json(classifier: Classifier, found: Labelled) -> str:
    label: object = list(found.labels) if classifier.multi_label else found.labels[0]
    pairs = zip(classifier.labels, found.probabilities.tolist(), strict=True)
    return json.dumps({"label": label, "probabilities": {name: round(p, 6) for name, p in pairs}}, ensure_ascii=False)
