"""TextClassifier as scikit-learn uses it."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks

import tidegate
from tests.runtime.small_models import random_tensors, tokenizer_of
from tidegate import estimator
from tidegate.errors import TidegateError
from tidegate.folder.model_folder import write_config, write_weights
from tidegate.runtime.classifier import Classifier

TEXTS = [f"{'春眠' if i % 3 else 'But soft'} {'處處' * (i % 4)}{i}" for i in range(60)]
LABELS = np.array([7 if i % 3 else -1 for i in range(60)])


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    path = tmp_path_factory.mktemp("estimator") / "base"
    config, tokenizer = tidegate.ModelConfig(hidden_size=12, layers=1), tokenizer_of()
    write_config(path, config, tokenizer, 1)
    write_weights(path, random_tensors(config, tokenizer.vocabulary_size), tokenizer)
    return str(path)


@pytest.fixture
def model(base):
    return tidegate.TextClassifier(base, "scratch", epochs=15, learning_rate=0.03, lanes=8, threads=1)


def test_fit_predict_score_save_load(model, tmp_path):
    assert model.fit(TEXTS, LABELS) is model
    assert model.classes_.tolist() == [-1, 7]
    assert model.score(TEXTS, LABELS) > 0.9
    p = model.predict_proba(TEXTS)
    assert p.shape == (60, 2)
    assert np.allclose(p.sum(axis=1), 1)
    assert np.array_equal(model.predict(TEXTS), model.classes_[p.argmax(axis=1)])
    assert model.report_["validation"]["texts"] == 6
    model.save(tmp_path / "saved")
    loaded = tidegate.TextClassifier.load(tmp_path / "saved")
    assert np.array_equal(loaded.predict_proba(TEXTS), p)
    assert loaded.predict(TEXTS).dtype == LABELS.dtype
    assert loaded.get_params() == model.get_params()
    assert Classifier.load(tmp_path / "saved").labels == ("-1", "7")
    with pytest.raises(TidegateError, match="not empty"):
        model.save(tmp_path / "saved")
    (tmp_path / "saved/classes.json").write_text("[]")
    with pytest.raises(TidegateError, match="does not fit"):
        tidegate.TextClassifier.load(tmp_path / "saved")


def test_numbers_are_the_labels_of_files(model, tmp_path):
    """Those with a fraction of zero too; a folder that spells them so is read as well."""
    model.fit(TEXTS, np.where(LABELS > 0, 1.0, 0.0)).save(tmp_path / "saved")
    assert Classifier.load(tmp_path / "saved").labels == ("0", "1")
    loaded = tidegate.TextClassifier.load(tmp_path / "saved")
    assert loaded.classes_.tolist() == [0.0, 1.0]
    found = loaded.predict(TEXTS)
    loaded.classifier_.labels = ("0.0", "1.0")  # of an earlier version
    assert np.array_equal(loaded.predict(TEXTS), found)


def test_a_copy_labels_alike(model, tmp_path):
    model.set_params(model=Path(model.model), epochs=np.float64(2), lanes=np.int64(8), validation=np.float64(0.1))
    model.fit(TEXTS, np.where(LABELS > 0, " 山", "b"))
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(copied.predict(TEXTS), model.predict(TEXTS))
    model.save(tmp_path / "saved")
    assert set(model.predict(TEXTS)) <= {" 山", "b"}


def test_what_fails_leaves_it_as_it_was(model, monkeypatch):
    model.fit(TEXTS, LABELS)
    before = model.predict_proba(TEXTS)
    monkeypatch.setattr(estimator, "finetune", lambda *_: 130)
    with pytest.raises(KeyboardInterrupt):
        model.fit(TEXTS, LABELS + 1)
    assert model.classes_.tolist() == [-1, 7]
    assert np.array_equal(model.predict_proba(TEXTS), before)


def test_the_same_seed_gives_the_same(model):
    one, two = (clone(model).fit(TEXTS, LABELS).predict_proba(TEXTS) for _ in range(2))
    assert np.array_equal(one, two)


def test_in_a_pipeline_and_a_grid_search(model):
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    grid = {"textclassifier__epochs": [1, 40], "textclassifier__ngrams": np.array([False])}  # which need no epochs
    search = GridSearchCV(make_pipeline(lower, model), grid, cv=2)
    search.fit(TEXTS, np.where(LABELS > 0, "山", "b"))
    assert search.best_params_ == {"textclassifier__epochs": 40, "textclassifier__ngrams": False}
    assert set(search.predict(TEXTS)) == {"山", "b"}


@pytest.mark.parametrize(
    "check",
    [
        "check_do_not_raise_errors_in_init_or_set_params",
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_estimator_tags_renamed",
        "check_get_params_invariance",
        "check_mixin_order",
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_set_params",
    ],
)
def test_scikit_learns_own_checks(check):
    """Those that need no table of numbers."""
    getattr(estimator_checks, check)("TextClassifier", tidegate.TextClassifier())


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ("one text", [1], "one string"),
        ([1, 2], [0, 1], "no sequence of strings"),
        ([], [], "0 sample"),
        (["a", "b"], [1], "one label for each of 2"),
        (["a", "b"], [1, 1], "1 class"),
        (["a", "b"], [" x", "x"], "not told apart"),
        (["a", " "], [0, 1], "is empty"),
        (["a", "b"], [0.1, 1.7], "continuous"),
        (["a", "b"], [0.0, float("nan")], "NaN"),
        (["a", "b", "c"], ["x", "y", float("nan")], "Label 2 of y is nan"),
        (["a", "b", "c"], ["x", "y", None], "Label 2 of y is missing"),
        (["a", "b"], ["0", "0.0"], "not told apart"),
        (["a", "b"], ["e\u0301", "\u00e9"], "not told apart"),
    ],
)
def test_what_is_no_data(model, X, y, message):
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)


def test_before_it_is_fitted(model, tmp_path):
    for ask in (lambda: model.predict(["a"]), lambda: model.save(tmp_path / "x")):
        with pytest.raises(estimator_checks.NotFittedError):
            ask()
