"""``tidegate import``: a language model of torch.nn's layers (embedding, RNN, LSTM or GRU, decoder) becomes a folder.

Such a model is ``decoder(rnn(embedding(id)))``, the plain block. Names are found by their ends and shapes: one matrix
of V rows that is read, ``weight_ih_l0 … bias_hh_l{n}`` with any beginning, and one of V rows that writes. PyTorch's
order of gates is that of `tidegate.theory.layout`, so cells are taken as they are. Where the embedding is smaller than
the cells, x is filled with zeros up to them, and the first layer's matrix with columns that meet these: the same sums.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import safetensors
from numpy.typing import NDArray

from tidegate.config import Cell, ModelConfig, check_paths, one_of
from tidegate.errors import TidegateError
from tidegate.folder.card import Card, write_card
from tidegate.folder.model_folder import write_config, write_weights
from tidegate.folder.tensors import check_tensors
from tidegate.text.normalize import NORMALIZATION
from tidegate.text.tokenizer import Tokenizer, from_json
from tidegate.text.tokenizers.base import FORMAT, FORMAT_VERSION
from tidegate.text.tokenizers.words import WordsTokenizer
from tidegate.theory.layout import GATES

LAYER = re.compile(r"(?P<prefix>.*?)(?P<kind>(?:weight|bias)_(?:ih|hh))_l(?P<number>\d+)(?P<rest>.*)$")
SPECIAL = {"<unk>": "unknown", "<eos>": "\n", "<s>": "document", "<bos>": "document", "<sos>": "document"}
VOCABULARY_BYTES = 1 << 28
Kind = Literal["characters", "words", "whitespace"]
GATE_COUNTS: dict[int, Cell] = {1: "rnn", 3: "gru", 4: "lstm"}

Array = NDArray[np.float32]


@dataclass(frozen=True)
class ImportSettings:
    """What is imported, and into which folder."""

    weights: str
    """A .safetensors file of a torch.nn-style state dict."""
    vocabulary: str | None = None
    """The tokens in the order of their numbers: a file with one per line, or JSON, a list or an object of numbers by
    token. <unk>, <eos> (a line's end) and <s> or <bos> (a document's beginning) are known."""
    tokens: Kind = "characters"
    """What the tokens are: characters, words, or whitespace (what stands between spaces, as in PTB and WikiText: a
    space before each word and each line end)."""
    out: str | None = None
    """Folder for the model; it must be new, or empty."""

    def __post_init__(self) -> None:
        check_paths(self, "vocabulary", "out")
        one_of(self, "tokens", Kind)
        for name, what in (("vocabulary", "the file of its tokens"), ("out", "a folder for the model")):
            if getattr(self, name) is None:
                raise TidegateError(f"{name} is not given: name {what} by --{name}.")


class Parts(NamedTuple):
    """A state dict's tensors, told apart."""

    embedding: Array
    layers: list[dict[str, Array]]
    decoder: Array
    bias: Array | None


def import_model(settings: ImportSettings) -> int:
    """Import and write; returns the exit code."""
    out = Path(settings.out or "")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise TidegateError(f"--out {out} is there already, and not an empty folder: choose another name.")
    parts = _parts(settings.weights)
    names = _vocabulary(Path(settings.vocabulary or ""), len(parts.embedding))
    tokenizer, order = _tokenizer(names, settings.tokens)
    config, tensors = converted(parts, order)
    check_tensors(tensors, config, tokenizer.vocabulary_size, settings.weights)  # before anything is written
    # without a token of its own for a document's beginning it knows none
    write_config(out, config, tokenizer, None if order[-2] >= 0 else 0)
    write_weights(out, tensors, tokenizer)
    title = f"{config.layers}×{config.hidden_size} {config.cell} language model"
    rows = [
        ("weights", f"imported from {Path(settings.weights).name}"),
        ("vocabulary", Path(settings.vocabulary or "").name),
    ]
    write_card(out, Card(title, config, sum(t.size for t in tensors.values()), rows, imported=True))
    print(f"Imported: {out}   Generate text:  tidegate generate {out}")
    return 0


def converted(parts: Parts, order: NDArray[np.int64]) -> tuple[ModelConfig, dict[str, Array]]:
    """Return settings and tensors of the same model; order: (V',) the old number of each token, -1 for one that the old
    model lacks, which gets the mean of all."""
    H = parts.layers[0]["weight_hh"].shape[1]
    cell = GATE_COUNTS[parts.layers[0]["weight_hh"].shape[0] // H]
    E = parts.embedding.shape[1]
    if E > H:
        raise TidegateError(
            f"The embedding has {E} columns, the cells {H} units: an embedding at most as wide is wanted."
        )
    tied = E == H and np.array_equal(parts.embedding, parts.decoder)
    config = ModelConfig(cell, len(parts.layers), H, E, "plain", tied)
    tensors = {"embedding.weight": _rows(parts.embedding, order)}
    if E != H:
        tensors["embedding_projection.weight"] = np.eye(H, E, dtype=np.float32)
    rows = len(GATES[cell]) * H
    for i, layer in enumerate(parts.layers):
        weight_ih = np.zeros((rows, H), np.float32)
        weight_ih[:, : layer["weight_ih"].shape[1]] = layer["weight_ih"]
        tensors[f"blocks.{i}.cell.weight_ih_l0"] = weight_ih
        tensors[f"blocks.{i}.cell.weight_hh_l0"] = layer["weight_hh"]
        for name in ("bias_ih", "bias_hh"):
            tensors[f"blocks.{i}.cell.{name}_l0"] = layer.get(name, np.zeros(rows, np.float32))
    if not tied:
        tensors["output.weight"] = _rows(parts.decoder, order)
    bias = np.zeros(len(parts.decoder), np.float32) if parts.bias is None else parts.bias
    tensors["output.bias"] = _rows(bias, order)
    return config, tensors


def _rows(tensor: Array, order: NDArray[np.int64]) -> Array:
    found: Array = np.where((order < 0).reshape(-1, *[1] * (tensor.ndim - 1)), tensor.mean(axis=0), tensor[order])
    return found.astype(np.float32)


# ---- The weights -----------------------------------------------------------------------------------------------------


def _parts(path: str) -> Parts:
    """Read a state dict and tell its tensors apart; a TidegateError says what is missing or too many."""
    if not path.endswith(".safetensors"):
        raise TidegateError(
            f"{path} is no .safetensors file: save the state dict by safetensors.torch.save_file; a .pt file is a "
            "pickle, which may hold any code."
        )
    try:
        with safetensors.safe_open(path, framework="np") as file:
            names = list(file.keys())
            tensors = {name: np.asarray(file.get_tensor(name), np.float32) for name in names}
    except (safetensors.SafetensorError, OSError, ValueError, TypeError) as error:
        raise TidegateError(
            f"{path} cannot be read as safetensors in float numbers ({error}): write it anew."
        ) from None
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise TidegateError(f"{path}: {name} holds numbers that are not finite.")
    layers = _layers(path, tensors)
    H = layers[-1]["weight_hh"].shape[1]
    others = {name: tensor for name, tensor in tensors.items() if LAYER.match(name) is None}
    matrices = {name: tensor for name, tensor in others.items() if tensor.ndim == 2}
    I = layers[0]["weight_ih"].shape[1]
    read = [name for name in matrices if re.search(r"emb|encoder|wte", name) and matrices[name].shape[1] == I]
    written = [name for name in matrices if name not in read and matrices[name].shape[1] == H]
    if len(read) != 1 or len(written) > 1 or (not written and I != H):
        shapes = ", ".join(f"{name} {tensor.shape}" for name, tensor in others.items()) or "nothing"
        raise TidegateError(
            f"{path} has beside its cells {shapes}; wanted are one embedding (V, {I}), with emb or encoder in its "
            f"name, and one decoder (V, {H}), or none where it is the embedding."
        )
    embedding = matrices[read[0]]
    decoder = matrices[written[0]] if written else embedding
    if decoder.shape != (len(embedding), H):
        raise TidegateError(f"{path}: the decoder is {decoder.shape}, but {(len(embedding), H)} was wanted.")
    biases = [tensor for tensor in others.values() if tensor.shape == (len(embedding),)]
    rest = len(others) - 1 - len(written) - len(biases)
    if len(biases) > 1 or rest:
        raise TidegateError(
            f"{path} has tensors of no such model: {', '.join(others)}; leave out what is another layer's."
        )
    return Parts(embedding, layers, decoder, biases[0] if biases else None)


def _layers(path: str, tensors: Mapping[str, Array]) -> list[dict[str, Array]]:
    found: dict[int, dict[str, Array]] = {}
    prefixes = set()
    for name, tensor in tensors.items():
        if (match := LAYER.match(name)) is None:
            continue
        if match["rest"]:
            raise TidegateError(f"{path} has {name}: a model of two directions, or with projections, is not taken.")
        prefixes.add(match["prefix"])
        found.setdefault(int(match["number"]), {})[match["kind"]] = tensor
    if not found or sorted(found) != list(range(len(found))) or len(prefixes) > 1:
        raise TidegateError(
            f"{path} has no one stack of layers weight_ih_l0, weight_hh_l0 … of torch.nn's RNN, LSTM or GRU."
        )
    layers = [found[number] for number in sorted(found)]
    H = layers[0].get("weight_hh", np.zeros((0, 0))).shape[-1]
    rows = layers[0].get("weight_hh", np.zeros((0, 0))).shape[0]
    if not H or rows % H or rows // H not in GATE_COUNTS:
        raise TidegateError(
            f"{path}: weight_hh_l0 is ({rows}, {H}), but 1, 3 or 4 times as many rows as columns are wanted."
        )
    for number, layer in enumerate(layers):
        inputs = layer["weight_ih"].shape[-1] if number == 0 and "weight_ih" in layer else H
        wanted = {"weight_ih": (rows, inputs), "weight_hh": (rows, H), "bias_ih": (rows,), "bias_hh": (rows,)}
        for kind, shape in wanted.items():
            if (kind in layer and layer[kind].shape != shape) or (kind not in layer and kind.startswith("weight")):
                shown = layer[kind].shape if kind in layer else "missing"
                raise TidegateError(f"{path}: {kind}_l{number} is {shown}, but {shape} was wanted.")
    return layers


# ---- The vocabulary --------------------------------------------------------------------------------------------------


def _vocabulary(path: Path, V: int) -> list[str]:
    """Return the tokens in the order of their numbers."""
    try:
        with open(path, "rb") as file:
            content = file.read(VOCABULARY_BYTES + 1)
        if len(content) > VOCABULARY_BYTES:
            raise ValueError(f"larger than {VOCABULARY_BYTES:,} bytes")
        text = content.decode("utf-8-sig")
        names: Any = json.loads(text) if text.lstrip()[:1] in ("[", "{") else text.removesuffix("\n").split("\n")
        if isinstance(names, dict):
            if sorted(names.values()) != list(range(len(names))):
                raise ValueError("its numbers are not 0 to V - 1, each once")
            names = sorted(names, key=names.__getitem__)
        if not all(isinstance(name, str) for name in names):
            raise ValueError("its tokens are not all strings")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise TidegateError(
            f"{path} cannot be read as a vocabulary ({error}): give one token per line, or JSON."
        ) from None
    if len(names) != V:
        raise TidegateError(
            f"{path} has {len(names):,} tokens, but the embedding has {V:,} rows: they are of two models."
        )
    if len(set(names)) != len(names):
        raise TidegateError(f"{path} has a token twice: each row of the embedding is another's.")
    return list(names)


def _tokenizer(names: list[str], kind: str) -> tuple[Tokenizer, NDArray[np.int64]]:
    """Return a tokenizer of these tokens, and the old number of each of its tokens."""
    known = {SPECIAL.get(name, _spaced(name, kind)): number for number, name in enumerate(names)}
    if len(known) != len(names):
        raise TidegateError("The vocabulary has two tokens that mean the same, such as <s> and <bos>: one is wanted.")
    if kind == "whitespace" and "\n" in known:
        known[" \n"] = known.pop("\n")
    texts = [text for text in known if text not in ("unknown", "document")]
    if kind == "characters":
        if wrong := [text for text in texts if len(text) != 1]:
            raise TidegateError(f"The vocabulary has {wrong[0]!r}, which is not one character: give --tokens words.")
        contents: dict[str, Any] = {"characters": "".join(sorted(texts))}
        texts = sorted(texts)
    else:
        contents = {"words": texts}
    content = {"format": FORMAT, "format_version": FORMAT_VERSION, "kind": kind, "normalization": NORMALIZATION}
    tokenizer = from_json({**content, **contents})
    order = [known[text] for text in texts] + [known.get("document", -1), known.get("unknown", -1)]
    return tokenizer, np.array(order, np.int64)


def _spaced(name: str, kind: str) -> str:
    """Return a word with the space before it that this vocabulary's words are counted with."""
    if kind == "characters" or not name or name[0].isspace():
        return name
    is_word = kind == "whitespace" or WordsTokenizer.pattern.fullmatch(f" {name}")  # not so a comma, a Han character
    return f" {name}" if is_word else name
