"""Small folders of every kind, as a stranger may hand them over: a model, an adapter, a session, a classifier, a
tagger, a run; and the commands that read each."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.runtime.small_models import random_tensors
from tidegate.config import ModelConfig
from tidegate.folder.adapter import Adapter, adapted_names, write_adapter
from tidegate.folder.chat_file import Chat, write_chat
from tidegate.folder.label_folder import ClassifierFolder, classifier_shapes, write_classifier
from tidegate.folder.model_folder import write_config, write_weights
from tidegate.folder.tagger_folder import TaggerFolder, tagger_shapes, write_tagger
from tidegate.folder.tensor_file import write_tensor_file
from tidegate.folder.tensors import expected_shapes
from tidegate.runtime.model import Model
from tidegate.runtime.sampling import Sampling
from tidegate.runtime.session import Session
from tidegate.text.chat_template import ChatTemplate
from tidegate.text.tokenizer import Tokenizer, train
from tidegate.text.word_features import WordVocabulary

MODEL = ModelConfig("gru", 1, 4)
SAID = "what is a tide? 潮"
READERS: dict[str, list[list[str]]] = {
    "model": [["generate", "{}", "--max-tokens", "2", "--prompt", "a"], ["embed", "{}"],
              ["evaluate", "{}", "--data", "text.txt"]],
    "chat": [["chat", "{}", "--max-tokens", "2"]],
    "adapter": [["generate", "model", "--adapter", "{}", "--max-tokens", "2", "--prompt", "a"],
                ["merge", "model", "--adapter", "{}", "--out", "merged"]],
    "session": [["chat", "chat", "--session", "{}/a.state", "--max-tokens", "2"]],
    "classifier": [["classify", "{}"], ["embed", "{}"]],
    "tagger": [["tag", "{}"]],
    "import": [["import", "{}/a.safetensors", "--vocabulary", "{}/vocabulary.json", "--out", "imported"]],
}  # fmt: skip
"""for each kind of folder the commands that read it, {} being the folder"""


def write_strangers(place: Path) -> None:
    """Write a folder of each kind, by its name."""
    tokenizer = train("bytes", [])
    _write_model(place / "model", tokenizer)
    _write_model(place / "chat", tokenizer, ChatTemplate.of("turns"))
    write_chat(place / "chat", Chat(ChatTemplate.of("turns")))
    _write_adapter(place / "adapter", Model.load(place / "model"))
    session = Session(Model.load(place / "chat"), ChatTemplate.of("turns"))
    list(session.ask("a", Sampling(), 2))
    (place / "session").mkdir()
    session.save(place / "session/a.state")
    _write_labels(place, tokenizer)
    _write_state_dict(place / "import")
    (place / "text.txt").write_text(f"{SAID}\n" * 20, encoding="utf-8")


def _write_model(path: Path, tokenizer: Tokenizer, template: ChatTemplate | None = None) -> None:
    write_config(path, MODEL, tokenizer, 1000, template=template)
    write_weights(path, random_tensors(MODEL, tokenizer.vocabulary_size), tokenizer)


def _write_adapter(path: Path, model: Model) -> None:
    path.mkdir()
    shapes, tensors = expected_shapes(MODEL, model.tokenizer.vocabulary_size), {}
    for name in adapted_names(MODEL, model.tokenizer.vocabulary_size, ["weight_hh"]):
        tensors[f"{name}.A"] = np.ones((2, shapes[name][1]), np.float32)
        tensors[f"{name}.B"] = np.ones((shapes[name][0], 2), np.float32)
    write_adapter(path, Adapter("model", model.digest, 2, 4.0, tensors))


def _write_labels(place: Path, tokenizer: Tokenizer) -> None:
    V = tokenizer.vocabulary_size
    (place / "classifier").mkdir()
    tensors = {name: np.ones(shape, np.float32) for name, shape in classifier_shapes(MODEL, V, 2).items()}
    write_classifier(
        place / "classifier", ClassifierFolder(MODEL, tokenizer, ("good", "bad"), False, 1.5, False, tensors)
    )
    (place / "tagger").mkdir()
    words = WordVocabulary(("tide", "the"), tuple("thide"[:4]))
    tagger = TaggerFolder(
        MODEL, tokenizer, ("B-X", "I-X", "E-X", "S-X", "O"), words, "lstm", units=2, word_size=2, character_size=2,
        character_units=2, tensors={},
    )  # fmt: skip
    tagger.tensors.update({name: np.ones(shape, np.float32) for name, shape in tagger_shapes(tagger).items()})
    write_tagger(place / "tagger", tagger)


def _write_state_dict(path: Path) -> None:
    path.mkdir()
    shapes = {
        "embedding.weight": (5, 4), "rnn.weight_ih_l0": (16, 4), "rnn.weight_hh_l0": (16, 4), "rnn.bias_ih_l0": (16,),
        "rnn.bias_hh_l0": (16,), "decoder.weight": (5, 4), "decoder.bias": (5,),
    }  # fmt: skip
    tensors = {name: np.full(shape, 0.5, np.float32) for name, shape in shapes.items()}
    write_tensor_file(path / "a.safetensors", tensors, {})
    (path / "vocabulary.json").write_text('["a", "b", "c", "d", "<unk>"]', encoding="utf-8")
