"""What a user names (files, folders, globs, embedded corpora) becomes a list of sources, in a fixed order."""

from __future__ import annotations

import glob
import lzma
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias, cast

from tidegate.errors import TidegateError, nearest
from tidegate.text.embedded_corpora import EmbeddedCorpus

TextArgument: TypeAlias = str | Path | EmbeddedCorpus
"""What names text: a file, a folder, a glob, or an embedded corpus."""

TEXT_SUFFIXES = (".txt", ".md")
SUFFIXES = (*TEXT_SUFFIXES, ".jsonl")
"""The files that are taken from a folder; a file that is named itself may have any suffix."""

MODEL_FILES = {"config.json", "tokenizer.json"}
"""A folder that holds these is a model's: its card and its log are no text to learn from."""


@dataclass(frozen=True)
class Source:
    """One file of text."""

    name: str
    """how messages name it"""
    resource: Path | Traversable
    format: Literal["text", "jsonl", "xz"]
    """text: the file is one document; jsonl: one document a line; xz: one document, compressed"""
    size: int
    """bytes on disk"""

    @contextmanager
    def open(self) -> Iterator[tuple[BinaryIO, BinaryIO]]:
        """Open it as (the stream of its text's bytes, the file on disk whose position shows the progress)."""
        try:
            with cast(BinaryIO, self.resource.open("rb")) as file:
                if self.format != "xz":
                    yield file, file
                    return
                with lzma.open(file) as text:
                    yield cast(BinaryIO, text), file
        except (OSError, EOFError, lzma.LZMAError) as error:
            reason = getattr(error, "strerror", None) or error
            raise TidegateError(f"{self.name} could not be read: {reason}.") from None


def find_sources(arguments: Sequence[TextArgument]) -> list[Source]:
    """Return the files that the arguments name, each once, in the order given; folders and globs in sorted order.

    Folders are searched through all their levels for .txt, .md and .jsonl; hidden files and folders are left out.
    """
    found: dict[str, Source] = {}
    for argument in arguments:
        try:
            sources = _sources_of(argument)
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
    return os.path.realpath(source.resource) if isinstance(source.resource, Path) else source.name


def _sources_of(argument: TextArgument) -> list[Source]:
    if isinstance(argument, EmbeddedCorpus):
        with argument.resource.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
        return [Source(f"embedded corpus {argument.name}", argument.resource, "xz", size)]
    path = Path(os.path.expanduser(argument))
    if not path.exists() and glob.has_magic(str(argument)):
        matches = sorted(glob.glob(str(path), recursive=True))
        sources = [source for match in matches for source in _sources_at(Path(match), within_glob=True)]
        if not sources:
            raise TidegateError(
                f"No text matches {str(argument)!r}: name files, a folder, or a glob that matches some."
            )
        return sources
    return _sources_at(path)


def _sources_at(path: Path, within_glob: bool = False) -> list[Source]:
    if path.is_dir():
        paths = list(_walk(path))
        texts = [file for file in paths if file.suffix.lower() in SUFFIXES]
        if not texts and not within_glob:
            raise TidegateError(_no_text(path, paths))
        return [_file(file) for file in texts]
    if not path.exists():
        raise TidegateError(_missing(path))
    return [_file(path)]


def _file(path: Path) -> Source:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise TidegateError(
            f"{path} is neither a file nor a folder: text is read more than once, so save it to a file."
        )
    return Source(str(path), path, "jsonl" if path.suffix.lower() == ".jsonl" else "text", status.st_size)


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
        if set(names) >= MODEL_FILES:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(here, name)
            if not name.startswith(".") and path.is_file():
                yield path


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
    counts = Counter(path.suffix.lower() or "no suffix" for path in paths)
    most = sorted(counts, key=lambda suffix: (-counts[suffix], suffix))[:5]
    there = ", ".join(f"{counts[suffix]} × {suffix}" for suffix in most)
    found = f"found {there}" if paths else "it has no visible files"
    return (
        f"The folder {folder} has no text: looked for {', '.join(SUFFIXES)}, but {found}. "
        f"Name such a folder, or other files by themselves or by a glob such as '{folder}/**/*.py'."
    )
