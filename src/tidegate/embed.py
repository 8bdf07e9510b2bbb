"""``tidegate embed``: a vector for each text, to compare and search texts by. No PyTorch."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tidegate import native
from tidegate.config import ModelConfig, check_paths, one_of, within
from tidegate.errors import TidegateError
from tidegate.folder.atomic import write_atomically
from tidegate.folder.bases import find_model
from tidegate.folder.label_folder import LABELS, read_classifier
from tidegate.folder.model_folder import ModelFolder
from tidegate.folder.tensors import Tensors
from tidegate.runtime.encoder import BATCH, Encoder, text_ids
from tidegate.text.lines import counted, read_texts
from tidegate.text.messages import say, show
from tidegate.text.tokenizer import Tokenizer

AT_ONCE = 16 * BATCH
"""texts that are held at a time"""
Pooling = Literal["mean", "last", "max", "all"]


@dataclass(frozen=True)
class EmbedSettings:
    """Which model turns which texts into vectors, and where these go."""

    model: str = ""
    """The folder of a language model or a classifier, or the name of a base model."""
    data: str | None = None
    """A file, folder or glob of texts: each line of a .txt, each row of a table, each item of JSON, a whole page. By
    default standard input, one text per line."""
    columns: tuple[str, ...] = ()
    """Its columns or fields that hold text; see tidegate train."""
    encoding: str = "utf-8"
    """Encoding of that text; see tidegate train."""
    whole_files: bool = False
    """Take each .txt as one text, not each of its lines."""
    pooling: Pooling = "mean"
    """What a text's vector is made of: the mean of its tokens' vectors, the last of them, the largest of each unit, or
    all three side by side."""
    scale: bool = True
    """Give each vector the length 1, so that a product of two is their cosine; false: as they are."""
    out: str | None = None
    """A .npy file, of all vectors, or a .jsonl, with a list per line; by default these lines are printed."""
    threads: int | None = None
    """CPU threads at most, one for each CPU by default; fewer run where fewer prove faster. The result is the same."""

    def __post_init__(self) -> None:
        check_paths(self, "model", "data", "out")
        one_of(self, "pooling", Pooling)
        within(self, "threads", 1, 4096)
        if self.out is not None and not self.out.endswith((".npy", ".jsonl")):
            raise TidegateError(
                f"out is {self.out}, but vectors are written as .npy or .jsonl: give a name that ends so."
            )


def embed(settings: EmbedSettings) -> int:
    """Print or write a vector for each text; returns the exit code."""
    native.use_threads(settings.threads)
    encoder, tokenizer = load_encoder(settings.model)
    texts = counted(
        read_texts(settings.data, settings.columns, settings.encoding, whole_files=settings.whole_files), "texts"
    )
    written: list[NDArray[np.float32]] = []
    while some := list(islice(texts, AT_ONCE)):
        vectors = vectors_of(encoder, tokenizer, some, settings.pooling, settings.scale)
        if settings.out is not None:
            written.append(vectors)
            continue
        show("\n".join(_lines(vectors)))
    if settings.out is not None:
        if not written:
            raise TidegateError("There is no text to embed: give some.")
        file = io.BytesIO()
        if settings.out.endswith(".npy"):
            np.save(file, np.concatenate(written), allow_pickle=False)
        else:
            file.writelines(f"{line}\n".encode() for some_vectors in written for line in _lines(some_vectors))
        write_atomically(Path(settings.out), file.getvalue())
        say(f"{sum(map(len, written)):,} vectors of {written[0].shape[1]:,}: {settings.out}")
    return 0


def _lines(vectors: NDArray[np.float32]) -> Iterator[str]:
    return (json.dumps([float(f"{x:.6g}") for x in vector]) for vector in vectors.tolist())


def vectors_of(
    encoder: Encoder, tokenizer: Tokenizer, texts: list[str], pooling: Pooling = "mean", scale: bool = True
) -> NDArray[np.float32]:
    """Return a vector for each text, ``(N, H)`` float32, or ``(N, 3 H)`` of pooling all."""
    pooled = encoder.pooled([text_ids(tokenizer, text, encoder.config.direction) for text in texts])
    place = {"last": 0, "max": 1, "mean": 2}
    found = pooled.reshape(len(texts), -1) if pooling == "all" else pooled[:, place[pooling]]
    if scale:
        found = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    return np.asarray(found, np.float32)


def _model(name: str) -> tuple[ModelConfig, Tokenizer, Tensors]:
    path = find_model(name)
    if (path / LABELS).is_file():
        classifier = read_classifier(path)
        return classifier.model, classifier.tokenizer, classifier.tensors
    folder = ModelFolder.read(path)
    return folder.model, folder.tokenizer, folder.tensors


def load_encoder(name: str) -> tuple[Encoder, Tokenizer]:
    """Return the encoder of a model, and its tokenizer."""
    config, tokenizer, tensors = _model(name)
    return Encoder(config, tensors), tokenizer
