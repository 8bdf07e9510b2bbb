"""What a classifier is worth: figures, a table of its classes, what it confuses, its worst errors, and a peer.

The peer, a logistic regression on TF-IDF of n-grams, learns from the same texts and is measured on the same: a model
that does not beat it is not worth its keep.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline

from tidegate.folder.atomic import write_atomically
from tidegate.folder.card import fenced, markdown_table, markdown_text
from tidegate.text.labelled import LabelledTexts
from tidegate.text.ngrams import unit_of

REPORT, FIGURES, PICTURE = "report.md", "report.json", "confusion.png"
PEER, ALONE = "peer", "without_ngrams"
"""what stands beside the classifier's figures: others on the same texts"""
_MEASURED = "accuracy", "macro_f1", "nats_a_text"
WORST, SHOWN = 20, 200
"""errors that are listed, and characters of each"""
DRAWN_LABELS = 40
"""a matrix of more labels is no picture that one can read"""


@dataclass(frozen=True)
class Judged:
    """Texts, their labels, and the probabilities that a classifier gives."""

    texts: LabelledTexts
    targets: NDArray[Any]
    """``(N,)`` or ``(N, K)``"""
    probabilities: NDArray[np.float64]
    """``(N, K)``"""

    @property
    def chosen(self) -> NDArray[Any]:
        """The labels that the probabilities speak for, in the form of the targets."""
        return chosen(self.probabilities, self.targets.ndim > 1)

    def figures(self) -> dict[str, float]:
        """Return accuracy (of all labels of a text at once, where it may have several), macro-F1 and loss."""
        return figures_of(self.targets, self.probabilities)


class Beside(NamedTuple):
    """Another classifier's answers, of the same texts."""

    key: str
    name: str
    """for people"""
    probabilities: NDArray[Any]
    """``(N, K)``"""


def chosen(probabilities: NDArray[Any], multi_label: bool) -> NDArray[Any]:
    """Return the likeliest label of each text, or a mark for each that is likelier than not."""
    return (probabilities > 0.5).astype(np.float32) if multi_label else probabilities.argmax(axis=1)


def figures_of(targets: NDArray[Any], probabilities: NDArray[Any]) -> dict[str, float]:
    """Return accuracy (of texts all of whose labels are right), macro-F1 and the mean loss of a text in nats."""
    given = chosen(probabilities, targets.ndim > 1)
    right = (given == targets).all(axis=1) if targets.ndim > 1 else given == targets
    f1 = [measures["f1"] for measures in by_class(targets, given, probabilities.shape[1])]
    return {
        "accuracy": float(np.mean(right)),
        "macro_f1": float(np.mean(f1)),
        "nats_a_text": nats_a_text(targets, probabilities),
    }


def nats_a_text(targets: NDArray[Any], probabilities: NDArray[Any], class_weights: NDArray[Any] | None = None) -> float:
    """Return the mean loss of a text, as `tidegate.models.classifier.label_loss`; of several labels of a text their
    losses are summed."""
    p = np.clip(probabilities.astype(np.float64), 1e-12, 1 - 1e-12)
    w = np.ones(p.shape[1]) if class_weights is None else class_weights
    if targets.ndim > 1:
        return float(-(w * targets * np.log(p) + (1 - targets) * np.log(1 - p)).sum(axis=1).mean())
    return float(np.average(-np.log(p[np.arange(len(p)), targets]), weights=w[targets]))


def by_class(targets: NDArray[Any], given: NDArray[Any], labels: int) -> list[dict[str, float]]:
    """Return precision, recall and F1 of each label, 0 where there is none of it, and how many texts have it."""
    found = []
    for k in range(labels):
        there, told = (one[:, k] > 0 if one.ndim > 1 else one == k for one in (targets, given))
        hits = int((there & told).sum())
        found.append(
            {
                "precision": hits / max(1, int(told.sum())),
                "recall": hits / max(1, int(there.sum())),
                "f1": 2 * hits / max(1, int(there.sum() + told.sum())),
                "texts": int(there.sum()),
            }
        )
    return found


def probabilities_of(logits: NDArray[Any], multi_label: bool, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return the probabilities of labels from logits ``(N, K)``."""
    z = logits.astype(np.float64) / temperature
    if multi_label:
        return np.asarray(0.5 * (1 + np.tanh(0.5 * z)))
    exp = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(exp / exp.sum(axis=1, keepdims=True))


def peer(texts: Sequence[str], multi_label: bool, labels: int) -> tuple[Pipeline, str]:
    """Return the peer, not fitted yet, and its name: characters 1 to 3 where the texts are mostly Chinese or Japanese,
    words 1 to 2 elsewhere."""
    is_han = unit_of(texts) == "characters"
    grams: dict[str, Any] = {"analyzer": "char", "ngram_range": (1, 3)} if is_han else {"ngram_range": (1, 2)}
    name = "characters 1-3" if is_han else "words 1-2"
    regression: Any = LogisticRegression(C=10.0, max_iter=1000)
    if multi_label or labels > 2:  # each label by itself: of many labels together it would take longer than the model
        alone = LogisticRegression(C=10.0, max_iter=1000, solver="liblinear", dual=True, random_state=0)
        regression = OneVsRestClassifier(alone)
    pipeline = make_pipeline(TfidfVectorizer(sublinear_tf=True, **grams), regression)
    return pipeline, f"TF-IDF, {name}, logistic regression"


def peers(train: LabelledTexts, targets: NDArray[Any], judged: dict[str, Judged], labels: int) -> dict[str, Beside]:
    """Fit the peer on the training texts; return its answers to each part's texts. None where the training texts have
    nothing that it could count."""
    model, name = peer(train.texts, targets.ndim > 1, labels)
    try:
        with warnings.catch_warnings():  # a label that all texts have, or none, is told of in the table of classes
            warnings.filterwarnings("ignore", "Label .* is present in all|.*not present|Label not", UserWarning)
            model.fit(train.texts, targets)
    except ValueError:  # an empty vocabulary
        return {}
    found = {}
    for part, one in judged.items():
        probabilities = np.zeros((len(one.texts), labels))
        predicted = np.asarray(model.predict_proba(one.texts.texts))
        if targets.ndim > 1:  # of a single label it gives the probability of its absence as well
            probabilities[:] = predicted[:, -labels:]
        else:
            probabilities[:, model.classes_] = predicted
        found[part] = Beside(PEER, name, probabilities)
    return found


def write_report(
    folder: Path,
    names: Sequence[str],
    judged: dict[str, Judged],
    beside: dict[str, list[Beside]],
    settled: Mapping[str, float],
) -> dict[str, Any]:
    """Write report.md, report.json and confusion.png into a classifier's folder; returns the figures.

    judged, beside: by the part of the texts, the last of them the one that is told of at length; settled: by name, what
    the validation texts settled.
    """
    found: dict[str, Any] = {**settled}
    rows = []
    for part, one in judged.items():
        figures = one.figures()
        found[part] = {"texts": len(one.texts), **figures}
        rows.append((f"{part}, {len(one.texts):,} texts", *_row(figures)))
        for key, name, probabilities in beside[part]:
            figures = figures_of(one.targets, probabilities)
            found[part][key] = {"name": name, **figures}
            rows.append((f"{part}, {name}", *_row(figures)))
    part, last = list(judged.items())[-1]
    lines = [
        "# What it is worth",
        markdown_table(("texts", "accuracy", "macro-F1", "nats a text"), rows),
        f"## Classes, {part}",
        markdown_table(("no.", "label", "precision", "recall", "F1", "texts"), _classes(names, last)),
    ]
    if last.targets.ndim == 1:
        matrix = confusion_matrix(last.targets, last.chosen, labels=np.arange(len(names)))
        if len(names) <= DRAWN_LABELS:
            shown = [(name, *(f"{count:,}" for count in row)) for name, row in zip(names, matrix, strict=True)]
            heading = f"## Confusion, {part}: a row a label, a column a label given"
            lines += [heading, markdown_table(("", *names), shown)]
            draw_confusion(folder / PICTURE, matrix, names)
        found[part]["confusion"] = matrix.tolist()
    lines += [f"## Worst errors, {part}", *_worst(names, last)]
    write_atomically(folder / REPORT, ("\n\n".join(lines) + "\n").encode("utf-8", "replace"))
    write_atomically(folder / FIGURES, (json.dumps(found, ensure_ascii=False, indent=2) + "\n").encode())
    return found


def told(found: dict[str, Any]) -> tuple[dict[str, float], list[str]]:
    """Return a report's figures by names such as test/peer_accuracy, and a sentence for each part of the texts."""
    named: dict[str, float] = {}
    sentences: list[str] = []
    for part in ("training", "validation", "test"):
        if (figures := found.get(part)) is None:
            continue
        said = f"accuracy {figures['accuracy']:.2%}, macro-F1 {figures['macro_f1']:.2%}"
        named |= {f"{part}/{k}": figures[k] for k in _MEASURED}
        for key in (PEER, ALONE):
            if values := figures.get(key):
                named |= {f"{part}/{key}_{k}": values[k] for k in _MEASURED}
                said += f"; {values['name']}: {values['accuracy']:.2%}, {values['macro_f1']:.2%}"
        sentences.append(f"{part.capitalize()}, {figures['texts']:,} texts: {said}")
    return named, sentences


def _row(figures: dict[str, float]) -> tuple[str, ...]:
    return f"{figures['accuracy']:.2%}", f"{figures['macro_f1']:.2%}", f"{figures['nats_a_text']:.4f}"


def _classes(names: Sequence[str], judged: Judged) -> list[tuple[str, ...]]:
    rows = []
    for k, (name, measures) in enumerate(zip(names, by_class(judged.targets, judged.chosen, len(names)), strict=True)):
        shares = (f"{measures[what]:.2%}" for what in ("precision", "recall", "f1"))
        rows.append((str(k + 1), name, *shares, f"{measures['texts']:,.0f}"))
    return rows


def _worst(names: Sequence[str], judged: Judged) -> list[str]:
    """List the texts that the classifier is most wrong about."""
    p = judged.probabilities
    if judged.targets.ndim > 1:
        of_truth = np.where(judged.targets > 0, p, 1 - p).min(axis=1)
        wrong = (judged.chosen != judged.targets).any(axis=1)
    else:
        of_truth, wrong = p[np.arange(len(p)), judged.targets], judged.chosen != judged.targets
    places = [int(i) for i in np.argsort(of_truth, kind="stable") if wrong[i]][:WORST]
    parts = []
    for i in places:
        text = judged.texts.texts[i]
        right = judged.chosen[i]
        given = np.flatnonzero(right).tolist() if judged.targets.ndim > 1 else [int(right)]
        said = ", ".join(f"{names[k]} ({p[i, k]:.0%})" for k in given) or "none"
        parts.append(markdown_text(f"Given {said}; it is {', '.join(judged.texts.labels[i]) or 'none'}:"))
        parts.append(fenced(text if len(text) <= SHOWN else f"{text[:SHOWN]} …", "text"))
    return parts or ["There are none."]


def draw_confusion(path: Path, matrix: NDArray[Any], names: Sequence[str]) -> None:
    """Draw the confusion matrix, each row as shares of its label's texts, with the counts where there is room."""
    shares = matrix / matrix.sum(axis=1, keepdims=True).clip(1)
    # fonts that draw pictures often lack Chinese: labels they lack are numbered as the report's table has them
    shown = [name if name.isascii() else f"{k + 1}" for k, name in enumerate(names)]
    side = max(4.0, 0.45 * len(names) + 2)
    figure = Figure(figsize=(side, side), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axis.set_xticks(range(len(names)), shown, rotation=45, ha="right")
    axis.set_yticks(range(len(names)), shown)
    axis.set_xlabel("label given")
    axis.set_ylabel("label")
    if len(names) <= DRAWN_LABELS // 2:
        for row in range(len(names)):
            for column in range(len(names)):
                color = "white" if shares[row, column] > 0.5 else "black"
                axis.text(column, row, f"{matrix[row, column]:,}", ha="center", va="center", color=color, fontsize=8)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": "tidegate"})
    write_atomically(path, picture.getvalue())
