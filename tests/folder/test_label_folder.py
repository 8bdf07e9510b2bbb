"""A classifier's folder: what is written is read back, and nothing that was changed is taken."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.edited_json import edit_json, make_older
from tests.runtime.small_models import tokenizer_of
from tidegate.config import ModelConfig
from tidegate.errors import TidegateError
from tidegate.folder import label_folder
from tidegate.folder.checked_tensors import read_header
from tidegate.folder.label_folder import ClassifierFolder, classifier_shapes, read_classifier, write_classifier
from tidegate.folder.tensor_file import write_tensor_file
from tidegate.text.ngrams import BUCKETS, ngram_shapes


@pytest.fixture
def folder(tmp_path):
    return ClassifierFolder(*parts(), ("好", "坏"), False, 1.5, False, tensors()), tmp_path


def parts():
    return ModelConfig(hidden_size=6, layers=1, tied=True, embedding_size=4), tokenizer_of()


def tensors(labels=2):
    config, tokenizer = parts()
    rng = np.random.default_rng(0)
    shapes = classifier_shapes(config, tokenizer.vocabulary_size, labels)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def test_what_is_written_is_read(folder):
    classifier, path = folder
    write_classifier(path, classifier)
    found = read_classifier(path)
    assert (found.model, found.labels, found.multi_label, found.temperature) == (
        classifier.model, classifier.labels, False, 1.5,
    )  # fmt: skip
    assert found.tensors.keys() == classifier.tensors.keys()
    assert all(np.array_equal(found.tensors[name], t) for name, t in classifier.tensors.items())


def test_with_ngrams(folder):
    classifier, path = folder
    scores = {name: np.ones(shape, np.float32) for name, shape in ngram_shapes(2).items()}
    write_classifier(path, replace(classifier, tensors=classifier.tensors | scores, ngrams="characters"))
    found = read_classifier(path)
    assert found.ngrams == "characters"
    assert found.tensors["ngrams.weight"].shape == (2, BUCKETS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["坏", "好"]}, "with other labels"),
        ({"model": {**vars(parts()[0]), "direction": "backward"}}, "with other settings"),
        ({"multi_label": True}, "with other settings"),
        ({"labels": ["好", "好"]}, "different names"),
        ({"labels": ["好"]}, "other names or shapes"),
        ({"labels": ["好", 1]}, "different names"),
        ({"multi_label": 1}, "no bool"),
        ({"both": True}, "other names or shapes"),
        ({"tokenizer_digest": "x"}, "another tokenizer"),
        ({"format": "tidegate-model"}, "was wanted"),
        ({"format_version": 1}, "version 1"),
        ({"extra": 1}, "other fields"),
        ({"model": {"hidden_size": -1}}, "hidden_size"),
    ],
)
def test_a_changed_labels_file_is_refused(folder, change, message):
    classifier, path = folder
    write_classifier(path, classifier)
    edit_json(path / "labels.json", **change)
    with pytest.raises(TidegateError, match=message):
        read_classifier(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": "0.0"}, "must be above 0"),
        ({"temperature": "nan"}, "must be above 0"),
        ({"temperature": "warm"}, "must be above 0"),
        ({"temperature": "2.0"}, "was changed"),
        ({"ngrams": "words"}, "other names or shapes"),
        ({"ngrams": "letters"}, "not known"),
        ({"labels": "[]"}, "with other labels"),
        ({"settings": "0" * 64}, "with other settings"),
    ],
)
def test_changed_metadata_are_refused(folder, change, message):
    classifier, path = folder
    write_classifier(path, classifier)
    file = path / "classifier.safetensors"
    save_file(classifier.tensors, file, read_header(file).metadata | change)
    with pytest.raises(TidegateError, match=message):
        read_classifier(path)


def test_killed_between_its_writes_it_is_the_old_one(folder, monkeypatch):
    classifier, path = folder
    write_classifier(path, classifier)
    scores = {name: np.ones(shape, np.float32) for name, shape in ngram_shapes(2).items()}
    new = replace(classifier, tensors=classifier.tensors | scores, ngrams="characters", temperature=2.5)

    def killed(*_):
        raise KeyboardInterrupt

    for write in ("write_settings", "write_checked"):
        with monkeypatch.context() as patch:
            patch.setattr(label_folder, write, killed)
            with pytest.raises(KeyboardInterrupt):
                write_classifier(path, new)
        found = read_classifier(path)
        assert (found.temperature, found.ngrams) == (1.5, "none")


def test_changed_weights_are_refused(folder):
    classifier, path = folder
    write_classifier(path, classifier)
    file = path / "classifier.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(TidegateError, match="was changed"):
        read_classifier(path)
    file.write_bytes(content[:-9])
    with pytest.raises(TidegateError, match="no whole safetensors"):
        read_classifier(path)
    file.unlink()
    with pytest.raises(TidegateError, match="is missing"):
        read_classifier(path)


def test_what_is_no_classifier_is_told(tmp_path):
    with pytest.raises(TidegateError, match="not there"):
        read_classifier(tmp_path / "nowhere")
    with pytest.raises(TidegateError, match="no classifier"):
        read_classifier(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(TidegateError, match="a language model, which has no labels"):
        read_classifier(tmp_path)


def test_weights_that_are_not_finite_are_not_written(folder):
    classifier, path = folder
    classifier.tensors["head.bias"][0] = np.nan
    with pytest.raises(TidegateError, match="no finite"):
        write_classifier(path, classifier)
    assert not (path / "labels.json").exists()


def test_a_folder_of_the_version_before_is_read(folder):
    """Its settings had no digest, neither in their file nor in the weights'."""
    classifier, path = folder
    write_classifier(path, classifier)
    make_older(path / "labels.json", 4)
    with pytest.raises(TidegateError, match="with other format version"):
        read_classifier(path)
    file = path / "classifier.safetensors"
    metadata = {n: v for n, v in read_header(file).metadata.items() if n not in ("settings", "weights_digest")}
    write_tensor_file(file, classifier.tensors, metadata | {"format_version": "4"})
    assert read_classifier(path).labels == classifier.labels
