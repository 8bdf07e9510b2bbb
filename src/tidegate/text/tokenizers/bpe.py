"""Byte-level BPE: pairs of tokens that often stand side by side are merged into one, from single bytes upwards.

Sennrich et al. 2016 (arXiv 1508.07909), on bytes as in GPT-2. The `tokenizers` library trains and encodes; what is
kept is the list of merges alone, as pairs of ids, from which all the rest follows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from itertools import chain, pairwise
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as Engine
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from tidegate.errors import TidegateError
from tidegate.text.tokenizers.base import Tokenizer, check_fields, token_of
from tidegate.text.tokenizers.han_cuts import HanCuts

DEFAULT_VOCABULARY = 4096
_SMALLEST = 257  # the bytes and the document token
_LONGEST_TOKEN = 128  # bytes
MOST_MERGES = 2**18
"""Of a vocabulary; those of the largest language models have as many."""
REMEMBERED = 2**18
"""Stretches whose ids are kept, some 60 MiB of words."""

# A text is cut where GPT-2's pattern ends a piece whatever stands around, so that the ids of the whole are those of its
# stretches: before a single space or line end within visible text, after such a line end, and between Chinese
# characters (all of them letters to the pattern) and their punctuation (none of it). Runs of Chinese characters are cut
# further where no token lies across. Most stretches are then words that came before.
_VISIBLE = r"!-~\u00a1-\u024f\u2010-\u2027\u3001-\u301f\u3041-\u30ff\u4e00-\u9fa5\uff01-\uff60"
_HAN, _MARK = r"\u4e00-\u9fa5", r"\u3001-\u3003\u3008-\u3011\u201c\u201d\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f"
_NEXT = rf"(?= [{_VISIBLE}]|\n[{_VISIBLE}]|\Z)"
_STRETCH = (
    rf" ?[!-~]++{_NEXT}"
    rf"|[{_HAN}]++(?=[{_MARK}]|\n[{_VISIBLE}])"
    rf"|[{_MARK}]++(?=[{_HAN}]|\n[{_VISIBLE}])"
    rf"|\n(?=[{_VISIBLE}])"
    rf"|.+?(?:(?<=[{_VISIBLE}]){_NEXT}|(?<=[{_VISIBLE}]\n)(?=[{_VISIBLE}])"
    rf"|(?<=[{_HAN}])(?=[{_MARK}])|(?<=[{_MARK}])(?=[{_HAN}])|\Z)"
)
SHORT, FEW = 1000, 8
"""So few texts of so few characters are encoded whole: the pattern takes longer to compile."""


@final
class BPETokenizer(Tokenizer):
    """Ids 0 … 255 are the bytes, then the merged tokens in the order they were learnt, last the document token."""

    kind: ClassVar[str] = "bpe"

    def __init__(self, merges: Sequence[tuple[int, int]]) -> None:
        """Take the merges in their order: each a pair of ids that exist before it."""
        self._merges = list(merges)
        self._table = _tokens(self._merges)
        self.document_id = len(self._table)
        self.unknown_id = None
        self.vocabulary_size = self.document_id + 1
        self._known: dict[str, tuple[int, ...]] = {}
        self._whole = 0
        self._table.append(b"")

    def missing(self, text: str) -> list[str]:
        """Return nothing: every text has bytes."""
        return []

    def token_bytes(self, token: int) -> bytes:
        """Return the token's bytes, which may begin or end within a character."""
        return token_of(self._table, token)

    def encode_normalized(self, text: str) -> NDArray[np.uint32]:
        """Return the ids of the text's stretches, most of which were met before."""
        if len(text) <= SHORT and self._whole < FEW:
            self._whole += 1
            return np.array(self._engine.encode_batch_fast([text])[0].ids, np.uint32)
        stretches = self._stretches(text)
        known = self._known  # threads share it: it only grows, and a full one is replaced, never emptied
        new = [stretch for stretch in dict.fromkeys(stretches) if stretch not in known]
        if len(known) + len(new) > REMEMBERED:
            known = self._known = {}
            new = list(dict.fromkeys(stretches))
        # "fast": without the offsets, which nobody asks for
        for stretch, encoded in zip(new, self._engine.encode_batch_fast(new), strict=True):
            known[stretch] = tuple(encoded.ids)
        return np.fromiter(chain.from_iterable(map(known.__getitem__, stretches)), np.uint32)

    def _stretches(self, text: str) -> list[str]:
        """Cut the text into stretches whose ids, one after another, are those of the text."""
        stretches: list[str] = _stretch_pattern().findall(text)
        cuts = np.empty(0, np.intp) if text.isascii() else self._han_cuts.cuts(text)
        if not cuts.size:
            return stretches
        is_edge = np.zeros(len(text) + 1, np.bool_)
        is_edge[np.cumsum([0, *map(len, stretches)])] = True
        is_edge[cuts] = True
        return [text[start:end] for start, end in pairwise(np.flatnonzero(is_edge).tolist())]

    @cached_property
    def _engine(self) -> Engine:
        return _engine(self._table[: self.document_id], self._merges)

    @cached_property
    def _han_cuts(self) -> HanCuts:
        return HanCuts(self._table)

    def _contents(self) -> dict[str, Any]:
        return {"merges": [list(pair) for pair in self._merges]}

    @classmethod
    def from_contents(cls, contents: dict[str, Any]) -> BPETokenizer:
        """Build it from its merges, each of which must be a pair of ids that exist before it."""
        check_fields(contents, "merges")
        merges = contents["merges"]
        if not isinstance(merges, list) or len(merges) > MOST_MERGES:
            raise TidegateError(
                f"The tokenizer's field 'merges' is no list of at most {MOST_MERGES:,} pairs: the file is damaged."
            )
        if not all(
            isinstance(pair, list) and len(pair) == 2 and all(type(one) is int for one in pair) for pair in merges
        ):
            raise TidegateError("The tokenizer's merges are not pairs of ids: the file is damaged.")
        return cls([(left, right) for left, right in merges])

    @classmethod
    def train(cls, pieces: Iterable[str], vocabulary: int | None) -> BPETokenizer:
        """Learn the merges; V, with the document token, is at most `vocabulary` (less where pairs are too few)."""
        largest = DEFAULT_VOCABULARY if vocabulary is None else vocabulary
        if not _SMALLEST <= largest <= MOST_MERGES:
            raise TidegateError(
                f"A BPE vocabulary of {largest} was asked for: from {_SMALLEST} to {MOST_MERGES} is possible."
            )
        engine = _bare_engine(BPE())
        trainer = BpeTrainer(
            vocab_size=largest - 1,
            initial_alphabet=ByteLevel.alphabet(),
            max_token_length=_LONGEST_TOKEN,
            show_progress=False,
        )
        engine.train_from_iterator(pieces, trainer)
        return cls(_learnt_merges(engine))


@cache
def _stretch_pattern() -> re.Pattern[str]:
    return re.compile(_STRETCH, re.DOTALL)


def _bare_engine(model: BPE) -> Engine:
    engine = Engine(model)
    engine.pre_tokenizer = ByteLevel(add_prefix_space=False)
    return engine


def _engine(tokens: list[bytes], merges: list[tuple[int, int]]) -> Engine:
    """Return the library's encoder with our ids; it knows no special token, so no text encodes to one."""
    letters = _letters()
    spelled = ["".join(letters[byte] for byte in token) for token in tokens]
    ids = {word: token for token, word in enumerate(spelled)}
    return _bare_engine(BPE(vocab=ids, merges=[(spelled[left], spelled[right]) for left, right in merges]))


def _tokens(merges: list[tuple[int, int]]) -> list[bytes]:
    """Return the bytes of each token: the 256 bytes, then what each merge adds (two merges may give the same token)."""
    tokens = [bytes([byte]) for byte in range(256)]
    known = set(tokens)
    for left, right in merges:
        if not (0 <= left < len(tokens) and 0 <= right < len(tokens)):
            raise TidegateError(f"The tokenizer merges {left} and {right} before both exist: the file is damaged.")
        merged = tokens[left] + tokens[right]
        if len(merged) > _LONGEST_TOKEN:
            raise TidegateError(
                f"The tokenizer has a token of {len(merged)} bytes, the limit is {_LONGEST_TOKEN}: the file is damaged."
            )
        if merged not in known:
            known.add(merged)
            tokens.append(merged)
    return tokens


def _letters() -> dict[int, str]:
    """Return the letter by which byte-level BPE writes each byte: printable Latin-1 as itself, others from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(0x100 + i) for i, byte in enumerate(others)}


def _learnt_merges(engine: Engine) -> list[tuple[int, int]]:
    """Return the merges that the library learnt, in our ids."""
    byte_of = {letter: byte for byte, letter in _letters().items()}
    ids = {bytes([byte]): byte for byte in range(256)}
    merges = []
    for pair in json.loads(engine.to_str())["model"]["merges"]:
        left, right = (bytes(byte_of[letter] for letter in part) for part in pair)
        merges.append((ids[left], ids[right]))
        ids.setdefault(left + right, len(ids))
    return merges
