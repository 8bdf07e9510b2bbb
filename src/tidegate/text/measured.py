"""What a text is, after one reading: how much of it, which documents are kept, and a digest that tells it from others.

The result is kept in the cache beside the prepared texts, under the files' names, sizes and times, so that the same
files are not read for it again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import time
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from tidegate.errors import TidegateError
from tidegate.files import open_regular
from tidegate.text.block_work import Counts, parts_digest
from tidegate.text.blocks import Block, all_blocks
from tidegate.text.formats import Reading
from tidegate.text.kinds import NAMES, told
from tidegate.text.processes import counts_of, work_on
from tidegate.text.sources import Source
from tidegate.text.tokenizers.base import canonical_digest

VERSION = 2
SETTLED_SECONDS = 2.0
"""A file that was changed less than this before it was read may change again within the same tick of its clock."""
_FILE_BYTES = 2**31


@dataclass
class Found:
    """What the reading found, for people."""

    files: int = 0
    documents: int = 0
    """kept"""
    byte_count: int = 0
    """UTF-8 bytes of the normalised text that is kept"""
    character_count: int = 0
    empty: int = 0
    """documents without text"""
    duplicates: int = 0
    """documents left out because the same text came before"""
    shared: int = 0
    """documents of a named validation text that stand in the training text as well"""
    longest_line: int = 0
    """characters"""
    longest_line_in: str = ""
    scripts: dict[str, int] = field(default_factory=dict)
    """characters by script, the most frequent first, of all that was read"""
    left_out: dict[str, int] = field(default_factory=dict)
    """files of folders that are no text, by suffix"""
    kinds: dict[str, int] = field(default_factory=dict)
    """files by what they are read as, the most frequent first"""
    recognized: list[str] = field(default_factory=list)
    """a sentence for each kind of file that its name does not tell"""


@dataclass(frozen=True)
class Measured:
    """A text that was read once."""

    digest: str
    """of the kept documents, one after another"""
    training_bytes: int
    """bytes of the sources that come before a named validation text; all, where there is none"""
    block_parts: NDArray[np.int64]
    """parts of each block"""
    kept: NDArray[np.bool_]
    """whether each part is kept, over all blocks"""
    block_bytes: NDArray[np.int64]
    """kept bytes of each block"""
    block_digests: tuple[str, ...]
    found: Found
    codes: list[NDArray[np.uint32]] | None = None
    """the code points of each block; None where the result comes from the cache"""

    @property
    def byte_count(self) -> int:
        """UTF-8 bytes of the normalised text."""
        return int(self.block_bytes.sum())

    @property
    def cut_digest(self) -> str:
        """Tells how the text is cut into blocks, which depends on the files that it lies in."""
        return canonical_digest(self.block_digests)

    def kept_of(self, block: int) -> NDArray[np.bool_]:
        """Return which parts of a block are kept."""
        end = int(self.block_parts[: block + 1].sum())
        return self.kept[end - int(self.block_parts[block]) : end]

    def bytes_before(self, block: int) -> int:
        """Return how many kept bytes come before a block."""
        return int(self.block_bytes[:block].sum())


def measure_text(
    training: Sequence[Source],
    held_out: Sequence[Source],
    reading: Reading,
    *,
    keep_duplicates: bool,
    left_out: Counter[str],
    cache: Path,
    processes: int,
    report: Callable[[int], None],
) -> Measured:
    """Read all text once, or take the result from the cache where these very files were read before."""
    sources = [*training, *held_out]
    began = time.time()
    fingerprint = _fingerprint(sources, len(training), reading, keep_duplicates)
    path = cache / f"read-{fingerprint[:32]}.npz"
    if (known := _load(path)) is not None:
        known.found.left_out = dict(left_out.most_common())  # other files may lie beside them now
        return known
    blocks = all_blocks(training, held_out, reading)
    gathered = _Gathered(keep_duplicates)
    for block, answer in work_on(blocks, lambda index: ({"job": "count"}, []), processes):
        gathered.take(block, counts_of(answer))
        report(block.position)
    measured = gathered.finish(sources, left_out)
    if measured.byte_count and _settled(sources, began):
        with contextlib.suppress(OSError):  # where it cannot be kept, the text is read again
            _save(path, measured)
    return measured


class _Gathered:
    """Gathers the counts of blocks into those of documents."""

    def __init__(self, keep_duplicates: bool) -> None:
        self._keep_duplicates = keep_duplicates
        self._found = Found()
        self._seen: set[int] = set()
        """the first eight bytes of documents' digests: among ten million, two meet by chance once in 400,000 texts"""
        self._content = hashlib.sha256()
        self._bytes: list[NDArray[np.int64]] = []
        self._kept: list[NDArray[np.bool_]] = []
        self._digests: list[str] = []
        self._codes: list[NDArray[np.uint32]] = []
        self._histogram = np.zeros(0x110000, np.int64)
        self._open: list[tuple[int, int]] = []
        """(block, part) of the document that is not yet at its end"""
        self._open_digests: list[bytes] = []
        self._open_size = [0, 0]
        self._in_held_out = False
        self._training_bytes = 0
        self._line = 0

    def take(self, block: Block, counts: Counts) -> None:
        """Take the counts of the next block."""
        if block.held_out and not self._in_held_out:
            self._begin_held_out()
        self._found.empty += block.empty
        number = len(self._bytes)
        self._bytes.append(counts.byte_counts)
        self._kept.append(np.ones(len(counts.byte_counts), bool))
        self._digests.append(parts_digest(counts.digests.tobytes()))
        self._codes.append(counts.codes)
        self._histogram[counts.codes] += counts.code_counts
        rows = zip(
            block.starts, counts.byte_counts.tolist(), counts.character_counts.tolist(), counts.lines.tolist(),
            counts.digests, block.sources, strict=True,
        )  # fmt: skip
        for part, (starts, size, characters, lines, digest, source) in enumerate(rows):
            if starts:
                self._close_document()
            self._open.append((number, part))
            self._open_digests.append(digest.tobytes())
            self._open_size[0] += size
            self._open_size[1] += characters
            self._measure_lines(lines, source)

    def _measure_lines(self, lines: list[int], source: str) -> None:
        first, longest, last = lines
        if longest < 0:
            self._line += first
            longest = self._line
        else:
            longest = max(longest, self._line + first)
            self._line = last
        if longest > self._found.longest_line:
            self._found.longest_line, self._found.longest_line_in = longest, source

    def _close_document(self) -> None:
        """Decide whether the document that ends here is kept."""
        parts, digests, (size, characters) = self._open, self._open_digests, self._open_size
        self._open, self._open_digests, self._open_size, self._line = [], [], [0, 0], 0
        if not parts:
            return
        if size == 0:
            self._found.empty += 1
            self._drop(parts)
            return
        digest = digests[0] if len(digests) == 1 else hashlib.sha256(b"".join(digests)).digest()
        key = int.from_bytes(digest[:8], "little")
        if key in self._seen and self._in_held_out:
            self._found.shared += 1
        elif key in self._seen and not self._keep_duplicates:
            self._found.duplicates += 1
            self._drop(parts)
            return
        elif not self._in_held_out:
            self._seen.add(key)
        self._content.update(digest)
        self._found.documents += 1
        self._found.byte_count += size
        self._found.character_count += characters

    def _drop(self, parts: list[tuple[int, int]]) -> None:
        for block, part in parts:
            self._kept[block][part] = False

    def _begin_held_out(self) -> None:
        """All that comes from here on is of a named validation text, whose documents are all kept."""
        self._close_document()
        self._in_held_out, self._training_bytes = True, self._found.byte_count

    def finish(self, sources: Sequence[Source], left_out: Counter[str]) -> Measured:
        """Return the whole."""
        self._close_document()
        found = self._found
        found.files, found.left_out = len(sources), dict(left_out.most_common())
        found.kinds = dict(Counter(NAMES[source.format] for source in sources).most_common())
        found.recognized = told((source.name, source.format) for source in sources)
        found.scripts = scripts_of(self._histogram)
        kept_bytes = [int(sizes[kept].sum()) for sizes, kept in zip(self._bytes, self._kept, strict=True)]
        return Measured(
            self._content.hexdigest(),
            self._training_bytes if self._in_held_out else found.byte_count,
            np.array([len(sizes) for sizes in self._bytes], np.int64),
            np.concatenate(self._kept) if self._kept else np.empty(0, bool),
            np.array(kept_bytes, np.int64),
            tuple(self._digests),
            found,
            self._codes,
        )


def scripts_of(histogram: NDArray[np.int64]) -> dict[str, int]:
    """Return how many letters each script has, and how many digits, punctuation and spaces there are, the most frequent
    first, of how often each code point occurs. A script is the first word of its letters' names in Unicode."""
    counts: Counter[str] = Counter()
    for code in np.flatnonzero(histogram):
        counts[_script(chr(code))] += int(histogram[code])
    return dict(counts.most_common())


def _script(character: str) -> str:
    category = unicodedata.category(character)
    if category[0] == "L":
        words = unicodedata.name(character, "OTHER").replace("-", " ").split()
        if words[0] in ("FULLWIDTH", "HALFWIDTH", "MATHEMATICAL", "MODIFIER", "MICRO", "FEMININE", "MASCULINE"):
            words = ["LATIN"] if "LATIN" in words else ["OTHER"]
        return {"CJK": "Han", "IDEOGRAPHIC": "Han", "OTHER": "other"}.get(words[0], words[0].capitalize())
    groups = {"N": "digits", "P": "punctuation", "Z": "spaces", "S": "symbols", "M": "marks"}
    return "spaces" if character in "\n\t" else groups.get(category[0], "other")


# ---- The cache -------------------------------------------------------------------------------------------------------


def _fingerprint(sources: Sequence[Source], training: int, reading: Reading, keep_duplicates: bool) -> str:
    """Return what tells these files as they are now, read in this way, from any others."""
    files = []
    for source in sources:
        # the second time is that of the last change of any kind, which no copying tool puts back
        status = _status(source) if isinstance(source.resource, Path) else None
        changed = [status.st_mtime_ns, status.st_ctime_ns] if status else []
        place = os.path.realpath(source.resource) if isinstance(source.resource, Path) else source.name
        files.append([place, source.member, source.format, source.size, changed])
    return canonical_digest([VERSION, files, training, reading.encoding, list(reading.columns), keep_duplicates])


def _settled(sources: Sequence[Source], began: float) -> bool:
    """Whether every file was changed long enough before the reading began that its time tells a later change."""
    files = {source.resource: source for source in sources if isinstance(source.resource, Path)}
    return all(_status(source).st_mtime < began - SETTLED_SECONDS for source in files.values())


def _status(source: Source) -> os.stat_result:
    try:
        return os.stat(cast(Path, source.resource))
    except OSError as error:
        raise TidegateError(f"{source.name} could not be read: {error.strerror or error}.") from None


def _save(path: Path, measured: Measured) -> None:
    header = {
        "digest": measured.digest,
        "training_bytes": measured.training_bytes,
        "block_digests": measured.block_digests,
        "found": dataclasses.asdict(measured.found),
    }
    file = io.BytesIO()
    np.savez_compressed(
        file,
        header=np.frombuffer(json.dumps(header).encode(), np.uint8),
        block_parts=measured.block_parts,
        kept=np.packbits(measured.kept),
        block_bytes=measured.block_bytes,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        partial.write_bytes(hashlib.sha256(file.getvalue()).digest() + file.getvalue())
        os.replace(partial, path)
    except BaseException:  # a full disk, Ctrl-C: nothing is left behind
        partial.unlink(missing_ok=True)
        raise


def _load(path: Path) -> Measured | None:
    """Return what an earlier reading found; None where there is none, or a damaged one."""
    try:
        with open_regular(path) as opened:
            digest, content = opened.read(hashlib.sha256().digest_size), opened.read(_FILE_BYTES)
        if hashlib.sha256(content).digest() != digest:
            return None
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            header = json.loads(file["header"].tobytes())
            parts = file["block_parts"]
            return Measured(
                header["digest"],
                header["training_bytes"],
                parts,
                np.unpackbits(file["kept"], count=int(parts.sum())).astype(bool),
                file["block_bytes"],
                tuple(header["block_digests"]),
                Found(**header["found"]),
            )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error, TidegateError):
        return None
