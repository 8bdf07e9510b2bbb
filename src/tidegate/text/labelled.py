"""Texts with labels, from tables, .jsonl files, or a folder in which each folder is a label; and their split."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tidegate.errors import TidegateError, nearest
from tidegate.text.encodings import decode_stream
from tidegate.text.formats import Reading, json_objects
from tidegate.text.kinds import NAMES
from tidegate.text.labels import BETWEEN, check_label, label_name
from tidegate.text.normalize import normalize, refuse_surrogates
from tidegate.text.sources import Source, find_sources
from tidegate.text.tables import NO_HEADER, Table, is_number, looks_like_text

OFTEN_TOLD = 0.7
"""share of texts with their label's name in them from which on this is no chance"""


@dataclass(frozen=True)
class LabelledTexts:
    """Texts, and the labels of each: one, or, where a text may have several, any number."""

    texts: list[str]
    labels: list[tuple[str, ...]]
    duplicates: int = 0
    """texts that were left out because the very same came before"""
    conflicts: int = 0
    """those of them that had other labels"""
    empty: int = 0
    """texts that were left out because nothing stood in them"""
    columns: tuple[str, ...] = ()
    """those of the text, in the first file that has any"""

    def __len__(self) -> int:
        return len(self.texts)

    def part(self, places: Sequence[int] | np.ndarray) -> LabelledTexts:
        """Return the texts at these places."""
        return LabelledTexts([self.texts[i] for i in places], [self.labels[i] for i in places])

    @property
    def digest(self) -> str:
        """Tells texts, labels and their order."""
        digest = hashlib.sha256()
        for text, labels in zip(self.texts, self.labels, strict=True):
            for piece in (text, *labels):
                digest.update(f"{len(piece)}:".encode() + piece.encode())
            digest.update(b"\n")
        return digest.hexdigest()


class LabelReading(NamedTuple):
    """How labelled texts are read."""

    label_column: str = "label"
    columns: tuple[str, ...] = ()
    """those of the text; none: the one named text, or the only one beside the label's. All may be numbers, of a table
    without a header."""
    multi_label: bool = False
    encoding: str = "utf-8"
    keep_duplicates: bool = False


def read_labelled(arguments: Sequence[str], how: LabelReading) -> LabelledTexts:
    """Read labelled texts from files, folders and globs; a TidegateError names the place of what is wrong."""
    if not arguments:
        raise TidegateError("No labelled texts are named: give .csv, .tsv or .jsonl files, or a folder of folders.")
    if how.label_column in how.columns:
        raise TidegateError(
            f"The column {how.label_column!r} is that of the label, and of the text as well, which would tell it: name "
            "it in one of --label-column and --columns."
        )
    texts: list[str] = []
    labels: list[tuple[str, ...]] = []
    known: dict[str, tuple[str, ...]] = {}
    columns: tuple[str, ...] = ()
    duplicates = conflicts = empty = 0
    for one in _records(arguments, how):
        columns = columns or one.columns
        text = normalize(one.text).strip()
        if not text:
            empty += 1
            continue
        found = _labels(one, how)
        if not how.keep_duplicates and text in known:
            duplicates += 1
            conflicts += known[text] != found
            continue
        known[text] = found
        texts.append(text)
        labels.append(found)
    if not texts:
        raise TidegateError(f"{', '.join(arguments)}: there is no text in it: give labelled texts.")
    return LabelledTexts(texts, labels, duplicates, conflicts, empty, columns)


class _Labelled(NamedTuple):
    """A text as it is read."""

    where: str
    text: str
    labels: Sequence[Any]
    """as the file has them"""
    columns: tuple[str, ...] = ()
    in_table: bool = False


def _records(arguments: Sequence[str], how: LabelReading) -> Iterator[_Labelled]:
    for argument in arguments:
        path = Path(argument).expanduser()
        if path.is_dir() and (classes := sorted(p for p in path.iterdir() if p.is_dir() and p.name[0] != ".")):
            for folder in classes:
                yield from _class_folder(folder, how)
            continue
        for source in find_sources([argument]):
            yield from _file(source, how)


def _class_folder(folder: Path, how: LabelReading) -> Iterator[_Labelled]:
    """Yield the texts of one folder, each file one, all with the folder's name as their label."""
    for source in find_sources([str(folder)]):
        if source.format != "text":
            raise TidegateError(
                f"{source.name} is {NAMES[source.format]}: in a folder of folders each file is one plain text of the "
                f"label {folder.name!r}; name a table itself."
            )
        with source.open() as (stream, _):
            yield _Labelled(source.name, "".join(decode_stream(source.name, stream, how.encoding)), (folder.name,))


def _file(source: Source, how: LabelReading) -> Iterator[_Labelled]:
    with source.open() as (stream, _):
        if source.format in ("jsonl", "json"):
            for where, record in json_objects(source, stream, Reading(how.encoding)):
                yield _of_object(where, record, how)
        elif source.format in ("csv", "tsv"):
            yield from _of_table(Table(source, stream, how.encoding), how)
        else:
            raise TidegateError(
                f"{source.name} has no labels: give a .csv, .tsv or .jsonl with a column {how.label_column!r}, or a "
                "folder in which each folder is a label."
            )


def _of_object(where: str, record: dict[str, Any], how: LabelReading) -> _Labelled:
    _require(where, how.label_column, record)
    names = tuple(how.columns or _text_columns(where, list(record), how))
    for name in names:
        _require(where, name, record)
        if not isinstance(record[name], str):
            raise TidegateError(f"{where}: its field {name!r} is no string, but a text is wanted.")
        refuse_surrogates(record[name], where)
    value = record[how.label_column]
    if isinstance(value, list) and not how.multi_label:
        raise TidegateError(f"{where} has a list of labels: give --multi-label, or one label per text.")
    values = value if isinstance(value, list) else [value]
    return _Labelled(where, "\n".join(record[name] for name in names), values, names)


def _of_table(table: Table, how: LabelReading) -> Iterator[_Labelled]:
    if not table.header:  # an empty file
        return
    columns = _columns(table, how)
    label, *places = table.places(columns)
    for where, cells in table.rows():
        values = cells[label].split(BETWEEN) if how.multi_label else [cells[label]]
        yield _Labelled(where, "\n".join(cells[place] for place in places), values, columns[1:], True)


def _columns(table: Table, how: LabelReading) -> tuple[str, ...]:
    """Return the columns of a table's label and text: names, or, where it has no header, numbers."""
    where = f"{table.name}, line 1"
    given = how.label_column, *how.columns
    numbers = [table.by_number(column) for column in given]
    if all(numbers):
        others = [str(i + 1) for i in range(len(table.header)) if str(i + 1) != how.label_column]
        if not how.columns and len(others) != 1:
            raise TidegateError(
                f"{where} has {len(table.header)} columns, and that of the label is given by its number, as of a table "
                "without a header: give that of the text by --columns and its number as well."
            )
        return (how.label_column, *(how.columns or others))
    if any(numbers) and any(not is_number(column) for column in given):
        raise TidegateError(
            f"{where}: the columns {', '.join(map(repr, given))} are names and numbers, but a number is of a table "
            "without a header, in which no column has a name: give --label-column and --columns both by name, or both "
            "by number."
        )
    for name in given:
        _require(where, name, table.header, NO_HEADER.replace("--columns 1", "--label-column 1 --columns 2"))
    found = how.columns or tuple(_text_columns(where, table.header, how))
    if not how.columns and looks_like_text(found[0]):
        raise TidegateError(
            f"{where} has {found[0][:80]!r} where the name of the text's column should stand: add a first line that "
            "names the columns, or give them by number, such as --label-column 1 --columns 2."
        )
    return (how.label_column, *found)


def _require(where: str, name: str, known: Any, hint: str = "") -> None:
    if name not in known:
        shown = ", ".join(repr(one[:80]) for one in list(known)[:8]) or "none"
        raise TidegateError(
            f"{where} has no column {name!r}{nearest(name, known)}; its columns: {shown}. Name that of the label by "
            f"--label-column, those of the text by --columns.{hint}"
        )


def _text_columns(where: str, header: Sequence[str], how: LabelReading) -> Sequence[str]:
    others = [name for name in header if name != how.label_column]
    if "text" in others:
        return ("text",)
    if len(others) == 1:
        return others
    raise TidegateError(
        f"{where} has the columns {', '.join(map(repr, header))[:500]}, none of them 'text': name those of the text by "
        "--columns."
    )


def _labels(one: _Labelled, how: LabelReading) -> tuple[str, ...]:
    """Return the names of a text's labels, each once."""
    names = (label_name(one.where, value, in_table=one.in_table) for value in one.labels)
    found = tuple(dict.fromkeys(name for name in names if name or not how.multi_label))
    for name in found:
        check_label(one.where, name)
    return found


def tell_their_labels(texts: LabelledTexts) -> int:
    """Return how many texts hold their own label's name, where that is so of most of them, and of few that they hold
    another text's; else 0. Such a model learns to read the name, not the text."""
    if not len(texts):
        return 0
    patterns = {
        label: re.compile(rf"(?<!\w){re.escape(label)}(?!\w)" if label.isascii() else re.escape(label), re.IGNORECASE)
        for label in {label for some in texts.labels for label in some}
    }

    def hold(labels: Sequence[tuple[str, ...]]) -> int:
        pairs = zip(texts.texts, labels, strict=True)
        return sum(bool(some) and all(patterns[label].search(text) for label in some) for text, some in pairs)

    places = np.random.Generator(np.random.PCG64(0)).permutation(len(texts))
    others = [tuple(set(texts.labels[i]) - set(own)) for own, i in zip(texts.labels, places, strict=True)]
    own, by_chance = hold(texts.labels) / len(texts), hold(others) / max(1, sum(map(bool, others)))
    return round(own * len(texts)) if own >= OFTEN_TOLD and by_chance <= own / 2 else 0


def stratified(labels: Sequence[tuple[str, ...]], share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split places into two parts, the second with this share of each label's texts, drawn by the seed; both sorted.

    A label of two texts and more has one in each part, where the share is not 0, and one of a single text has it in the
    first. Of several labels of a text the rarest counts.
    """
    counts = Counter(label for some in labels for label in some)
    groups: dict[str, list[int]] = {}
    for place, some in enumerate(labels):
        groups.setdefault(min(some, key=lambda label: (counts[label], label), default=""), []).append(place)
    rng, held = np.random.Generator(np.random.PCG64(seed)), []
    for label in sorted(groups):
        places = rng.permutation(groups[label])
        count = min(max(round(len(places) * share), 1 if share else 0), len(places) - 1)
        held.append(places[:count])
    second = np.sort(np.concatenate(held)).astype(np.int64)
    return np.setdiff1d(np.arange(len(labels)), second), second
