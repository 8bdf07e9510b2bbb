"""The front of the tokenizers: learn one of a kind, or build one from its tokenizer.json."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tidegate.errors import TidegateError, nearest
from tidegate.json_files import JsonLimits
from tidegate.text.normalize import NORMALIZATION
from tidegate.text.tokenizers.base import FORMAT, FORMAT_VERSION, LARGEST_VOCABULARY, Tokenizer
from tidegate.text.tokenizers.bpe import MOST_MERGES, BPETokenizer
from tidegate.text.tokenizers.bytes import BytesTokenizer
from tidegate.text.tokenizers.characters import CharactersTokenizer
from tidegate.text.tokenizers.words import WhitespaceTokenizer, WordsTokenizer

__all__ = ["KINDS", "TOKENIZER_LIMITS", "Tokenizer", "from_json", "train"]

KINDS: dict[str, type[Tokenizer]] = {
    kind.kind: kind for kind in (BytesTokenizer, CharactersTokenizer, WordsTokenizer, WhitespaceTokenizer, BPETokenizer)
}

TOKENIZER_LIMITS = JsonLimits(64 << 20, values=LARGEST_VOCABULARY + 1000, containers=MOST_MERGES + 100)
"""of tokenizer.json"""


def train(kind: str, pieces: Iterable[str], vocabulary: int | None = None) -> Tokenizer:
    """Learn a tokenizer from normalised text.

    kind: bytes, characters, words, whitespace or bpe. vocabulary: the largest V for the last three, special tokens
    counted; None is 20000, 100000 and 4096. They hold a count of all distinct words of `pieces`, so give them a bounded
    sample.
    """
    return _kind(kind).train(pieces, vocabulary)


def from_json(data: Any) -> Tokenizer:
    """Build the tokenizer that `Tokenizer.to_json` gave; anything unexpected in it is a TidegateError."""
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise TidegateError(f'This is no tokenizer: an object with "format": "{FORMAT}" is wanted.')
    if (version := data.get("format_version")) != FORMAT_VERSION:
        raise TidegateError(
            f"The tokenizer has format version {version!r}, but {FORMAT_VERSION} is wanted: use its own program."
        )
    if (normalization := data.get("normalization")) != NORMALIZATION:
        raise TidegateError(
            f"The tokenizer asks for the normalisation {normalization!r}, this program does {NORMALIZATION!r}."
        )
    envelope = {"format", "format_version", "kind", "normalization"}
    return _kind(data.get("kind")).from_contents({name: value for name, value in data.items() if name not in envelope})


def _kind(name: Any) -> type[Tokenizer]:
    if not isinstance(name, str) or name not in KINDS:
        raise TidegateError(f"There is no tokenizer {name!r}{nearest(str(name), KINDS)}; there are {', '.join(KINDS)}.")
    return KINDS[name]
