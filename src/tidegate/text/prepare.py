"""Preparation: named text becomes a tokenizer, a training store and a validation store, kept in a cache for next time.

The text is read once to know what it is, again to learn the tokenizer, and again to encode it. Where the cache has the
result for the same content, only the first reading happens.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from tidegate.errors import TidegateError
from tidegate.text import store as store_format
from tidegate.text.corpus import Content, ContentMeter, Piece, read_pieces
from tidegate.text.sources import Source, TextArgument, find_sources, without
from tidegate.text.store import SHARD_TOKENS, StoreWriter, TokenStore
from tidegate.text.tokenizer import Tokenizer, from_json, train
from tidegate.text.tokenizers.base import canonical_digest

Progress = Callable[[str, int, int], None]
"""Called as (what is done, bytes on disk done, bytes on disk in all)."""

SAMPLE_BYTES = 2**24
"""Words and BPE are learnt from at most 16 MiB of text, taken evenly from all of it. More would not change what is
frequent, and of Chinese, where a word for BPE is a whole clause, 16 MiB take about a minute."""
_TOKENIZER_BYTES = 2**28


@dataclass(frozen=True)
class Prepared:
    """What training needs of a text."""

    tokenizer: Tokenizer
    train: TokenStore
    validation: TokenStore | None
    digest: str
    """tells content, split and tokenizer: equal digests mean equal stores"""
    reused: bool
    """the stores were in the cache, nothing was encoded"""
    text_digest: str
    """tells content and split, whatever the tokenizer: equal digests mean the same validation text"""


def prepare(
    data: Sequence[TextArgument],
    *,
    cache: Path,
    tokenizer: Tokenizer | None = None,
    kind: str = "characters",
    vocabulary: int | None = None,
    validation: float = 0.1,
    validation_data: Sequence[TextArgument] = (),
    progress: Progress | None = None,
    shard_tokens: int = SHARD_TOKENS,
) -> Prepared:
    """Read text, split it, learn a tokenizer on the training part (or take the one given), and encode both parts.

    data: files, folders, globs and embedded corpora. validation: the share of the normalised text's UTF-8 bytes, its
    end, that is held out, moved to a character's start; 0 holds out nothing. With `validation_data`, that is held out
    instead, and what `data` has besides it is trained on. Errors: a TidegateError for whatever the user can mend.
    """
    text = _split_text(data, validation, validation_data, progress or (lambda label, done, total: None))
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f"{text.digest[:32]}.lock"):  # a second process waits here, then finds all done
            tokenizer = tokenizer or _learnt(text, kind, vocabulary, cache)
            digest = _digest_of_stores(text, tokenizer.digest)
            folder = cache / digest[:32]
            stores = _opened(folder, text, tokenizer)
            if reused := stores is not None:
                return Prepared(tokenizer, *stores, digest, reused, text.digest)
            _encode(text, tokenizer, folder, shard_tokens)
            return Prepared(tokenizer, *_open(folder, text, tokenizer), digest, reused, text.digest)
    except OSError as error:
        raise TidegateError(f"The prepared text could not be written to {cache}: {error.strerror or error}.") from None


def training_pieces(
    data: Sequence[TextArgument],
    *,
    digest: str,
    tokenizer_digest: str,
    validation: float = 0.1,
    validation_data: Sequence[TextArgument] = (),
    progress: Progress | None = None,
) -> Iterator[Piece]:
    """Yield the pieces that `prepare` trains on, of a text that it prepared before under these digests.

    The text is read once to know that it is the same, and again as the pieces are taken. Errors: a TidegateError where
    it is not there or has changed.
    """
    text = _split_text(data, validation, validation_data, progress or (lambda label, done, total: None))
    if _digest_of_stores(text, tokenizer_digest) != digest:
        raise TidegateError(
            f"The text has changed since the training (it began with {text.sources[0].name}): give it back as it was, "
            "or name another text."
        )
    yield from (piece for trained, piece in text.pieces("Reading the text") if trained)


@dataclass(frozen=True)
class _SplitText:
    """All the text, and where the training part of it ends."""

    sources: list[Source]
    content: Content
    boundary: int
    """bytes of the normalised text before the validation part"""
    progress: Progress

    @property
    def digest(self) -> str:
        """Tells the content and the split."""
        return canonical_digest([self.content.digest, self.content.byte_count, self.boundary])

    @property
    def has_validation(self) -> bool:
        return self.boundary < self.content.byte_count

    def pieces(self, label: str) -> Iterator[tuple[bool, Piece]]:
        """Yield the pieces, each with whether it is trained on; a TidegateError if the text is no longer the same."""
        meter = ContentMeter()
        yield from split(meter.through(_read(self.sources, label, self.progress)), self.boundary)
        if meter.content != self.content:
            raise TidegateError("The text changed while it was read: start again when nothing writes to it.")


def _digest_of_stores(text: _SplitText, tokenizer_digest: str) -> str:
    return canonical_digest([text.digest, tokenizer_digest, store_format.FORMAT_VERSION])


def _split_text(
    data: Sequence[TextArgument], validation: float, validation_data: Sequence[TextArgument], progress: Progress
) -> _SplitText:
    held_out = find_sources(validation_data)
    sources = without(find_sources(data), held_out)
    if not sources:
        besides = " besides the validation text" if held_out else ""
        raise TidegateError(f"No text to learn from is named{besides}: name a file, a folder or a glob.")
    meter = ContentMeter()
    content = _measure(sources, meter, progress)
    if held_out:
        whole = _measure(held_out, meter, progress)
        return _SplitText([*sources, *held_out], whole, content.byte_count, progress)
    boundary = int((1 - validation) * content.byte_count) if validation else content.byte_count
    if validation and not 4 <= boundary < content.byte_count:  # 4: the first character must fit
        raise TidegateError(
            f"The text is too short to hold out {validation:g} of its {content.byte_count} bytes for validation: "
            f"give more text, or a validation of 0."
        )
    return _SplitText(sources, content, boundary, progress)


def _measure(sources: list[Source], meter: ContentMeter, progress: Progress) -> Content:
    """Return what the meter has seen after these sources, which must not be empty."""
    before = meter.content.byte_count
    deque(meter.through(_read(sources, "Reading the text", progress)), maxlen=0)
    if meter.content.byte_count == before:
        others = len(sources) - 1
        which = "" if not others else " (and so is the other file)" if others == 1 else f" (and {others} more are)"
        raise TidegateError(f"{sources[0].name} is empty{which}: give a file that has text.")
    return meter.content


def _read(sources: list[Source], label: str, progress: Progress) -> Iterator[Piece]:
    total = sum(source.size for source in sources)
    progress(label, 0, total)
    return read_pieces(sources, report=lambda done: progress(label, done, total))


def split(pieces: Iterable[Piece], boundary: int) -> Iterator[tuple[bool, Piece]]:
    """Yield each piece with whether it lies before byte `boundary` of the text.

    The piece across it is cut in two, at the start of the character there; the second part starts no document.
    """
    position = 0
    for piece in pieces:
        data = piece.text.encode("utf-8")
        cut = boundary - position
        position += len(data)
        if not 0 < cut < len(data):
            yield cut > 0, piece
            continue
        while cut and data[cut] & 0xC0 == 0x80:  # a byte within a character
            cut -= 1
        if cut:
            yield True, Piece(data[:cut].decode("utf-8"), piece.starts_document)
        yield False, Piece(data[cut:].decode("utf-8"), piece.starts_document and cut == 0)


def sample(texts: Iterable[str], total_bytes: int, limit: int = SAMPLE_BYTES) -> Iterator[str]:
    """Yield texts of about `limit` bytes in all, spread evenly over the `total_bytes` that come."""
    seen = taken = 0
    for text in texts:
        size = len(text.encode("utf-8"))
        if total_bytes <= limit or taken * total_bytes <= seen * limit:
            taken += size
            yield text
        seen += size


def _learnt(text: _SplitText, kind: str, vocabulary: int | None, cache: Path) -> Tokenizer:
    """Return the tokenizer for these settings, from the cache where this text was met before."""
    path = cache / f"tokenizer-{canonical_digest([text.digest, kind, vocabulary])[:32]}.json"
    try:
        with open(path, "rb") as file:
            return from_json(json.loads(file.read(_TOKENIZER_BYTES)))
    except (OSError, ValueError, RecursionError, TidegateError):
        pass  # not there, or damaged: learnt anew
    texts = (piece.text for trained, piece in text.pieces("Learning the tokenizer") if trained)
    tokenizer = train(kind, sample(texts, text.boundary) if kind in ("words", "bpe") else texts, vocabulary)
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as file:
        file.write(json.dumps(tokenizer.to_json(), ensure_ascii=False).encode("utf-8"))
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    return tokenizer


def _open(folder: Path, text: _SplitText, tokenizer: Tokenizer) -> tuple[TokenStore, TokenStore | None]:
    validation = TokenStore(folder / "validation", tokenizer.digest) if text.has_validation else None
    return TokenStore(folder / "train", tokenizer.digest), validation


def _opened(folder: Path, text: _SplitText, tokenizer: Tokenizer) -> tuple[TokenStore, TokenStore | None] | None:
    """Open the stores of the cache; None where there are none, or damaged ones, which are removed."""
    if not folder.exists():
        return None
    try:
        return _open(folder, text, tokenizer)
    except TidegateError:
        shutil.rmtree(folder)
        return None


def _encode(text: _SplitText, tokenizer: Tokenizer, folder: Path, shard_tokens: int) -> None:
    """Write the stores into a temporary folder, which takes its name only when all is on the disk."""
    partial = folder.with_suffix(".partial")
    if partial.exists():  # left by a process that was killed: we hold the lock
        shutil.rmtree(partial)
    partial.mkdir()
    names = {True: "train", False: "validation"} if text.has_validation else {True: "train"}
    try:
        with ExitStack() as open_files:
            writers = {
                trained: open_files.enter_context(StoreWriter(partial / name, tokenizer, shard_tokens))
                for trained, name in names.items()
            }
            for trained, piece in text.pieces("Encoding the text"):
                writers[trained].write(piece)
            for writer in writers.values():
                writer.finish()
        os.rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
