"""What a classifier is worth: figures, a table of its classes, what it confuses, its worst errors, and a peer.

The peer, a logistic regression on TF-IDF of n-grams, learns from the same texts and is measured on the same: a model
that does not beat it is not worth its keep.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import Pipeline, make_pipeline

from tidegate.folder.atomic import write_atomically
from tidegate.folder.card import fenced, markdown_table, markdown_text
from tidegate.text.labelled import LabelledTexts
from tidegate.text.ngrams import unit_of
from tidegate.training.confusion import PICTURE, confused, shown_confusion, triples

REPORT, FIGURES = "report.md", "report.json"
PEER, ALONE = "peer", "without_ngrams"
"""what stands beside the classifier's figures: others on the same texts"""
_MEASURED = "accuracy", "macro_f1", "nats_a_text"
WORD = re.compile(r"\b\w\w+\b")
"""what the peer takes for one"""
WORST, SHOWN = 20, 200
"""errors that are listed, and characters of each"""
MOST_WITH_REGRESSION = 1000
"""labels up to which the peer is a regression: one for each of more takes longer than the model"""
MOST_SCORES = 50_000_000
"""numbers that the peer of more labels than that may have, labels times n-grams"""


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
    or have no words, words 1 to 2 elsewhere."""
    grams: dict[str, Any] = {"ngram_range": (1, 2)}
    if by_characters := unit_of(texts) == "characters" or not any(WORD.search(text) for text in texts):
        grams = {"analyzer": "char", "ngram_range": (1, 3)}
    name, judge = "logistic regression", LogisticRegression(C=10.0, max_iter=1000)
    if labels > MOST_WITH_REGRESSION:
        name, judge = "naive Bayes", MultinomialNB(alpha=0.1)
        grams["max_features"] = MOST_SCORES // labels
        judge = OneVsRestClassifier(judge) if multi_label else judge
    elif multi_label or labels > 2:  # each label by itself: of many together it would take longer than the model
        alone = LogisticRegression(C=10.0, max_iter=1000, solver="liblinear", dual=True, random_state=0)
        judge = OneVsRestClassifier(alone)
    pipeline = make_pipeline(TfidfVectorizer(sublinear_tf=True, **grams), judge)
    return pipeline, f"TF-IDF, {'characters 1-3' if by_characters else 'words 1-2'}, {name}"


def peers(train: LabelledTexts, targets: NDArray[Any], judged: dict[str, Judged], labels: int) -> dict[str, Beside]:
    """Fit the peer on the training texts; return its answers to each part's texts."""
    model, name = peer(train.texts, targets.ndim > 1, labels)
    with warnings.catch_warnings():  # a label that all texts have, or none, is told of in the table of classes
        warnings.filterwarnings("ignore", "Label .* is present in all|.*not present|Label not", UserWarning)
        model.fit(train.texts, targets)
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
        markdown_table(("texts", "accuracy", "macro-F1", "nats/text"), rows),
        f"## Classes, {part}",
        markdown_table(("no.", "label", "precision", "recall", "F1", "texts"), _classes(names, last)),
    ]
    counts = confused(last.targets, last.chosen, len(names))
    found[part]["confusion"] = triples(counts)
    there = last.targets.sum(axis=0) if last.targets.ndim > 1 else counts.sum(axis=1)
    shown = shown_confusion(counts, there, names)
    how = "a row a label, a column a label given"
    how += "" if len(shown.names) == len(names) else f", the {len(shown.names) - 1} labels with the most errors"
    lines += [f"## Confusion, {part}: {how}", shown.table(), *([key] if (key := shown.key()) else [])]
    shown.draw(folder / PICTURE)
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
