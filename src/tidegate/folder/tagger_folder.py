"""A tagger's folder: ``tagger.json``, ``tagger.safetensors`` and ``tokenizer.json``. Nothing in it is executed.

``tagger.json`` holds the settings, the tags in the order of the emissions, and the words and characters that have
vectors of their own.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from tidegate.config import Cell, ModelConfig
from tidegate.errors import TidegateError
from tidegate.folder.checked_tensors import (
    check_finite,
    metadata_of,
    read_checked,
    read_settings,
    write_checked,
    write_settings,
)
from tidegate.folder.label_folder import encoder_shapes
from tidegate.folder.model_folder import model_config
from tidegate.folder.presence import is_file, is_there
from tidegate.folder.tensors import RESTORE
from tidegate.json_files import JsonLimits
from tidegate.text.digested import with_digest
from tidegate.text.tagged import LONGEST_TAG, MOST_TAGS
from tidegate.text.tokenizer import Tokenizer
from tidegate.text.tokenizers.base import canonical_digest
from tidegate.text.word_features import MOST_WORDS, WordVocabulary
from tidegate.theory.layout import GATES

SETTINGS, WEIGHTS = "tagger.json", "tagger.safetensors"
FORMAT, FORMAT_VERSION = "tidegate-tagger", 2
SETTINGS_LIMITS = JsonLimits(64 << 20, values=2 * MOST_WORDS, containers=100)
MOST_UNITS = 16384
SIZES = ("units", "word_size", "character_size", "character_units")
FIELDS = {
    "format": str, "format_version": int, "model": dict, "vocabulary_size": int, "tokenizer_digest": str,
    "tags": list, "words": list, "characters": list, "cell": str, **dict.fromkeys(SIZES, int),
}  # fmt: skip


@dataclass(frozen=True)
class TaggerFolder:
    """A tagger as it lies on disk, checked."""

    model: ModelConfig
    tokenizer: Tokenizer
    tags: tuple[str, ...]
    """in the order of the emissions; those of entities in BIOES"""
    vocabulary: WordVocabulary
    cell: Cell
    """of the layers above the encoder"""
    units: int
    word_size: int
    character_size: int
    character_units: int
    tensors: dict[str, NDArray[np.float32]] = field(repr=False)
    """by the names of `tagger_shapes`"""


def tagger_shapes(folder: TaggerFolder) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor of a tagger."""
    K, C = len(folder.tags), folder.character_size
    inputs = folder.model.hidden_size + folder.word_size + 2 * folder.character_units
    shapes = encoder_shapes(folder.model, folder.tokenizer.vocabulary_size)
    shapes["word_embedding.weight"] = (len(folder.vocabulary.words) + 1, folder.word_size)
    shapes["character_embedding.weight"] = (len(folder.vocabulary.characters) + 1, C)
    for name, I, H in (("character_layer", C, folder.character_units), ("sentence_layer", inputs, folder.units)):
        rows = len(GATES[folder.cell]) * H
        for way in ("forwards", "backwards"):
            shapes[f"{name}.{way}.weight_ih_l0"] = (rows, I)
            shapes[f"{name}.{way}.weight_hh_l0"] = (rows, H)
            shapes[f"{name}.{way}.bias_ih_l0"] = shapes[f"{name}.{way}.bias_hh_l0"] = (rows,)
    shapes["emission.weight"], shapes["emission.bias"] = (K, 2 * folder.units), (K,)
    return shapes | {"crf.transitions": (K, K), "crf.start": (K,), "crf.end": (K,)}


def write_tagger(path: str | Path, tagger: TaggerFolder) -> None:
    """Write the tokenizer, the settings and the weights, each atomically, into a folder that is there. The weights, all
    that a later save of a training changes, come last: a folder that has them is whole."""
    path = Path(path)
    check_finite(path / WEIGHTS, tagger.tensors, tagger_shapes(tagger))  # before anything is written
    content = _content(tagger)
    write_settings(path / SETTINGS, content, tagger.tokenizer)
    write_checked(path / WEIGHTS, tagger.tensors, tagger_shapes(tagger), _metadata(tagger, with_digest(content)))


def _content(tagger: TaggerFolder) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": asdict(tagger.model),
        "vocabulary_size": tagger.tokenizer.vocabulary_size,
        "tokenizer_digest": tagger.tokenizer.digest,
        "tags": list(tagger.tags),
        "words": list(tagger.vocabulary.words),
        "characters": list(tagger.vocabulary.characters),
        "cell": tagger.cell,
        **{name: getattr(tagger, name) for name in SIZES},
    }


def read_tagger(path: str | Path) -> TaggerFolder:
    """Read a tagger's folder; a TidegateError says what is missing, changed, or of another tagger."""
    path = Path(path)
    file = path / SETTINGS
    if not is_file(file):
        other = "a language model, which has no tags" if is_file(path / "config.json") else "no tagger"
        found = other if is_there(path) else "not there"
        raise TidegateError(f"{path} is {found}: give a folder with {SETTINGS}, as finetune --task tag writes it.")
    content, tokenizer = read_settings(file, SETTINGS_LIMITS, (FORMAT, FORMAT_VERSION), FIELDS)
    _check_values(file, content)
    empty = TaggerFolder(
        model_config(content["model"], str(file)),
        tokenizer,
        tuple(content["tags"]),
        WordVocabulary(tuple(content["words"]), tuple(content["characters"])),
        content["cell"],
        **{name: content[name] for name in SIZES},
        tensors={},
    )
    tensors = read_checked(path / WEIGHTS, tagger_shapes(empty), _metadata(empty, content))
    return TaggerFolder(**{**vars(empty), "tensors": tensors})


def _metadata(tagger: TaggerFolder, content: dict[str, Any]) -> dict[str, str]:
    """What the weights belong to: words or tags in another order would make nonsense of all."""
    return {
        "tokenizer_digest": tagger.tokenizer.digest,
        "tags": json.dumps(tagger.tags, ensure_ascii=False),
        "words": canonical_digest([tagger.vocabulary.words, tagger.vocabulary.characters]),
        "cell": tagger.cell,
        **metadata_of(content),
    }


def _check_values(file: Path, content: dict[str, Any]) -> None:
    for name in ("tags", "words", "characters"):
        values = content[name]
        if not all(isinstance(value, str) and value for value in values) or len(set(values)) != len(values):
            raise TidegateError(f"{file}: its {name} are not different names: {RESTORE}.")
    if not 1 <= len(content["tags"]) <= MOST_TAGS or max(map(len, content["tags"])) > LONGEST_TAG:
        raise TidegateError(f"{file}: its tags are not from 1 to {MOST_TAGS:,}: {RESTORE}.")
    if content["cell"] not in get_args(Cell):
        raise TidegateError(f"{file}: the cell is {content['cell'][:40]!r}, which is not known: {RESTORE}.")
    for name in SIZES:
        if not 1 <= content[name] <= MOST_UNITS:
            raise TidegateError(f"{file}: {name} is {content[name]}, but 1 to {MOST_UNITS:,} are wanted: {RESTORE}.")
