"""What a user may set: frozen dataclasses whose field docstrings are the ``--help``.

Every rule about a value stands here, in ``__post_init__``, so a flag, a YAML file and a model folder are checked alike.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from tidegate.errors import TidegateError, nearest

Cell = Literal["rnn", "lstm", "gru", "gru_reset_before"]
Block = Literal["residual", "plain"]
TokenizerKind = Literal["bytes", "characters", "words", "bpe"]
CorpusName = Literal["shakespeare", "tang-poems"]


def _within(settings: object, name: str, low: float, high: float) -> None:
    """Check ``low <= value <= high``; NaN fails, None (not set) passes."""
    value = getattr(settings, name)
    if value is not None and not low <= value <= high:
        raise TidegateError(f"{name} is {value}, but it must be from {low:g} to {high:g}.")


def _one_of(settings: object, name: str, choices: Any) -> None:
    value = getattr(settings, name)
    known = get_args(choices)
    if value not in known:
        raise TidegateError(f"{name} is {value!r}, but it must be one of {', '.join(known)}{nearest(str(value), known)}.")


def from_dict(kind: type, values: dict[str, Any], where: str) -> Any:
    """Build a settings dataclass from a JSON object; an unknown key is an error that names the nearest right one."""
    known = [field.name for field in fields(kind)]
    for name in values:
        if name not in known:
            raise TidegateError(f"{where} has the unknown field {name!r}{nearest(name, known)}; known: {', '.join(known)}.")
    return kind(**values)


@dataclass(frozen=True)
class ModelConfig:
    """The shape of the language model."""

    cell: Cell = "lstm"
    """The recurrent cell: rnn, lstm, gru (reset after the product, as cuDNN and PyTorch), gru_reset_before (arXiv 1406.1078v3)."""
    layers: int = 2
    """Number of stacked recurrent layers, L."""
    hidden_size: int = 256
    """Units of each layer, H."""
    embedding_size: int | None = None
    """Size of a token's vector, E; by default H. Where it differs, a projection joins the two."""
    block: Block = "residual"
    """residual: x + dropout(cell(rmsnorm(x))), which trains far better; plain: the classical stack of cells."""
    tied: bool = False
    """Share one matrix between the embedding and the output layer."""
    dropout: float = 0.0
    """Share of units dropped after the embedding and after each cell, one mask a window and lane (variational)."""

    def __post_init__(self) -> None:
        _one_of(self, "cell", Cell)
        _one_of(self, "block", Block)
        _within(self, "layers", 1, 64)
        _within(self, "hidden_size", 1, 16384)
        _within(self, "embedding_size", 1, 16384)
        _within(self, "dropout", 0, 0.95)

    @property
    def E(self) -> int:
        """Size of a token's vector."""
        return self.hidden_size if self.embedding_size is None else self.embedding_size
