"""Preparation: named text becomes a tokenizer, a training store and a validation store, kept in a cache for next time.

The text is read once to know what it is, in part again to learn the tokenizer, and again to encode it. Where the cache
has the result for the same content, only the first reading happens, and that only where the files are new or changed.
A preparation that is killed while it encodes goes on where it was.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from tidegate.config import Direction
from tidegate.errors import TidegateError
from tidegate.json_files import JsonLimits, read_json
from tidegate.text.block_work import divided
from tidegate.text.corpus import Piece
from tidegate.text.digested import digest_fits, with_digest, without_digest
from tidegate.text.formats import Reading
from tidegate.text.measured import Found
from tidegate.text.processes import ids_of
from tidegate.text.sources import TextArgument
from tidegate.text.split_text import Progress, SplitText, changed, read_text
from tidegate.text.store import IDS_VERSION, SHARD_TOKENS, Counts, ReversedStore, StoreWriter, TokenStore, id_dtype
from tidegate.text.tokenizer import TOKENIZER_LIMITS, Tokenizer, from_json, train
from tidegate.text.tokenizers.base import canonical_digest

SAMPLE_BYTES = {"words": 2**26, "whitespace": 2**26, "bpe": 2**23}
"""At most so much text is learnt from, taken evenly from all of it. Words are counted, which is quick, and a standard
set's vocabulary is that of all its text. Byte pairs: more than 8 MiB would not change what is frequent, and of Chinese,
where a word for BPE is a whole clause, 16 take about a minute."""
SYNC_SECONDS = 5.0
"""At most so much encoding is lost to a kill."""
_PROGRESS_LIMITS = JsonLimits(1 << 22, values=100_000, containers=100)
_PROGRESS = "progress.json"


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
    found: Found
    """what the text has, for people"""
    single_turn: bool = False
    """whether every training document is a conversation of one question and one answer"""
    damage: str = ""
    """what was wrong with the stores that the cache had, for which they were written anew"""

    def read_as(self, direction: Direction) -> Prepared:
        """Return the same text as a model of this direction reads it."""
        if direction == "forward":
            return self
        document_id = self.tokenizer.document_id
        validation = None if self.validation is None else ReversedStore(self.validation, document_id)
        return dataclasses.replace(self, train=ReversedStore(self.train, document_id), validation=validation)


def prepare(
    data: Sequence[TextArgument],
    *,
    cache: Path,
    tokenizer: Tokenizer | None = None,
    joins: Tokenizer | None = None,
    kind: str = "characters",
    vocabulary: int | None = None,
    validation: float = 0.1,
    validation_data: Sequence[TextArgument] = (),
    reading: Reading = Reading(),  # noqa: B008 (frozen)
    keep_duplicates: bool = False,
    processes: int | None = None,
    progress: Progress | None = None,
    shard_tokens: int = SHARD_TOKENS,
) -> Prepared:
    """Read text, split it, learn a tokenizer on the training part (or take the one given), and encode both parts.

    data: files, folders, globs and embedded corpora. validation: the share of the normalised text's UTF-8 bytes, its
    end, that is held out, moved to a character's start; 0 holds out nothing. With `validation_data`, that is held out
    instead, and what `data` has besides it is trained on. keep_duplicates: keep documents whose text came before.
    processes: how many prepare side by side; None: as many as suit. The result does not depend on it.
    joins: a tokenizer of that kind whose tokens the one that is learnt has as well. Errors: a TidegateError for
    whatever the user can mend.
    """
    if joins is not None and joins.unknown_id is None:  # which lacks nothing
        tokenizer = joins
    try:
        text = read_text(data, validation, validation_data, reading, keep_duplicates, cache, processes, progress)
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f"{text.digest[:32]}.lock"):  # a second process waits here, then finds all done
            if tokenizer is None:
                learnt = _learnt(text, kind, vocabulary, cache)
                tokenizer = learnt if joins is None else joins.joined(learnt)
            digest = _digest_of_stores(text, tokenizer.digest)
            folder = cache / digest[:32]
            stores, damage = opened(folder, _names(text), tokenizer)
            if reused := stores is not None:
                return Prepared(tokenizer, *stores, digest, reused, text.digest, text.measured.found)
            _encode(text, tokenizer, folder, shard_tokens)
            stores = open_stores(folder, _names(text), tokenizer)
            return Prepared(tokenizer, *stores, digest, reused, text.digest, text.measured.found, damage=damage)
    except OSError as error:
        raise TidegateError(
            f"The prepared text could not be written to {cache} ({error.strerror or error}): make room or mend the "
            "permissions and run again, or give another folder by --cache."
        ) from None


def training_pieces(
    data: Sequence[TextArgument],
    *,
    cache: Path,
    digest: str,
    tokenizer_digest: str,
    validation: float = 0.1,
    validation_data: Sequence[TextArgument] = (),
    reading: Reading = Reading(),  # noqa: B008 (frozen)
    keep_duplicates: bool = False,
    progress: Progress | None = None,
) -> Iterator[Piece]:
    """Yield the pieces that `prepare` trains on, of a text that it prepared before under these digests.

    The text is read once to know that it is the same, unless the cache knows its files, and again as the pieces are
    taken. Errors: a TidegateError where it is not there or has changed.
    """
    text = read_text(data, validation, validation_data, reading, keep_duplicates, cache, 1, progress)
    if _digest_of_stores(text, tokenizer_digest) != digest:
        raise TidegateError(
            f"The text has changed since the training (it began with {text.training[0].name}): give it back as it was, "
            "or name another text."
        )
    label = "Reading the text"
    for number, block in enumerate(text.blocks(label)):
        part = divided(block, text.measured.kept_of(number), text.cut(number))
        if part.digest != text.measured.block_digests[number]:
            raise changed()
        yield from (Piece(*piece) for piece in part.trained)
        text.progress(label, block.position, text.size)


# ---- The tokenizer ---------------------------------------------------------------------------------------------------


def _learnt(text: SplitText, kind: str, vocabulary: int | None, cache: Path) -> Tokenizer:
    """Return the tokenizer for these settings, from the cache where this text was met before."""
    path = cache / f"tokenizer-{canonical_digest([text.digest, kind, vocabulary, SAMPLE_BYTES.get(kind)])[:32]}.json"
    try:
        known = read_json(path, TOKENIZER_LIMITS, "it is learned anew")
        if digest_fits(known):
            return from_json(without_digest(known))
    except (OSError, ValueError, RecursionError, TidegateError):
        pass  # not there, or damaged: learnt anew
    pieces = (
        _samples(text, SAMPLE_BYTES[kind])
        if kind in SAMPLE_BYTES
        else _characters(text)
        if kind == "characters"
        else iter(())
    )
    tokenizer = train(kind, pieces, vocabulary)
    _write(path, with_digest(tokenizer.to_json()))
    return tokenizer


def _samples(text: SplitText, size: int) -> Iterator[str]:
    """Yield a sample of the training text, at most `size` bytes, evenly from all of it."""
    label, share = "Learning the tokenizer", min(1.0, size / text.boundary)
    blocks = ((number, block) for number, block in enumerate(text.blocks(label)) if text.cut(number) > 0)
    for _, (header, _) in text.work(label, blocks, {"job": "sample", "share": share}):
        yield from header["texts"]


def _characters(text: SplitText) -> Iterator[str]:
    """Yield the characters of the training text, by blocks: known from the first reading, but for the block in which
    the validation part begins, and for a text whose reading was in the cache."""
    known, label = text.measured.codes, "Learning the tokenizer"

    def is_known(number: int) -> bool:
        return known is not None and text.cut(number) >= text.measured.block_bytes[number]

    numbers = range(len(text.measured.block_parts))
    if known is not None:
        yield from (_from_codes(known[number]) for number in numbers if is_known(number))
    if all(is_known(number) or text.cut(number) <= 0 for number in numbers):
        return
    blocks = (
        (number, block)
        for number, block in enumerate(text.blocks(label))
        if text.cut(number) > 0 and not is_known(number)
    )
    for _, (_, (codes,)) in text.work(label, blocks, {"job": "codes"}):
        yield _from_codes(codes)


def _from_codes(codes: Any) -> str:
    return codes.astype("<u4").tobytes().decode("utf-32-le")


# ---- The stores ------------------------------------------------------------------------------------------------------


def _digest_of_stores(text: SplitText, tokenizer_digest: str) -> str:
    return canonical_digest([text.digest, tokenizer_digest, IDS_VERSION])


def _names(text: SplitText) -> list[str]:
    return ["train", "validation"] if text.has_validation else ["train"]


def open_stores(folder: Path, names: Sequence[str], tokenizer: Tokenizer) -> tuple[TokenStore, TokenStore | None]:
    """Open the stores of a folder of the cache; None for the validation text where it is not among the names."""
    train, *validation = [TokenStore(folder / name, tokenizer.digest) for name in names]
    return train, validation[0] if validation else None


def opened(
    folder: Path, names: Sequence[str], tokenizer: Tokenizer
) -> tuple[tuple[TokenStore, TokenStore | None] | None, str]:
    """Open the stores of the cache; None where there are none, or damaged ones, which are removed, and the damage."""
    if not folder.exists():
        return None, ""
    try:
        return open_stores(folder, names, tokenizer), ""
    except TidegateError as error:
        shutil.rmtree(folder)
        return None, str(error)


def _encode(text: SplitText, tokenizer: Tokenizer, folder: Path, shard_tokens: int) -> None:
    """Write the stores into a temporary folder, which takes its name only when all is on the disk.

    What a killed preparation left there, or one for which the disk was too full, is gone on with; other errors remove
    it.
    """
    partial = folder.with_suffix(".partial")
    try:
        with ExitStack() as open_files:
            begun, writers = _writers(partial, text, tokenizer, shard_tokens, open_files)
            label = "Encoding the text"
            header = {"job": "encode", "tokenizer": str(partial / "tokenizer.json"), "dtype": id_dtype(tokenizer)}
            blocks = ((number, block) for number, block in enumerate(text.blocks(label)) if number >= begun)
            synced = time.monotonic()
            for number, answer in text.work(label, blocks, header):
                for writer, ids in zip(writers, ids_of(answer), strict=False):
                    writer.write(ids)
                if time.monotonic() - synced > SYNC_SECONDS:
                    _note_progress(partial, text, number + 1, writers)
                    synced = time.monotonic()
            for writer in writers:
                writer.finish()
        for file in (_PROGRESS, "tokenizer.json"):
            (partial / file).unlink(missing_ok=True)
        os.rename(partial, folder)
    except BaseException as error:
        stopped = isinstance(error, (KeyboardInterrupt, OSError))
        if stopped and (partial / _PROGRESS).is_file():  # as a kill: the next time goes on from here
            raise
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _writers(
    partial: Path, text: SplitText, tokenizer: Tokenizer, shard_tokens: int, open_files: ExitStack
) -> tuple[int, list[StoreWriter]]:
    """Return the block to begin with and the stores' writers: those of a killed preparation, or new ones."""
    names = _names(text)
    try:
        noted = read_json(partial / _PROGRESS, _PROGRESS_LIMITS, "it begins anew")
        begun, counts = noted["blocks"], noted["written"]
        shards = counts[0]["counts"]["shard_tokens"]
        if digest_fits(noted) and (noted["cut"], shards) == (text.measured.cut_digest, shard_tokens):
            _write(partial / "tokenizer.json", tokenizer.to_json())
            writers = [
                open_files.enter_context(StoreWriter(partial / name, tokenizer, shard_tokens, resumed=counted))
                for name, counted in zip(names, counts, strict=True)
            ]
            return begun, writers
    except (OSError, ValueError, KeyError, IndexError, TypeError, TidegateError):
        pass  # none, or one that was damaged
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir()
    _write(partial / "tokenizer.json", tokenizer.to_json())
    return 0, [open_files.enter_context(StoreWriter(partial / name, tokenizer, shard_tokens)) for name in names]


def _note_progress(partial: Path, text: SplitText, blocks: int, writers: list[StoreWriter]) -> None:
    for writer in writers:
        writer.sync()
    written: list[Counts] = [writer.counts for writer in writers]
    _write(partial / _PROGRESS, with_digest({"blocks": blocks, "cut": text.measured.cut_digest, "written": written}))


def _write(path: Path, content: dict[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    partial = path.with_suffix(".partial")
    try:
        with open(partial, "wb") as file:
            file.write(json.dumps(content, ensure_ascii=False).encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:  # a full disk, Ctrl-C: nothing is left behind
        partial.unlink(missing_ok=True)
        raise
