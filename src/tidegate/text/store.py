"""The token store: the ids of a text on disk, in shards that are read as they are needed, never kept in memory.

A document is written as the document token and then the tokens of its text. docs/formats.md describes the files.
"""

from __future__ import annotations

import json
import os
import threading
import zlib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tidegate.errors import TidegateError
from tidegate.files import read_at_most
from tidegate.json_files import JsonLimits, parse_json
from tidegate.text.block_work import Ids
from tidegate.text.digested import digest_fits, with_digest
from tidegate.text.tokenizers.base import Tokenizer

FORMAT = "tidegate-store"
FORMAT_VERSION = 2
IDS_VERSION = 1
"""Which ids a text gives; the files may take another form without it."""
SHARD_TOKENS = 2**28
"""Most tokens of one shard: half a gigabyte of uint16, one gigabyte of uint32."""
_META, _STARTS = "meta.json", "document_starts.bin"
_META_LIMITS = JsonLimits(1 << 22, values=100_000, containers=10)
_COUNTS = ("token_count", "document_count", "byte_count", "character_count", "unknown_count", "shard_tokens")
_CHECKS = "crc32"
"""the field of meta.json with the CRC-32 of each file. It is the check of zlib: accidents, not people, change a cache,
it is twice as fast as SHA-256, and it is continued, so that a preparation that was killed goes on with it"""
_CHUNK = 2**22
"""bytes read at a time to be checked"""

Checks = Mapping[str, int]
"""the CRC-32 of files, by their names"""
Counts = dict[str, dict[str, int]]
"""what a writer has written: ``counts``, and the CRC-32 of each file"""


class TokenStore:
    """Ids on disk, read as if they were one array. `len(store)` is the number of tokens.

    Every file is checked when the store is opened: read once, against its checksum. Ids are then read by system calls,
    not through a memory map, so that a file that is cut off meanwhile is an error and does not end the process.
    """

    document_starts: NDArray[np.int64]
    """(documents,) the positions of the document tokens, ascending"""
    byte_count: int
    """UTF-8 bytes of the normalised text that the ids stand for"""
    character_count: int
    """code points of that text"""
    unknown_count: int
    """how many of the ids are the unknown token"""
    tokenizer_digest: str
    """the digest of the tokenizer that made the ids"""
    is_marked: bool
    """whether only some tokens are learnt, such as answers: on disk these are V higher"""

    def __init__(self, folder: Path, tokenizer_digest: str) -> None:
        """Open the store of a folder; a TidegateError if it is damaged, of another version, or of another tokenizer."""
        meta = _read_meta(folder)
        if meta["tokenizer_digest"] != tokenizer_digest:
            raise TidegateError(
                f"The token store {folder} was made by the tokenizer {meta['tokenizer_digest'][:12]}…, "
                f"but {tokenizer_digest[:12]}… is wanted: prepare the text again with this tokenizer."
            )
        self.tokenizer_digest = tokenizer_digest
        self.byte_count, self.character_count = meta["byte_count"], meta["character_count"]
        self.unknown_count = meta["unknown_count"]
        self._marks_from = meta.get("marks_from")
        self.is_marked = self._marks_from is not None
        self._tokens, self._shard_tokens = meta["token_count"], meta["shard_tokens"]
        dtype, starts = np.dtype(meta["dtype"]).newbyteorder("<"), range(0, self._tokens, self._shard_tokens)
        self._shards = [
            _Numbers(_shard(folder, number), dtype, min(self._shard_tokens, self._tokens - start), meta[_CHECKS])
            for number, start in enumerate(starts)
        ]
        documents = meta["document_count"]
        self.document_starts = _Numbers(folder / _STARTS, np.dtype("<i8"), documents, meta[_CHECKS]).read(0, documents)

    def __len__(self) -> int:
        return self._tokens

    def read(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the ids from `start` up to `stop`, (stop - start,) int64; outside the store it is an IndexError."""
        return self._unmarked(self._read(start, stop))

    def read_marked(self, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the ids as `read`, and which of them are learnt: all where the store has no marks."""
        ids = self._read(start, stop)
        marks = np.ones(len(ids), np.bool_) if self._marks_from is None else ids >= self._marks_from
        return self._unmarked(ids), marks

    def _unmarked(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        return ids if self._marks_from is None else ids - self._marks_from * (ids >= self._marks_from)

    def _read(self, start: int, stop: int) -> NDArray[np.int64]:
        if not 0 <= start <= stop <= self._tokens:
            raise IndexError(f"tokens {start} to {stop} of a store of {self._tokens}")
        ids = np.empty(stop - start, np.int64)
        done = 0
        while done < len(ids):
            shard, offset = divmod(start + done, self._shard_tokens)
            part = self._shards[shard].read(offset, min(self._shard_tokens, offset + len(ids) - done))
            ids[done : done + len(part)] = part
            done += len(part)
        return ids


class ReversedStore(TokenStore):
    """A store whose documents are read from their ends, each after its document token as ever.

    The documents stand in reverse order, too: ``D a b D c`` is read as ``D c D b a``.
    """

    def __init__(self, store: TokenStore, document_id: int) -> None:
        """Look at a store the other way round; nothing is copied."""
        if store.is_marked:
            raise ValueError("answers are trained in forward direction only")
        starts, self._document_id = store.document_starts, document_id
        self._store, self._marks_from, self.is_marked = store, None, False
        # turned round, a document's token comes last: one step later it is the next one's first. A text that is cut
        # amid a document has none to drop
        self._tokens = len(store) + (not len(starts) or int(starts[0]) > 0)
        self.byte_count, self.character_count = store.byte_count, store.character_count
        self.unknown_count, self.tokenizer_digest = store.unknown_count, store.tokenizer_digest
        self.document_starts = np.concatenate([[0], len(store) - starts[starts > 0][::-1]]).astype(np.int64)

    def _read(self, start: int, stop: int) -> NDArray[np.int64]:
        if not 0 <= start <= stop <= self._tokens:
            raise IndexError(f"tokens {start} to {stop} of a store of {self._tokens}")
        end = len(self._store) + 1
        ids = self._store.read(end - max(stop, 1), end - max(start, 1))[::-1]
        return np.concatenate([[self._document_id], ids]) if start == 0 < stop else ids


class StoreWriter:
    """Writes a store into a folder, one part after another; only `finish` makes it one that can be opened.

    Used as a context manager, which closes its files whatever happens.
    """

    def __init__(
        self,
        folder: Path,
        tokenizer: Tokenizer,
        shard_tokens: int = SHARD_TOKENS,
        resumed: Counts | None = None,
        is_marked: bool = False,
    ) -> None:
        """Begin a store in a new folder, or go on with one whose counts, after a `sync`, were `resumed`: what was
        written after that is cut off. A TidegateError where the files are not those of these counts. is_marked: the
        ids of tokens that are learnt come V higher."""
        self._folder, self._tokenizer, self._is_marked = folder, tokenizer, is_marked
        self._dtype = np.dtype("uint32" if is_marked else id_dtype(tokenizer))
        self._shard: BinaryIO | None = None
        if resumed is None:
            self._counts = dict.fromkeys(_COUNTS, 0) | {"shard_tokens": shard_tokens}
            self._checks: dict[str, int] = {_STARTS: 0}
            folder.mkdir()
            self._starts: BinaryIO = open(folder / _STARTS, "wb")  # noqa: SIM115  (closed on exit)
            return
        self._counts, self._checks = {name: resumed["counts"][name] for name in _COUNTS}, dict(resumed[_CHECKS])
        number, filled = divmod(self._counts["token_count"], self._counts["shard_tokens"])
        for full in range(number):
            _check(_shard(folder, full), self._counts["shard_tokens"] * self._dtype.itemsize, self._checks)
        self._starts = _reopened(folder / _STARTS, self._counts["document_count"] * 8, self._checks)
        try:
            if filled:
                self._shard = _reopened(_shard(folder, number), filled * self._dtype.itemsize, self._checks)
        except TidegateError:
            self._starts.close()
            raise

    @property
    def counts(self) -> Counts:
        """What has been written, for `resumed` of another time."""
        return {"counts": dict(self._counts), _CHECKS: dict(self._checks)}

    def write(self, ids: Ids) -> None:
        """Append ids."""
        counts = self._counts
        self._put(self._starts, _STARTS, (ids.starts + counts["token_count"]).astype("<i8").tobytes())
        counts["document_count"] += len(ids.starts)
        self._append(ids.ids)
        counts["byte_count"] += ids.byte_count
        counts["character_count"] += ids.character_count
        counts["unknown_count"] += ids.unknown_count

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, *error: object) -> None:
        with ExitStack() as files:  # each is closed, even where the disk is too full for what one holds
            for file in (self._starts, self._shard):
                if file is not None:
                    files.callback(file.close)

    def sync(self) -> None:
        """Sync all to the disk that was written so far."""
        for file in (self._starts, self._shard):
            if file is not None and not file.closed:
                _sync(file)

    def finish(self) -> None:
        """Sync all to the disk, the counts last."""
        self.sync()
        meta = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "dtype": self._dtype.name,
            "tokenizer_digest": self._tokenizer.digest,
            **({"marks_from": self._tokenizer.vocabulary_size} if self._is_marked else {}),
            **self._counts,
            _CHECKS: self._checks,
        }
        with open(self._folder / _META, "wb") as file:
            file.write(json.dumps(with_digest(meta), indent=1).encode())
            _sync(file)

    def _put(self, file: BinaryIO, name: str, content: bytes) -> None:
        file.write(content)
        self._checks[name] = zlib.crc32(content, self._checks[name])

    def _append(self, ids: NDArray[Any]) -> None:
        """Append ids to the last shard, and begin others as each is full."""
        limit = self._counts["shard_tokens"]
        while len(ids):
            number, filled = divmod(self._counts["token_count"], limit)
            if filled == 0:
                if self._shard is not None:
                    _sync(self._shard)
                    self._shard.close()
                self._shard = open(_shard(self._folder, number), "wb")  # noqa: SIM115  (closed when full, or on exit)
                self._checks[_shard(self._folder, number).name] = 0
            assert self._shard is not None
            part = ids[: limit - filled]
            content = part.astype(self._dtype.newbyteorder("<"), copy=False).tobytes()
            self._put(self._shard, _shard(self._folder, number).name, content)
            self._counts["token_count"] += len(part)
            ids = ids[len(part) :]


def id_dtype(tokenizer: Tokenizer) -> str:
    """Return the type of a store's ids: two bytes where they fit."""
    return "uint16" if tokenizer.vocabulary_size <= 2**16 else "uint32"


def _reopened(path: Path, size: int, checks: Checks) -> BinaryIO:
    """Open a file to go on after its first `size` bytes, which are checked."""
    _check(path, size, checks)
    file = open(path, "r+b")  # noqa: SIM115  (the writer closes it)
    file.truncate(size)
    file.seek(size)
    return file


def _shard(folder: Path, number: int) -> Path:
    return folder / f"ids-{number:05d}.bin"


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


class _Numbers:
    """A file of exactly so many numbers, read as if it were an array."""

    def __init__(self, path: Path, dtype: np.dtype[Any], count: int, checks: Checks) -> None:
        """Open the file and check it."""
        found, wanted = path.stat().st_size if path.is_file() else None, count * dtype.itemsize
        if found != wanted:
            what = "is missing" if found is None else f"has {found} bytes"
            raise _damaged(path, f"{what}, {wanted} are wanted")
        _check(path, wanted, checks)
        self._path, self._dtype = path, dtype
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115  (held open as long as the store)
        self._lock = threading.Lock()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return the numbers from `start` up to `stop`; a TidegateError where the file has lost them meanwhile."""
        numbers = np.empty(stop - start, self._dtype)
        rest = numbers.view(np.uint8).data
        with self._lock:
            self._file.seek(start * self._dtype.itemsize)
            while len(rest):
                if not (count := self._file.readinto(rest)):
                    raise TidegateError(
                        f"{self._path} was cut off while it was read: run again, and the text is prepared anew."
                    )
                rest = rest[count:]
        return numbers


def _check(path: Path, size: int, checks: Checks) -> None:
    """Raise a TidegateError unless the first `size` bytes of a file are those that were written."""
    check, left = 0, size
    with open(path, "rb", buffering=0) as file:
        while left and (chunk := file.read(min(left, _CHUNK))):
            check, left = zlib.crc32(chunk, check), left - len(chunk)
    if left:
        raise _damaged(path, "is shorter than it was")
    if check != checks.get(path.name):
        raise _damaged(path, "was changed after it was written (its checksum does not fit)")


def _damaged(path: Path, what: str) -> TidegateError:
    return TidegateError(f"The token store is damaged: {path} {what}; preparing the text again writes it anew.")


def _read_meta(folder: Path) -> dict[str, Any]:
    """Return the checked meta.json."""
    path = folder / _META
    try:
        meta = parse_json(read_at_most(path, _META_LIMITS.size), _META_LIMITS)
    except (OSError, ValueError, RecursionError):
        raise TidegateError(
            f"{folder} is no token store: its {_META} cannot be read; preparing the text again writes it anew."
        ) from None
    if not isinstance(meta, dict) or (meta.get("format"), meta.get("format_version")) != (FORMAT, FORMAT_VERSION):
        found = f"version {meta.get('format_version')!r}" if isinstance(meta, dict) else "no store"
        raise TidegateError(
            f"The token store {folder} has {found}, {FORMAT_VERSION} is wanted; preparing the text again writes it "
            "anew."
        )
    if not digest_fits(meta):
        raise _damaged(path, "was changed after it was written (its digest does not fit)")
    counts = [meta.get(name) for name in _COUNTS]
    right = all(type(count) is int and count >= 0 for count in counts) and meta["shard_tokens"] > 0
    right = right and (type(meta.get("marks_from")) is int or "marks_from" not in meta)
    right = right and isinstance(meta.get(_CHECKS), dict)
    if not right or meta.get("dtype") not in ("uint16", "uint32") or not isinstance(meta.get("tokenizer_digest"), str):
        raise _damaged(path, "has a wrong field")
    return meta
