"""``tidegate import``: a language model of torch.nn's layers (embedding, RNN, LSTM or GRU, decoder) becomes a folder.

Such a model is ``decoder(rnn(embedding(id)))``, the plain block; `tidegate.state_dict` finds its parts. PyTorch's order
of gates is that of `tidegate.theory.layout`, so cells are taken as they are. Where the embedding and the layers are of
several sizes, the smaller ones are filled with zeros up to the largest: a unit whose weights are all zero stays at zero
in each of these cells, so the sums are the same.
"""

from __future__ import annotations

import codecs
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tidegate.config import Cell, ModelConfig, check_paths, one_of
from tidegate.errors import TidegateError
from tidegate.files import read_at_most
from tidegate.folder.card import Card, write_card
from tidegate.folder.model_folder import write_config, write_weights
from tidegate.folder.tensor_file import FAILURES, opened_tensors
from tidegate.folder.tensors import check_tensors
from tidegate.json_files import JsonLimits, parse_json
from tidegate.state_dict import Array, Parts, told_apart
from tidegate.text.messages import show
from tidegate.text.normalize import NORMALIZATION
from tidegate.text.tokenizer import Tokenizer, from_json
from tidegate.text.tokenizers.base import FORMAT, FORMAT_VERSION
from tidegate.text.tokenizers.words import WordsTokenizer
from tidegate.theory.layout import GATES

SPECIAL = {"<unk>": "unknown", "<eos>": "\n", "<s>": "document", "<bos>": "document", "<sos>": "document"}
VOCABULARY_BYTES = 1 << 26
FLOATS = ("F64", "F32", "F16", "BF16")
"""dtypes of weights"""
Kind = Literal["characters", "words", "whitespace"]
Nonlinearity = Literal["tanh", "relu"]


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
    nonlinearity: Nonlinearity | None = None
    """Of an RNN, whose weights do not tell it: tanh, the default of torch.nn.RNN, or relu, which cannot be imported."""
    out: str | None = None
    """Folder for the model; it must be new, or empty."""

    def __post_init__(self) -> None:
        check_paths(self, "vocabulary", "out")
        one_of(self, "tokens", Kind)
        if self.nonlinearity is not None:
            one_of(self, "nonlinearity", Nonlinearity)
        for name, what in (("vocabulary", "the file of its tokens"), ("out", "a folder for the model")):
            if getattr(self, name) is None:
                raise TidegateError(f"{name} is not given: name {what} by --{name}.")


def import_model(settings: ImportSettings) -> int:
    """Import and write; returns the exit code."""
    out = Path(settings.out or "")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise TidegateError(f"--out {out} is there already, and not an empty folder: choose another name.")
    parts = told_apart(settings.weights, _tensors(settings.weights))
    _check_nonlinearity(parts.cell, settings)
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
    show(f"Imported: {out}   Generate text:  tidegate generate {out}")
    return 0


def _check_nonlinearity(cell: Cell, settings: ImportSettings) -> None:
    """Raise a TidegateError where the weights are not of a tanh RNN, or nobody says whether they are."""
    given = settings.nonlinearity
    if cell != "rnn" and given is not None:
        raise TidegateError(f"nonlinearity is {given}, but {settings.weights} has {cell.upper()} layers: omit it.")
    if cell == "rnn" and given is None:
        raise TidegateError(
            f"{settings.weights} has RNN layers, and weights do not tell their nonlinearity: give --nonlinearity tanh, "
            "the default of torch.nn.RNN, if the model was trained so."
        )
    if given == "relu":
        raise TidegateError(
            "nonlinearity is relu, but a Tidegate model has RNN layers of tanh alone: such a model cannot be imported."
        )


def converted(parts: Parts, order: NDArray[np.int64]) -> tuple[ModelConfig, dict[str, Array]]:
    """Return settings and tensors of the same model; order: (V',) the old number of each token, -1 for one that the old
    model lacks, which gets the mean of all."""
    E, last = parts.embedding.shape[1], parts.decoder.shape[1]
    H = max(E, *(layer["weight_hh"].shape[1] for layer in parts.layers))
    tied = last == E and np.array_equal(parts.embedding, parts.decoder)
    config = ModelConfig(parts.cell, len(parts.layers), H, E, "plain", tied)
    tensors = {"embedding.weight": _rows(parts.embedding, order)}
    if E != H:
        tensors["embedding_projection.weight"] = np.eye(H, E, dtype=np.float32)
        if tied:
            tensors["output_projection.weight"] = np.eye(E, H, dtype=np.float32)
    gates = len(GATES[parts.cell])
    for i, layer in enumerate(parts.layers):
        for name in ("weight_ih", "weight_hh"):
            tensors[f"blocks.{i}.cell.{name}_l0"] = _filled(layer[name], gates, H).reshape(gates * H, H)
        for name in ("bias_ih", "bias_hh"):
            bias = layer.get(name, np.zeros(layer["weight_hh"].shape[0], np.float32))
            tensors[f"blocks.{i}.cell.{name}_l0"] = _filled(bias[:, None], gates, H)[:, :, 0].reshape(-1)
    if not tied:
        tensors["output.weight"] = _filled(_rows(parts.decoder, order), 1, H, grown=False)[0]
    bias = np.zeros(len(parts.decoder), np.float32) if parts.bias is None else parts.bias
    tensors["output.bias"] = _rows(bias, order)
    return config, tensors


def _filled(matrix: Array, gates: int, H: int, grown: bool = True) -> Array:
    """Return a matrix ``(G·h, I)`` as ``(G, H, H)``, zeros where it has no units; ``(G, h, H)`` where not `grown`."""
    parts = matrix.reshape(gates, -1, matrix.shape[1])
    found = np.zeros((gates, H if grown else parts.shape[1], H), np.float32)
    found[:, : parts.shape[1], : parts.shape[2]] = parts
    return found


def _rows(tensor: Array, order: NDArray[np.int64]) -> Array:
    found: Array = np.where((order < 0).reshape(-1, *[1] * (tensor.ndim - 1)), tensor.mean(axis=0), tensor[order])
    return found.astype(np.float32)


# ---- The weights -----------------------------------------------------------------------------------------------------


def _tensors(path: str) -> dict[str, Array]:
    """Read a state dict as float32; a TidegateError where it is no file of such numbers."""
    if not path.endswith(".safetensors"):
        raise TidegateError(
            f"{path} is no .safetensors file: save the state dict by safetensors.torch.save_file; a .pt file is a "
            "pickle, which may hold any code."
        )
    try:
        with opened_tensors(Path(path)) as file:
            dtypes = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 (no dict)
            for name, dtype in dtypes.items():
                if dtype not in FLOATS:
                    raise TidegateError(
                        f"{path}: {name[:80]} is of dtype {dtype}, but weights of {', '.join(FLOATS)} are expected: "
                        "convert them to float32, as by tensor.float(), or omit the tensor."
                    )
            tensors = {
                name: _bfloat16(path, name) if dtype == "BF16" else np.asarray(file.get_tensor(name), np.float32)
                for name, dtype in dtypes.items()
            }
    except (*FAILURES, TypeError) as error:
        raise TidegateError(
            f"{path} cannot be read as safetensors in float numbers ({error}): write it anew."
        ) from None
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise TidegateError(f"{path}: {name} holds numbers that are not finite.")
    return tensors


def _bfloat16(path: str, name: str) -> Array:
    """Read a tensor of a dtype that NumPy lacks: the upper half of a float32. The file's header was checked before."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        tensor = json.loads(file.read(size))[name]
        begin, end = tensor["data_offsets"]
        file.seek(8 + size + begin)
        upper = np.frombuffer(file.read(end - begin), "<u2").astype(np.uint32)
    return (upper << 16).view(np.float32).reshape(tensor["shape"])


# ---- The vocabulary --------------------------------------------------------------------------------------------------


def _vocabulary(path: Path, V: int) -> list[str]:
    """Return the tokens in the order of their numbers."""
    try:
        content = read_at_most(path, VOCABULARY_BYTES).removeprefix(codecs.BOM_UTF8)
        if content.lstrip()[:1] in (b"[", b"{"):
            names: Any = parse_json(content, JsonLimits(VOCABULARY_BYTES, values=2 * V + 10, containers=10))
        elif (lines := content.count(b"\n")) > V:
            raise ValueError(f"it has {lines:,} lines, but the embedding has {V:,} rows")
        else:
            names = _lines(content.decode("utf-8"))
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
            f"{path} has {len(names):,} tokens, but the embedding has {V:,} rows: a token is missing or too many, or "
            "they are of two models. Write a token that is a line's end as <eos>, or the vocabulary as JSON."
        )
    numbers: dict[str, int] = {}
    for number, name in enumerate(names):
        if (first := numbers.setdefault(name, number)) != number:
            raise TidegateError(
                f"{path} has the token {name[:80]!r} twice, as numbers {first:,} and {number:,}, but each row of the "
                "embedding is another token's: restore the vocabulary that the model was trained with."
            )
    return list(names)


def _lines(text: str) -> list[str]:
    """Return the lines of a text, without the carriage returns that end all of them in a file from Windows."""
    lines = text.removesuffix("\n").split("\n")
    ended = lines if text.endswith("\n") else lines[:-1]
    if ended and all(line.endswith("\r") for line in ended):
        return [line.removesuffix("\r") for line in lines]
    return lines


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
