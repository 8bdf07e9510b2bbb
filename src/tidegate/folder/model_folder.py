"""The model folder: ``config.json``, ``model.safetensors`` and ``tokenizer.json``, all that it takes to run a model.

Nothing in it is ever executed. Config and tokenizer are written once, the weights as often as a run saves; a reader
checks all three against each other, so that weights never meet a tokenizer or settings that are not theirs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tidegate.config import ModelConfig, from_dict
from tidegate.errors import TidegateError, nearest
from tidegate.folder.atomic import write_atomically
from tidegate.folder.bases import find_model, or_a_base
from tidegate.folder.presence import is_file, is_there
from tidegate.folder.tensor_file import CHANGED
from tidegate.folder.tensors import FORMAT, RESTORE, Tensors, read_tensors, write_tensors
from tidegate.json_files import JsonLimits, read_json
from tidegate.text.chat_template import ChatTemplate
from tidegate.text.digested import DIGEST, digest_fits, with_digest
from tidegate.text.tokenizer import TOKENIZER_LIMITS, Tokenizer, from_json

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
TEMPLATE = "chat_template.jinja"
CONFIG_LIMITS = JsonLimits(1 << 20, values=1000, containers=100)
CONFIG_FIELDS = (
    *("format", "format_version", "model", "vocabulary_size", "tokenizer_digest", "documents", "unknown"),
    *("template_digest", DIGEST),
)

CONFIG_VERSION = 3


def _without_dropout(model: Any) -> Any:
    """Leave out what version 1 counted among the model's settings, though it is one of the training."""
    return {name: value for name, value in model.items() if name != "dropout"} if isinstance(model, dict) else model


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: lambda config: {**config, "model": _without_dropout(config.get("model"))},
    2: lambda config: with_digest({"documents": None, **config, "template_digest": None, "format_version": 3}),
}
"""For each older version of config.json, what turns it into the next one. Those before 3 have no digest."""


@dataclass(frozen=True)
class ModelFolder:
    """A model as it lies on disk, checked."""

    path: Path
    model: ModelConfig
    tokenizer: Tokenizer
    tensors: dict[str, NDArray[Any]]
    """float32, by the names of `expected_shapes`"""
    metadata: dict[str, str]
    """of the weights' file: format, version, digests"""
    documents: int | None
    """how many the training text has; None if that is not known"""
    unknown: int | None = None
    """how many tokens of the training text are the unknown one; None if that is not known"""

    @classmethod
    def read(cls, path: str | Path) -> ModelFolder:
        """Read a model folder, or a base model by its name; a TidegateError says what is missing, changed, or of
        another version or model."""
        path = find_model(path)
        _check_is_model_folder(path)
        model, config = read_config(path)
        tokenizer = read_tokenizer(path)
        _check_fits(path / CONFIG, config["tokenizer_digest"], tokenizer)
        if config["vocabulary_size"] != tokenizer.vocabulary_size:
            raise TidegateError(
                f"{path / CONFIG} gives the vocabulary_size {config['vocabulary_size']}, but {TOKENIZER} has "
                f"{tokenizer.vocabulary_size} tokens: {RESTORE}."
            )
        if not is_file(path / WEIGHTS):
            raise TidegateError(
                f"{path} has no {WEIGHTS} yet: its training was stopped before it first saved; "
                f"resume it with tidegate train --resume {path}."
            )
        tensors, metadata = read_tensors(path / WEIGHTS, model, tokenizer.vocabulary_size)
        _check_fits(path / WEIGHTS, metadata["tokenizer_digest"], tokenizer)
        _check_settings(path / WEIGHTS, metadata["model"], model)
        return cls(path, model, tokenizer, tensors, metadata, config.get("documents"), config.get("unknown"))


def write_config(
    path: str | Path,
    model: ModelConfig,
    tokenizer: Tokenizer,
    documents: int | None = None,
    unknown: int | None = None,
    template: ChatTemplate | None = None,
) -> None:
    """Write config.json and tokenizer.json, each atomically, into a folder that is made where it is not there yet.

    documents: how many the training text has; unknown: how many of its tokens are the unknown one; None if that is not
    known; template: of conversations, where the model learned to answer, which is written as well.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TidegateError(f"The folder {path} could not be made ({error.strerror}): choose another place.") from error
    content = {
        "format": FORMAT,
        "format_version": CONFIG_VERSION,
        "model": asdict(model),
        "vocabulary_size": tokenizer.vocabulary_size,
        "tokenizer_digest": tokenizer.digest,
        "documents": documents,
        "unknown": unknown,
        "template_digest": None if template is None else template.digest,
    }
    if template is not None:
        write_atomically(path / TEMPLATE, template.source.encode())
    write_tokenizer(path, tokenizer)
    write_json(path / CONFIG, content)


def write_tokenizer(path: Path, tokenizer: Tokenizer) -> None:
    """Write tokenizer.json atomically: its digest stands in the settings beside it."""
    write_atomically(path / TOKENIZER, _to_bytes(tokenizer.to_json()))


def write_weights(path: str | Path, tensors: Tensors, tokenizer: Tokenizer, int8: bool = False) -> None:
    """Write model.safetensors atomically beside the config.json of the same model, and with its shapes; int8: in a
    quarter of the bytes, rounded."""
    path = Path(path)
    model, config = read_config(path)
    _check_fits(path / CONFIG, config["tokenizer_digest"], tokenizer)
    write_tensors(path / WEIGHTS, tensors, model, tokenizer.vocabulary_size, tokenizer.digest, int8)


def read_config(path: Path) -> tuple[ModelConfig, dict[str, Any]]:
    """Return the model's settings of a folder's config.json, and the whole of it at the current version."""
    file = path / CONFIG
    config = read_json(file, CONFIG_LIMITS, RESTORE)
    if config.get("format") != FORMAT:
        raise TidegateError(
            f"{file} is of format {config.get('format')!r}, but {FORMAT!r} was wanted: "
            "give a folder that tidegate train made."
        )
    config = _migrated(file, check_json(file, config))
    for name in config:
        if name not in CONFIG_FIELDS:
            raise TidegateError(f"{file} has the unknown field {name!r}{nearest(name, CONFIG_FIELDS)}: {RESTORE}.")
    for name, kind in (("model", dict), ("vocabulary_size", int), ("tokenizer_digest", str)):
        if type(config.get(name)) is not kind:
            raise TidegateError(
                f"{file}: {name} is {json.dumps(config.get(name))[:80]}, but a {kind.__name__} was wanted: {RESTORE}."
            )
    if not isinstance(config.get("template_digest"), str | None):
        raise TidegateError(f"{file}: template_digest is no digest: {RESTORE}.")
    for name in ("documents", "unknown"):
        count = config.get(name)
        if not (count is None or (type(count) is int and count >= 0)):
            raise TidegateError(f"{file}: {name} is {json.dumps(count)[:80]}, but a count was wanted: {RESTORE}.")
    return model_config(config["model"], str(file)), config


def _migrated(file: Path, config: dict[str, Any]) -> dict[str, Any]:
    found = version = config.get("format_version")
    while type(version) is not int or version != CONFIG_VERSION:  # True == 1, but is no version
        if type(version) is not int or version not in MIGRATIONS:
            raise TidegateError(
                f"{file} has the format_version {found!r}, but this Tidegate reads {CONFIG_VERSION}: "
                "use the version of Tidegate that wrote it, or a newer one."
            )
        config, version = MIGRATIONS[version](config), version + 1
    if DIGEST not in config:
        raise TidegateError(f"{file} lacks its digest: {RESTORE}.")
    return config


def model_config(values: dict[str, Any], where: str) -> ModelConfig:
    """Build the settings from JSON, whose types are checked here: the rules of `ModelConfig` are about values."""
    allowed = {"int": (int,), "int | None": (int, type(None)), "float": (int, float), "bool": (bool,)}
    for field in fields(ModelConfig):
        value = values.get(field.name, field.default)
        if type(value) not in allowed.get(str(field.type), (str,)):
            raise TidegateError(
                f"{where}: {field.name} is {json.dumps(value)[:80]}, but {field.type} was wanted: {RESTORE}."
            )
    try:
        return from_dict(ModelConfig, values, where)
    except TidegateError as error:
        raise TidegateError(str(error) if where in str(error) else f"{where}: {error}") from None


def read_tokenizer(path: Path) -> Tokenizer:
    """Return the tokenizer of a folder's tokenizer.json."""
    file = path / TOKENIZER
    values = read_json(file, TOKENIZER_LIMITS, RESTORE)
    try:
        return from_json(values)
    except TidegateError as error:
        raise TidegateError(f"{file}: {error}") from None


def _check_is_model_folder(path: Path) -> None:
    wanted = f"{CONFIG}, {TOKENIZER} and {WEIGHTS}"
    if not is_there(path):
        raise TidegateError(f"There is no folder {path}: give a model folder, which holds {wanted}{or_a_base(path)}.")
    if is_file(path / "adapter.json"):
        raise TidegateError(
            f"{path} is an adapter, which changes a model and is none: name that model, and this by --adapter {path}."
        )
    if is_file(path / "tagger.json"):
        raise TidegateError(
            f"{path} is a tagger, which writes nothing: tag text by tidegate tag {path}, or name a language model."
        )
    if is_file(path / "labels.json"):
        raise TidegateError(
            f"{path} is a classifier, which writes nothing: label texts by tidegate classify {path}, or name a "
            "language model."
        )
    if not path.is_dir():
        raise TidegateError(
            f"{path} is a file, but a model folder was wanted, which holds {wanted}; perhaps {path.parent}?"
        )
    missing = [name for name in (CONFIG, TOKENIZER) if not is_file(path / name)]
    if missing:
        raise TidegateError(
            f"{path} is no model folder: it lacks {' and '.join(missing)}; "
            f"one holds {wanted}, as tidegate train writes it."
        )


def _check_fits(file: Path, digest: str, tokenizer: Tokenizer) -> None:
    """The same number of tokens in another order would turn all text into a cipher, so the content is compared."""
    if digest != tokenizer.digest:
        raise TidegateError(
            f"{file} belongs to the tokenizer {digest[:12]}, but {TOKENIZER} is {tokenizer.digest[:12]}: "
            "they are of two models; put back the tokenizer that the model was trained with."
        )


def _check_settings(file: Path, recorded: str, model: ModelConfig) -> None:
    """Two models can have the same shapes and still compute otherwise, as gru and gru_reset_before do."""
    try:
        trained = model_config(_without_dropout(json.loads(recorded)), str(file))
    except (ValueError, AttributeError, RecursionError):
        trained = None
    if trained != model:
        raise TidegateError(
            f"{file} was written for the settings {recorded[:300]}, but {CONFIG} gives others: "
            "put back the config.json that the model was trained with."
        )


def check_json(file: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Return what a file holds; a TidegateError where it has a digest, and this does not fit."""
    if DIGEST in content and not digest_fits(content):
        raise TidegateError(f"{file} {CHANGED}: undo the change, or {RESTORE}.")
    return content


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object atomically, with its digest."""
    write_atomically(file, _to_bytes(with_digest(content)))


def _to_bytes(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()
