"""A classifier's folder: ``labels.json``, ``classifier.safetensors`` and ``tokenizer.json``. Nothing in it is executed.

``labels.json`` holds the settings and the labels in the order of the logits, and is the same all through a training.
What the end of one finds, the temperature of the probabilities and what n-grams are made of, stands in the metadata of
the weights: they change in one write, and a process that is killed leaves the old of all, or the new. How the training
texts were read stands there too; folders that were written before lack it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from tidegate.config import ModelConfig
from tidegate.errors import TidegateError
from tidegate.folder.checked_tensors import (
    check_finite,
    metadata_of,
    read_checked,
    read_header,
    read_settings,
    write_checked,
    write_settings,
)
from tidegate.folder.model_folder import ModelFolder, find_model, model_config
from tidegate.folder.presence import is_file, is_there
from tidegate.folder.tensor_file import content_digest
from tidegate.folder.tensors import RESTORE, expected_shapes
from tidegate.json_files import JsonLimits
from tidegate.text.digested import with_digest
from tidegate.text.formats import Reading
from tidegate.text.labels import LONGEST_LABEL, MOST_LABELS
from tidegate.text.ngrams import Unit, ngram_shapes
from tidegate.text.tokenizer import Tokenizer

LABELS, WEIGHTS = "labels.json", "classifier.safetensors"
FORMAT, FORMAT_VERSION = "tidegate-classifier", 5
SECOND = "second."
"""the beginning of the names of a second encoder's tensors"""
NONE = "none"
"""where no n-grams are counted"""
LABELS_LIMITS = JsonLimits(8 << 20, values=MOST_LABELS + 1000, containers=100)
FIELDS = {
    "format": str, "format_version": int, "model": dict, "vocabulary_size": int, "tokenizer_digest": str,
    "labels": list, "multi_label": bool, "both": bool,
}  # fmt: skip


@dataclass(frozen=True)
class ClassifierFolder:
    """A classifier as it lies on disk, checked."""

    model: ModelConfig
    tokenizer: Tokenizer
    labels: tuple[str, ...]
    """in the order of the logits"""
    multi_label: bool
    """whether each label has a probability of its own"""
    temperature: float
    """what the logits are divided by, fitted on validation texts"""
    both: bool
    """whether a second encoder of the same shape reads the texts from the other end"""
    tensors: dict[str, NDArray[np.float32]] = field(repr=False)
    """by the names of `classifier_shapes`"""
    ngrams: str = NONE
    """what they are made of, `tidegate.text.ngrams.Unit`"""
    reading: Reading | None = None
    """the columns and the encoding of the training texts; None where they are not known"""


def encoder_shapes(model: ModelConfig, vocabulary_size: int) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor of an encoder: those of a language model below its output layer."""
    return {
        name: shape for name, shape in expected_shapes(model, vocabulary_size).items() if not name.startswith("output")
    }


def classifier_shapes(
    model: ModelConfig, vocabulary_size: int, labels: int, both: bool = False, ngrams: bool = False
) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor of a classifier; both: of one with a second encoder; ngrams: of one
    that counts them as well."""
    encoder = encoder_shapes(model, vocabulary_size)
    second = {f"{SECOND}{name}": shape for name, shape in encoder.items()} if both else {}
    head = {"head.weight": (labels, (6 if both else 3) * model.hidden_size), "head.bias": (labels,)}
    return encoder | second | head | (ngram_shapes(labels) if ngrams else {})


def write_classifier(path: str | Path, classifier: ClassifierFolder) -> None:
    """Write the tokenizer, the labels and the weights, each atomically, into a folder that is there. The weights, all
    that a later save of a training changes, come last: a folder that has them is whole."""
    path = Path(path)
    check_finite(path / WEIGHTS, classifier.tensors, _shapes(classifier))  # before anything is written
    content = _content(classifier)
    write_settings(path / LABELS, content, classifier.tokenizer)
    write_checked(path / WEIGHTS, classifier.tensors, _shapes(classifier), _metadata(classifier, with_digest(content)))


def _content(classifier: ClassifierFolder) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": asdict(classifier.model),
        "vocabulary_size": classifier.tokenizer.vocabulary_size,
        "tokenizer_digest": classifier.tokenizer.digest,
        "labels": list(classifier.labels),
        "multi_label": classifier.multi_label,
        "both": classifier.both,
    }


def _shapes(classifier: ClassifierFolder) -> dict[str, tuple[int, ...]]:
    model, vocabulary = classifier.model, classifier.tokenizer.vocabulary_size
    return classifier_shapes(model, vocabulary, len(classifier.labels), classifier.both, classifier.ngrams != NONE)


def _metadata(classifier: ClassifierFolder, content: dict[str, Any]) -> dict[str, str]:
    """What the weights belong to: labels in another order would turn all answers round."""
    reading = classifier.reading
    how = {} if reading is None else {"columns": list(reading.columns), "encoding": reading.encoding}
    return {
        "tokenizer_digest": classifier.tokenizer.digest,
        "labels": json.dumps(classifier.labels, ensure_ascii=False),
        "temperature": json.dumps(float(classifier.temperature)),
        "ngrams": classifier.ngrams,
        **({"reading": json.dumps(how, ensure_ascii=False)} if how else {}),
        **metadata_of(content),
    }


def read_classifier(path: str | Path) -> ClassifierFolder:
    """Read a classifier's folder; a TidegateError says what is missing, changed, or of another classifier."""
    path = Path(path)
    if not is_file(path / LABELS):
        other = "a language model, which has no labels" if is_file(path / "config.json") else "no classifier"
        found = other if is_there(path) else "not there"
        raise TidegateError(
            f"{path} is {found}: give a folder with {LABELS}, as tidegate finetune --task classify writes it."
        )
    file = path / LABELS
    content, tokenizer = read_settings(file, LABELS_LIMITS, (FORMAT, FORMAT_VERSION), FIELDS)
    _check_labels(file, content["labels"])
    metadata = read_header(path / WEIGHTS).metadata
    temperature, ngrams = _found_at_the_end(path / WEIGHTS, metadata)
    empty = ClassifierFolder(
        model_config(content["model"], str(file)),
        tokenizer,
        tuple(content["labels"]),
        content["multi_label"],
        temperature,
        content["both"],
        {},
        ngrams,
        _reading(path / WEIGHTS, metadata.get("reading")),
    )
    tensors = read_checked(path / WEIGHTS, _shapes(empty), _metadata(empty, content))
    return ClassifierFolder(**{**vars(empty), "tensors": tensors})


def read_encoder(path: str | Path) -> ModelFolder:
    """Read what a model with an encoder can start from: a language model, by its folder or a base's name, or a
    classifier, with its head and, in the metadata, its labels and whether a text may have several."""
    path = find_model(path)
    if not is_file(path / LABELS):
        return ModelFolder.read(path)
    found = read_classifier(path)
    if found.both:
        raise TidegateError(f"{path} reads texts from both ends, and none can start from it: give a language model.")
    metadata = {
        "weights_digest": content_digest(found.tensors, {}),
        "labels": json.dumps(found.labels, ensure_ascii=False),
        "multi_label": json.dumps(found.multi_label),
    }
    return ModelFolder(path, found.model, found.tokenizer, dict(found.tensors), metadata, None)


def _check_labels(file: Path, labels: list[Any]) -> None:
    right = all(isinstance(label, str) and 0 < len(label) <= LONGEST_LABEL for label in labels)
    if not right or not 1 <= len(labels) <= MOST_LABELS or len(set(labels)) != len(labels):
        raise TidegateError(f"{file}: its labels are not from 1 to {MOST_LABELS:,} different names: {RESTORE}.")


def _found_at_the_end(file: Path, metadata: Mapping[str, str]) -> tuple[float, str]:
    """Read the temperature, and what n-grams are made of, from the metadata of the weights."""
    ngrams, written = metadata.get("ngrams", ""), metadata.get("temperature", "")
    try:
        temperature = float(written)
    except ValueError:
        temperature = math.nan
    if not (math.isfinite(temperature) and temperature > 0):
        raise TidegateError(f"{file}: the temperature is {written[:80]!r}, but it must be above 0: {RESTORE}.")
    if ngrams not in (NONE, *get_args(Unit)):
        raise TidegateError(f"{file}: ngrams is {ngrams[:80]!r}, which is not known: {RESTORE}.")
    return temperature, ngrams


def _reading(file: Path, written: str | None) -> Reading | None:
    """Read how the training texts were read; None of a folder that does not tell."""
    if written is None:
        return None
    try:
        found = json.loads(written)
        columns = found["columns"]
        if type(found) is dict and found.keys() == {"columns", "encoding"} and all(type(one) is str for one in columns):
            return Reading(found["encoding"], tuple(columns))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, TidegateError):
        pass
    raise TidegateError(f"{file}: reading is {written[:80]!r}, which is not known: {RESTORE}.")
