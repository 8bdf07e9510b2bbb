"""A classifier as scikit-learn's estimators are used: fit, predict, pipelines, grid searches; saved without pickle."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from tidegate.config import DataConfig, RunConfig, TrainingConfig
from tidegate.errors import TidegateError
from tidegate.files import unreadable
from tidegate.finetune import finetune
from tidegate.folder.atomic import write_atomically
from tidegate.folder.label_folder import LABELS, WEIGHTS
from tidegate.folder.model_folder import TOKENIZER
from tidegate.folder.presence import is_file
from tidegate.labelling import ClassWeights, LabelConfig, Recipe
from tidegate.runtime.classifier import Classifier
from tidegate.text.digested import digest_fits, with_digest
from tidegate.text.labels import label_name
from tidegate.tuning import TuningConfig

CLASSES = "classes.json"
"""beside a saved classifier: its labels as they were given to fit, numbers as numbers"""


class TextClassifier(ClassifierMixin, BaseEstimator):
    """Labels texts; each has one label.

    >>> model = TextClassifier("base-en", recipe="direct")                  # doctest: +SKIP
    >>> model.fit(["a fine film", "a dull one"] * 20, [1, 0] * 20)          # doctest: +SKIP
    >>> model.predict(["what a fine day"])                                  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | Path = "base-en",
        recipe: Recipe = "direct",
        *,
        backward: str | Path | None = None,
        epochs: float | None = None,
        learning_rate: float | None = None,
        dropout: float | None = None,
        validation: float = 0.1,
        class_weights: ClassWeights = "none",
        ngrams: bool = True,
        language_epochs: float = 2.0,
        lanes: int = 32,
        seed: int = 0,
        threads: int | None = None,
        verbose: bool = False,
    ) -> None:
        """Take the settings of ``tidegate finetune --task classify``; None stands for what the recipe chooses, and
        verbose shows the training as that does."""
        self.model = model
        self.recipe = recipe
        self.backward = backward
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.dropout = dropout
        self.validation = validation
        self.class_weights = class_weights
        self.ngrams = ngrams
        self.language_epochs = language_epochs
        self.lanes = lanes
        self.seed = seed
        self.threads = threads
        self.verbose = verbose

    def fit(self, X: Sequence[str], y: Sequence[Any]) -> TextClassifier:
        """Learn from texts X and their labels y, as many: names or numbers. TidegateError where they are none."""
        texts, labels = _texts(X), _labels(y)
        if labels.ndim != 1 or len(labels) != len(texts):
            raise ValueError(f"y has the shape {labels.shape}, but one label for each of {len(texts)} texts is wanted.")
        check_classification_targets(labels)
        classes = np.unique(labels)
        if len(classes) < 2:
            raise ValueError(f"y has {len(classes)} class, but a classifier tells two and more apart.")
        names = [label_name("y", one) for one in classes]
        if len(set(names)) < len(names) or not all(names):
            raise ValueError(f"y has classes that are not told apart by their names: {', '.join(names)[:200]!r}.")
        if empty := [i for i, text in enumerate(texts) if not text.strip()]:
            raise ValueError(f"Text {empty[0]} of X is empty, and nothing can be learned from it: omit it.")
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            rows = (
                json.dumps({"text": text, "label": label_name("y", label)}, ensure_ascii=False) + "\n"
                for text, label in zip(texts, labels, strict=True)
            )
            (folder / "texts.jsonl").write_text("".join(rows), encoding="utf-8")
            with contextlib.ExitStack() as quiet:
                if not self.verbose:
                    quiet.enter_context(contextlib.redirect_stdout(io.StringIO()))
                self._finetune(folder)
            classifier = Classifier.load(folder / "model")
            self.report_ = json.loads((folder / "model" / "report.json").read_text(encoding="utf-8"))
            self._files = {file: (folder / "model" / file).read_bytes() for file in (LABELS, WEIGHTS, TOKENIZER)}
        self.classifier_, self.classes_, self.n_features_in_ = classifier, classes, 1
        return self

    def _finetune(self, folder: Path) -> None:
        given: dict[str, Any] = {
            name: _plain(getattr(self, name))
            for name in ("epochs", "learning_rate", "dropout", "lanes", "seed", "threads")
            if getattr(self, name) is not None
        }
        code = finetune(
            TuningConfig(model=_plain(self.model), task="classify"),
            LabelConfig(
                recipe=self.recipe,
                backward=_plain(self.backward),
                class_weights=self.class_weights,
                ngrams=_plain(self.ngrams),
                language_epochs=self.language_epochs,
            ),
            DataConfig(data=(str(folder / "texts.jsonl"),), validation=self.validation, keep_duplicates=True),
            TrainingConfig(**given),
            RunConfig(out=str(folder / "model"), cache=str(folder / "cache"), given=frozenset(given)),
        )
        if code:
            raise KeyboardInterrupt

    def predict_proba(self, X: Sequence[str]) -> NDArray[np.float64]:
        """Return the probability of each class, ``(N, K)``, in the order of ``classes_``."""
        check_is_fitted(self)
        places = {label_name("a classifier", label): k for k, label in enumerate(self.classifier_.labels)}
        order = [places[label_name("classes_", label)] for label in self.classes_]
        found = self.classifier_.probabilities(_texts(X))[:, order].astype(np.float64)
        return cast("NDArray[np.float64]", found / found.sum(axis=1, keepdims=True))

    def predict(self, X: Sequence[str]) -> NDArray[Any]:
        """Return the likeliest class of each text, ``(N,)``."""
        likeliest = self.predict_proba(X).argmax(axis=1)
        return cast("NDArray[Any]", self.classes_[likeliest])

    def save(self, path: str | Path) -> None:
        """Write the fitted classifier into a new folder, which ``tidegate classify`` reads as well."""
        check_is_fitted(self)
        path = Path(path)
        if path.exists() and any(path.iterdir()):
            raise TidegateError(f"{path} is not empty: choose another folder.")
        path.mkdir(parents=True, exist_ok=True)
        try:
            for name, content in self._files.items():
                write_atomically(path / name, content)
            settings = {
                "classes": self.classes_.tolist(),
                "settings": {name: _plain(value) for name, value in self.get_params().items()},
            }
            write_atomically(path / CLASSES, json.dumps(with_digest(settings), ensure_ascii=False, indent=2).encode())
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise

    @classmethod
    def load(cls, path: str | Path) -> TextClassifier:
        """Read a folder that `save` wrote, or one of ``tidegate finetune --task classify``."""
        path = Path(path)
        classifier = Classifier.load(path)
        if classifier.multi_label:
            raise TidegateError(f"{path} gives a text several labels, but this estimator gives one.")
        saved: dict[str, Any] = {"classes": list(classifier.labels), "settings": {}}
        if is_file(path / CLASSES):
            try:
                saved = json.loads((path / CLASSES).read_text(encoding="utf-8"))
                known = set(cls().get_params())
                right = digest_fits(saved) or set(saved) == {"classes", "settings"}  # older ones have no digest
                names = [label_name(CLASSES, one) for one in saved["classes"]]
                right = right and sorted(names) == sorted(label_name(LABELS, one) for one in classifier.labels)
                right = right and set(saved["settings"]) <= known
            except PermissionError as error:
                raise unreadable(path / CLASSES, error) from error
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError, TidegateError):
                right = False
            if not right:
                raise TidegateError(
                    f"{path / CLASSES} was changed after it was written, or does not fit the classifier: restore the "
                    "file from a copy."
                )
        found = cls(**saved["settings"])
        found.classifier_, found.classes_ = classifier, np.array(saved["classes"])
        found._files = {file: (path / file).read_bytes() for file in (LABELS, WEIGHTS, TOKENIZER)}
        found.n_features_in_ = 1
        return found

    def __getstate__(self) -> Any:
        """Leave out what runs, which is made anew from the files: so that copies and other processes have it too."""
        return {name: value for name, value in super().__getstate__().items() if name != "classifier_"}

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        if hasattr(self, "classes_"):
            with tempfile.TemporaryDirectory() as folder:
                for name, content in self._files.items():
                    (Path(folder) / name).write_bytes(content)
                self.classifier_ = Classifier.load(folder)

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that X is texts, not a table of numbers."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.no_validation = True
        tags.non_deterministic = False
        return tags


def _plain(value: Any) -> Any:
    """Return a number of NumPy's, as grids have them, as one of Python's, and a path as a string."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if isinstance(value, np.generic) else value


def _labels(y: Sequence[Any]) -> NDArray[Any]:
    """Return labels as an array; a ValueError where one is missing, of which NumPy would make the name nan or None."""
    for place, label in enumerate(y):
        if label is None or type(label).__name__ in ("NAType", "NaTType"):
            raise ValueError(f"Label {place} of y is missing ({label}): give one, or omit this text.")
        if isinstance(label, float | np.floating) and not np.isfinite(label):
            raise ValueError(f"Label {place} of y is {label}, NaN or infinite: give one, or omit this text.")
    return np.asarray(y)


def _texts(X: Sequence[str]) -> list[str]:
    """Return texts as a list of strings; a ValueError where they are anything else."""
    if isinstance(X, str):
        raise ValueError("X is one string, but a sequence of texts is wanted: put it in a list.")
    texts = np.asarray(X, dtype=object)
    if texts.ndim == 2 and texts.shape[1] == 1:  # a column of a table
        texts = texts[:, 0]
    if texts.ndim != 1 or not all(isinstance(text, str) for text in texts):
        raise ValueError("X is no sequence of strings, but texts are wanted, one a sample.")
    if not len(texts):
        raise ValueError("Found array with 0 sample(s), but at least one text is wanted.")
    return [str(text) for text in texts]
