"""One bit of a file that is read back is changed, as a failing disk does: it is refused by name, or reads the same."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.models.test_tagger import folder_of as tagger_of
from tests.runtime.small_models import random_tensors, tokenizer_of
from tests.training.run_folders import write_run
from tidegate.config import ModelConfig, TrainingConfig
from tidegate.errors import TidegateError
from tidegate.estimator import TextClassifier
from tidegate.folder.adapter import Adapter, adapted_names, read_adapter, write_adapter
from tidegate.folder.chat_file import Chat, read_chat, write_chat
from tidegate.folder.label_folder import ClassifierFolder, classifier_shapes, read_classifier, write_classifier
from tidegate.folder.model_folder import ModelFolder, write_config, write_json, write_weights
from tidegate.folder.tagger_folder import read_tagger, write_tagger
from tidegate.folder.tensors import expected_shapes
from tidegate.models.language_model import LanguageModel
from tidegate.runtime.model import Model
from tidegate.runtime.sampling import Sampling
from tidegate.runtime.session import Session
from tidegate.text.chat_template import ChatTemplate
from tidegate.text.prepare import prepare
from tidegate.training import checkpoint
from tidegate.training.events import Events, JsonlLog, read_log, read_milestones
from tidegate.training.record import read_record
from tidegate.training.state import capture, new_state

CONFIG, TOKENIZER = ModelConfig("gru", 1, 4, 3), tokenizer_of()
V = TOKENIZER.vocabulary_size
TEMPLATE = ChatTemplate.of("labels")


@dataclass(frozen=True)
class Kept:
    """What is kept on disk: its files, and how they are read."""

    files: tuple[Path, ...]
    read: Callable[[], Any]


def plain(value: Any) -> Any:
    """A value that can be compared, whatever arrays are in it."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return getattr(value, "digest", value)


def random(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def model(path: Path) -> Kept:
    write_config(path, CONFIG, TOKENIZER, 7, template=TEMPLATE)
    write_weights(path, random_tensors(CONFIG, V), TOKENIZER)
    write_chat(path, Chat(TEMPLATE, single_turn=True))
    names = ("config.json", "tokenizer.json", "model.safetensors", "chat_template.jinja", "chat.json")
    return Kept(tuple(path / name for name in names), lambda: (plain(ModelFolder.read(path)), read_chat(path)))


def classifier(path: Path) -> Kept:
    path.mkdir()
    tensors = random(classifier_shapes(CONFIG, V, 2))
    write_classifier(path, ClassifierFolder(CONFIG, TOKENIZER, ("好", "坏"), False, 1.5, False, tensors))
    return Kept((path / "labels.json", path / "classifier.safetensors"), lambda: plain(read_classifier(path)))


def estimator(path: Path) -> Kept:
    classifier(path)
    write_json(path / "classes.json", {"classes": ["好", "坏"], "settings": {"epochs": 2.0}})
    return Kept(
        (path / "classes.json",),
        lambda: (TextClassifier.load(path).get_params(), TextClassifier.load(path).classes_.tolist()),
    )


def tagger(path: Path) -> Kept:
    path.mkdir()
    write_tagger(path, tagger_of())
    return Kept((path / "tagger.json", path / "tagger.safetensors"), lambda: plain(read_tagger(path)))


def adapter(path: Path) -> Kept:
    path.mkdir()
    shapes, tensors = expected_shapes(CONFIG, V), {}
    for name in adapted_names(CONFIG, V, ("weight_hh",)):
        tensors |= random({f"{name}.A": (2, shapes[name][1]), f"{name}.B": (shapes[name][0], 2)})
    write_adapter(path, Adapter("base", "d" * 64, 2, 4.0, tensors))
    files = path / "adapter.json", path / "adapter.safetensors"
    return Kept(files, lambda: plain(read_adapter(path, CONFIG, V, "d" * 64)))


def session(path: Path) -> Kept:
    tokenizer = tokenizer_of("bytes")
    write_config(path, CONFIG, tokenizer, 7, template=TEMPLATE)
    write_weights(path, random_tensors(CONFIG, tokenizer.vocabulary_size), tokenizer)
    running = Model.load(path)
    talk = Session(running, TEMPLATE)
    list(talk.ask("what light", Sampling(seed=1), 5))
    talk.save(path / "talk")

    def read() -> Any:
        again = Session(running, TEMPLATE)
        again.restore(path / "talk")
        assert again.state is not None
        return again.turns, [plain(part) for layer in again.state for part in layer]

    return Kept((path / "talk",), read)


def run(path: Path) -> Kept:
    write_run(path)
    state = new_state(LanguageModel(CONFIG, V), TrainingConfig(), 2)
    file = path / "training" / "checkpoint.safetensors"
    checkpoint.save(file, capture(state))

    def read() -> Any:
        tensors, numbers = checkpoint.load(file, state, 5)
        return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}, numbers

    return Kept((file, path / "training" / "run.json"), lambda: (read(), read_record(path / "training" / "run.json")))


def cache(path: Path) -> Kept:
    path.mkdir()
    text = path / "text.txt"
    text.write_text("床前明月光，疑是地上霜。\nthe tide\n" * 9, encoding="utf-8")

    def read() -> Any:
        found = prepare([text], cache=path / "cache", kind="words")
        stores = (found.train, found.validation)
        ids = [
            None if one is None else (one.read(0, len(one)).tolist(), one.document_starts.tolist()) for one in stores
        ]
        return found.digest, found.tokenizer.digest, found.train.byte_count, found.train.unknown_count, ids, found.found

    os.utime(text, (1e9, 1e9))
    read()
    return Kept(tuple(p for p in sorted((path / "cache").rglob("*")) if p.is_file() and p.stat().st_size), read)


KINDS = (model, classifier, estimator, tagger, adapter, session, run, cache)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_changed_bit_is_refused_or_changes_nothing(tmp_path_factory, kind):
    kept = kind(tmp_path_factory.mktemp("bits") / "kept")
    right = kept.read()

    @settings(max_examples=10 if kind is cache else 25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def flip(file: Path, place: float, bit: int) -> None:
        whole = file.read_bytes()
        changed = bytearray(whole)
        changed[int(place * len(whole))] ^= 1 << bit
        file.write_bytes(changed)
        try:
            assert kept.read() == right
        except TidegateError as error:
            assert str(file.parent) in str(error)  # noqa: PT017 (nothing may be raised, too)
        finally:
            file.write_bytes(whole)

    for file in kept.files:
        flip(file)


def test_no_changed_line_of_a_log_is_read(tmp_path):
    """A log is repaired: the line is omitted."""
    log = JsonlLog(tmp_path / "log.jsonl", 0)
    events = Events([log])
    for step in range(3):
        events.tell("step", step, loss=3.5 - step)
    log.close()
    whole, right = (tmp_path / "log.jsonl").read_bytes(), read_log(tmp_path / "log.jsonl")
    assert [event["loss"] for event in right] == [3.5, 2.5, 1.5]
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        (tmp_path / "log.jsonl").write_bytes(changed)
        found = read_log(tmp_path / "log.jsonl")
        assert all(event in right for event in found)
        assert len(found) in (1, 2)  # a changed line end joins two
        assert all(event in right for event in read_milestones(tmp_path / "log.jsonl"))
