"""``tidegate classify``: texts in, labels and how likely they are out, as a stream. No PyTorch."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from itertools import tee

from tidegate.config import check_paths
from tidegate.folder.bases import find_model
from tidegate.runtime.classifier import SORTED, Classifier, Labelled
from tidegate.text.lines import counted, read_texts
from tidegate.text.printable import printable

SHOWN = 60
"""characters of a text beside its label"""


@dataclass(frozen=True)
class ClassifySettings:
    """Which classifier labels which texts, and how that is shown."""

    model: str = ""
    """The classifier's folder, as tidegate finetune --task classify writes it."""
    data: str | None = None
    """A file, folder or glob of texts; by default standard input, one text per line."""
    columns: tuple[str, ...] = ()
    """Its columns or fields that hold text; see tidegate train."""
    encoding: str = "utf-8"
    """Encoding of that text; see tidegate train."""
    json: bool = False
    """Print one JSON object per text, with the probabilities of all labels."""

    def __post_init__(self) -> None:
        check_paths(self, "model", "data")


def classify(settings: ClassifySettings) -> int:
    """Print a line for each text; returns the exit code."""
    classifier = Classifier.load(find_model(settings.model))
    texts = read_texts(settings.data, settings.columns, settings.encoding)
    at_once = 1 if settings.data is None and sys.stdin.isatty() else SORTED
    kept, read = tee(texts)
    empty = 0
    for text, found in zip(kept, counted(classifier.stream(read, at_once), "texts"), strict=True):
        print(_as_json(classifier, found) if settings.json else _as_line(classifier, found, text), flush=at_once == 1)
        empty += not text.strip()
    if empty:
        print(f"{empty:,} of the texts are empty: their labels mean nothing.", file=sys.stderr)
    return 0


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
