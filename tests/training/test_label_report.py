"""The report's figures against their definitions, and the peer."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from tidegate.text.labelled import LabelledTexts
from tidegate.training import label_report
from tidegate.training.confusion import MOST_SHOWN, confused, shown_confusion, triples
from tidegate.training.label_report import (
    ALONE,
    Beside,
    Judged,
    by_class,
    figures_of,
    peer,
    peers,
    told,
    write_report,
)


def test_figures_of_one_label_a_text():
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
    targets = np.array([0, 1, 1, 2])
    found = figures_of(targets, p)
    assert found["accuracy"] == 0.75
    # F1 of the three: 2/3, 2/3, 1
    assert found["macro_f1"] == pytest.approx(7 / 9)
    assert found["nats_a_text"] == pytest.approx(-np.log([0.7, 0.6, 0.3, 0.6]).mean())


def test_figures_of_several_labels():
    p, targets = np.array([[0.9, 0.2], [0.4, 0.8]]), np.array([[1.0, 0.0], [1.0, 1.0]])
    found = figures_of(targets, p)
    assert found["accuracy"] == 0.5  # of texts all whose labels are right
    assert found["nats_a_text"] == pytest.approx(-(np.log(0.9) + np.log(0.8) + np.log(0.4) + np.log(0.8)) / 2)


def test_a_single_label_that_a_text_has_or_not(tmp_path):
    texts = LabelledTexts(
        [f"{'fire ' * (i % 3 == 0)}{i}" for i in range(30)], [("x",) * (i % 3 == 0) for i in range(30)]
    )
    targets = np.array([[float(i % 3 == 0)] for i in range(30)])
    judged = {"validation": Judged(texts, targets, np.where(targets > 0, 0.9, 0.2))}
    beside = {"validation": [peers(texts, targets, judged, 1)["validation"]]}
    found = write_report(tmp_path, ["x"], judged, beside, {})
    assert found["validation"]["accuracy"] == found["validation"]["macro_f1"] == 1
    assert found["validation"]["peer"]["macro_f1"] == 1
    assert "| 1 | x | 100.00% | 100.00% | 100.00% | 10 |" in (tmp_path / "report.md").read_text("utf-8")


def test_classes_are_measured_as_scikit_learn_does():
    rng = np.random.default_rng(0)
    for targets, given in (
        (rng.integers(0, 4, 50), rng.integers(0, 4, 50)),
        (rng.integers(0, 2, (50, 4)), rng.integers(0, 2, (50, 4))),
    ):
        expected = precision_recall_fscore_support(targets, given, labels=range(4), zero_division=0)
        found = by_class(targets, given, 4)
        for name, values in zip(("precision", "recall", "f1", "texts"), expected, strict=True):
            assert [one[name] for one in found] == pytest.approx(values.tolist())


def test_the_peer_counts_what_suits_the_language():
    assert "characters" in peer(["房间很大，服务很好", "good"], False, 2)[1]
    assert "words" in peer(["the room is big 房"], False, 2)[1]


def test_a_report_of_texts_that_could_break_a_table(tmp_path):
    texts = LabelledTexts(["a | b\n```\n<script>", "好"], [("x|y",), ("*z*",)])
    p = np.array([[0.1, 0.9], [0.2, 0.8]])
    judged = {"validation": Judged(texts, np.array([0, 1]), p)}
    found = write_report(
        tmp_path,
        ["x|y", "*z*"],
        judged,
        {"validation": [Beside(ALONE, "without n-grams", 1 - p)]},
        {"temperature": 2.0},
    )
    assert found["validation"]["confusion"] == [[0, 1, 1], [1, 1, 1]]
    assert found["temperature"] == 2
    assert (found["validation"]["accuracy"], found["validation"][ALONE]["accuracy"]) == (0.5, 0.5)
    figures, (sentence,) = told(found)
    assert figures["validation/nats_a_text"] == pytest.approx(-(np.log(0.1) + np.log(0.8)) / 2)
    assert figures["validation/without_ngrams_nats_a_text"] == pytest.approx(-(np.log(0.9) + np.log(0.2)) / 2)
    assert "; without n-grams: 50.00%" in sentence
    text = (tmp_path / "report.md").read_text("utf-8")
    assert "| validation, without n-grams | 50.00% |" in text
    assert r"x\|y" in text
    assert "````text\na | b" in text
    assert (tmp_path / "confusion.png").read_bytes()[:4] == b"\x89PNG"


def test_texts_without_a_word_are_counted_by_characters():
    texts = LabelledTexts(["! ?", "?"], [("x",), ("y",)])
    judged = {"test": Judged(texts, np.array([0, 1]), np.eye(2))}
    found = peers(texts, np.array([0, 1]), judged, 2)["test"]
    assert "characters" in found.name
    assert found.probabilities.shape == (2, 2)


def test_of_very_many_labels_the_peer_stays_small(monkeypatch):
    K = 1001
    texts = LabelledTexts([f"word{i} again{i} other" for i in range(K)], [(str(i),) for i in range(K)])
    monkeypatch.setattr(label_report, "MOST_SCORES", 5000 * K)
    judged = {"test": Judged(texts, np.arange(K), np.eye(K))}
    found = peers(texts, np.arange(K), judged, K)["test"]
    assert "naive Bayes" in found.name
    assert (found.probabilities.argmax(axis=1) == np.arange(K)).mean() > 0.9
    several = np.eye(K, dtype=np.float32)[:4]
    four = texts.part(range(4))
    assert peers(four, several, {"test": Judged(four, several, several)}, K)["test"].probabilities.shape == (4, K)


@pytest.mark.parametrize("labels", [2, 40, 41, 60])
@pytest.mark.parametrize("several", [False, True])
def test_the_confusion_is_scikit_learns(tmp_path, labels, several):
    rng = np.random.default_rng(labels)
    names = [f"标签{k}" if k % 2 else f"label {k}" for k in range(labels)]
    if several:
        targets, given = (rng.random((2, 300, labels)) < 0.1).astype(np.float32)
        expected, there = targets.T @ given, targets.sum(axis=0)
    else:
        targets = rng.integers(labels, size=300)
        given = np.where(rng.random(300) < 0.5, targets, rng.integers(labels, size=300))
        expected = confusion_matrix(targets, given, labels=np.arange(labels))
        there = expected.sum(axis=1)
    counts = confused(targets, given, labels)
    assert np.array_equal(counts.toarray(), expected)
    assert {(a, b): n for a, b, n in triples(counts)} == {
        (a, b): n for (a, b), n in np.ndenumerate(expected) if n
    }  # fmt: skip
    shown = shown_confusion(counts, there, names)
    assert shown.counts.sum() == expected.sum()
    assert shown.texts.sum() == there.sum()
    assert len(shown.names) == min(labels, MOST_SHOWN)
    if labels > MOST_SHOWN:
        assert shown.names[-1] == "others"
        k = names.index(shown.names[0])
        assert shown.numbers[0] == k + 1
        assert shown.counts[0, 0] == expected[k, k]
        assert shown.counts[0].sum() == expected[k].sum()
    assert shown.table().count("\n") == len(shown.names) + 1
    shown.draw(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes()[:4] == b"\x89PNG"
