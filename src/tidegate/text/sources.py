"""What a user names (files, folders, globs, embedded corpora) becomes a list of sources, in a fixed order."""

from __future__ import annotations

import glob
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib.resources.abc import Traversable
from pathlib import Path, PurePath, PurePosixPath
from typing import BinaryIO, TypeAlias, cast

from tidegate.errors import TidegateError, nearest
from tidegate.text.binary_kinds import is_archive
from tidegate.text.containers import ERRORS, Archives, Compression, decompressed, zip_members
from tidegate.text.embedded_corpora import EmbeddedCorpus
from tidegate.text.kinds import FORMATS, HEAD_BYTES, Format, in_folders, recognized, suffixes

TextArgument: TypeAlias = str | Path | EmbeddedCorpus
"""What names text: a file, a folder, a glob, or an embedded corpus."""

MODEL_FILES = (
    {"config.json", "tokenizer.json"}, {"labels.json", "tokenizer.json"}, {"tagger.json", "tokenizer.json"},
    {"adapter.json", "adapter.safetensors"},
)  # fmt: skip
"""A folder that holds all of one of these is a model's: its card and its log are no text to learn from."""


@dataclass(frozen=True)
class Source:
    """One file of text."""

    name: str
    """how messages name it"""
    resource: Path | Traversable
    format: Format
    size: int
    """bytes on disk"""
    compression: Compression | None = None
    member: str | None = None
    """the file within a .zip"""

    @contextmanager
    def open(self, archives: Archives | None = None) -> Iterator[tuple[BinaryIO, BinaryIO]]:
        """Open it as (the stream of its text's bytes, the file on disk whose position shows the progress).

        archives: what keeps a .zip open from one source to the next.
        """
        try:
            with ExitStack() as stack:
                if self.member is None:
                    held = file = cast(BinaryIO, stack.enter_context(self.resource.open("rb")))
                else:
                    archives = archives or stack.enter_context(Archives())
                    held, file = archives.member(cast(Path, self.resource), self.member, stack)
                yield decompressed(held, self.compression, stack), file
        except ERRORS as error:
            reason = getattr(error, "strerror", None) or error
            raise TidegateError(f"{self.name} could not be read: {reason}.") from None


def find_sources(arguments: Sequence[TextArgument], left_out: Counter[str] | None = None) -> list[Source]:
    """Return the files that the arguments name, each once, in the order given; folders and globs in sorted order.

    Folders are searched through all their levels for the suffixes of `FORMATS`, also compressed (.gz, .bz2, .xz, .zst),
    and for .zip; hidden files and folders are left out. left_out: counts the other visible files of folders by suffix.
    The first bytes of each file are read: what they are of goes before a suffix that says nothing.
    """
    found: dict[str, Source] = {}
    left_out = Counter() if left_out is None else left_out
    for argument in arguments:
        try:
            sources = _sources_of(argument, left_out)
        except OSError as error:
            raise TidegateError(f"{argument} could not be read: {error.strerror}.") from None
        for source in sources:
            found.setdefault(_identity(source), source)
    return list(found.values())


def without(sources: Sequence[Source], others: Sequence[Source]) -> list[Source]:
    """Return the sources that are not among the others."""
    left_out = {_identity(source) for source in others}
    return [source for source in sources if _identity(source) not in left_out]


def _identity(source: Source) -> str:
    if not isinstance(source.resource, Path):
        return source.name
    return os.path.realpath(source.resource) + ("" if source.member is None else f"\0{source.member}")


def _sources_of(argument: TextArgument, left_out: Counter[str]) -> list[Source]:
    if isinstance(argument, EmbeddedCorpus):
        with argument.resource.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
        return [Source(f"embedded corpus {argument.name}", argument.resource, "text", size, "xz")]
    path = Path(os.path.expanduser(argument))
    if not path.exists() and glob.has_magic(str(argument)):
        matches = sorted(glob.glob(str(path), recursive=True))
        sources = [source for match in matches for source in _sources_at(Path(match), left_out, within_glob=True)]
        if not sources:
            raise TidegateError(
                f"No text matches {str(argument)!r}: name files, a folder, or a glob that matches some."
            )
        return sources
    return _sources_at(path, left_out)


def _sources_at(path: Path, left_out: Counter[str], within_glob: bool = False) -> list[Source]:
    if path.is_dir():
        if not within_glob and (what := _not_text(path)):
            raise TidegateError(f"{path} is {what}")
        paths = list(_walk(path))
        others = [file for file in paths if not _has_text(file.name)]
        if len(others) == len(paths) and not within_glob:
            raise TidegateError(_no_text(path, paths))
        left_out.update(_suffix(file) for file in others)
        return [source for file in paths if _has_text(file.name) for source in _file(file, left_out)]
    if not path.exists():
        raise TidegateError(_missing(path))
    return _file(path, left_out)


def _file(path: Path, left_out: Counter[str]) -> list[Source]:
    """Return the source of a file, or the sources in a .zip."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise TidegateError(
            f"{path} is neither a file nor a folder: text is read more than once, so save it to a file."
        )
    source = Source(str(path), path, "text", status.st_size, suffixes(path.name).compression)
    if path.suffix.lower() == ".zip":
        return _members(path, left_out)
    head = _head(source)
    if source.compression is None and is_archive(head):
        return _members(path, left_out)
    return [replace(source, format=recognized(source.name, head))]


def _members(path: Path, left_out: Counter[str]) -> list[Source]:
    """Return the sources in a .zip."""
    sources = []
    with open(path, "rb") as file:
        members = zip_members(str(path), file)
    with Archives() as archives:
        for member, size in members:
            if not in_folders(member):
                left_out[_suffix(PurePosixPath(member))] += 1
                continue
            source = Source(f"{path}/{member}", path, "text", size, suffixes(member).compression, member)
            sources.append(replace(source, format=recognized(source.name, _head(source, archives))))
    if not sources:
        raise TidegateError(f"{path} has no text: looked for {', '.join(FORMATS)}.")
    return sources


def _head(source: Source, archives: Archives | None = None) -> bytes:
    with source.open(archives) as (stream, _):
        return stream.read(HEAD_BYTES)


def _has_text(name: str) -> bool:
    return name.lower().endswith(".zip") or in_folders(name)


def _suffix(path: PurePath) -> str:
    return path.suffix.lower() or "no suffix"


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the visible files under the folder, sorted; model folders and folders seen before (a loop of links) are
    left out."""
    seen: set[str] = set()
    for here, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        if _is_model(names):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(here, name)
            if not name.startswith(".") and path.is_file():
                yield path


def _is_model(names: Iterable[str]) -> bool:
    there = set(names)
    return any(there >= files for files in MODEL_FILES)


def _not_text(folder: Path) -> str | None:
    """Return what a folder is that holds no text to read, and what to do; None for any other."""
    if (folder / "training" / "run.json").is_file():
        return f"a run, not a text: go on with it by tidegate train --resume {folder}, or name a text."
    if _is_model(os.listdir(folder)):
        return f"a model, not a text: name a text, or fine-tune the model on one by tidegate finetune {folder} TEXT."
    return None


def _raise(error: OSError) -> None:
    """A folder that cannot be read is no empty folder: learning from less than was named would go unseen."""
    raise error


def _missing(path: Path) -> str:
    absolute = Path(os.path.abspath(path))
    parent, name = absolute.parent, absolute.name
    while not parent.is_dir() and parent != parent.parent:
        parent, name = parent.parent, parent.name
    try:
        siblings = os.listdir(parent)
    except OSError:
        siblings = []
    return f"There is no file or folder {str(path)!r}{nearest(name, siblings)}: name one that exists."


def _no_text(folder: Path, paths: Sequence[Path]) -> str:
    counts = Counter(_suffix(path) for path in paths)
    most = sorted(counts, key=lambda suffix: (-counts[suffix], suffix))[:5]
    there = ", ".join(f"{counts[suffix]} × {suffix}" for suffix in most)
    found = f"found {there}" if paths else "it has no visible files"
    return (
        f"The folder {folder} has no text: looked for {', '.join(FORMATS)} and .zip, but {found}. "
        f"Name such a folder, or other files by themselves or by a glob such as '{folder}/**/*.py'."
    )
