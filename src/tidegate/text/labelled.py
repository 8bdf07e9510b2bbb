"""Texts with labels, from tables, .jsonl files, or a folder in which each folder is a label; and their split."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tidegate.errors import TidegateError, nearest
from tidegate.text.encodings import decode_stream
from tidegate.text.formats import Reading, json_objects, table_cells
from tidegate.text.normalize import normalize, refuse_surrogates
from tidegate.text.sources import Source, find_sources

MOST_LABELS, LONGEST_LABEL = 10_000, 200
FEW_LABELS = 20
"""so many are never taken for something else"""
OFTEN_TOLD = 0.7
"""share of texts with their label's name in them from which on this is no chance"""
BETWEEN = "|"
"""stands between the labels of one text in a table"""


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
    """those of the text; none: the one named text, or the only one beside the label's"""
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
    duplicates = conflicts = empty = 0
    for where, text, found in _records(arguments, how):
        text = normalize(text).strip()
        if not text:
            empty += 1
            continue
        _check_labels(where, found, how)
        if not how.keep_duplicates and text in known:
            duplicates += 1
            conflicts += known[text] != found
            continue
        known[text] = found
        texts.append(text)
        labels.append(found)
    if not texts:
        raise TidegateError(f"{', '.join(arguments)}: there is no text in it: give labelled texts.")
    return LabelledTexts(texts, labels, duplicates, conflicts, empty)


def _records(arguments: Sequence[str], how: LabelReading) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    for argument in arguments:
        path = Path(argument).expanduser()
        if path.is_dir() and (classes := sorted(p for p in path.iterdir() if p.is_dir() and p.name[0] != ".")):
            for folder in classes:
                yield from _class_folder(folder, how)
            continue
        for source in find_sources([argument]):
            yield from _file(source, how)


def _class_folder(folder: Path, how: LabelReading) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield the texts of one folder, each file one, all with the folder's name as their label."""
    for source in find_sources([str(folder)]):
        if source.format != "text":
            raise TidegateError(
                f"{source.name} is no .txt file: in a folder of folders each file is one text of the label "
                f"{folder.name!r}; name a table itself."
            )
        with source.open() as (stream, _):
            yield source.name, "".join(decode_stream(source.name, stream, how.encoding)), (folder.name,)


def _file(source: Source, how: LabelReading) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    reading = Reading(how.encoding)
    with source.open() as (stream, _):
        if source.format == "jsonl":
            for where, record in json_objects(source, stream, reading):
                _require(where, how.label_column, record)
                names = how.columns or _text_columns(where, list(record), how)
                for name in names:
                    _require(where, name, record)
                    if not isinstance(record[name], str):
                        raise TidegateError(f"{where}: its field {name!r} is no string, but a text is wanted.")
                yield where, "\n".join(record[name] for name in names), _labels(where, record[how.label_column], how)
        elif source.format in ("csv", "tsv"):
            for where, (cell, *cells) in table_cells(source, stream, reading, partial(_places, source, how)):
                found: Any = cell.split(BETWEEN) if how.multi_label else cell
                yield where, "\n".join(cells), _labels(where, found, how)
        else:
            raise TidegateError(
                f"{source.name} has no labels: give a .csv, .tsv or .jsonl with a column {how.label_column!r}, or a "
                "folder in which each folder is a label."
            )


def _places(source: Source, how: LabelReading, header: list[str]) -> list[int]:
    """Return where a table has the label, and where the text."""
    where = f"{source.name}, line 1"
    for name in (how.label_column, *how.columns):
        _require(where, name, header)
    for name in (how.label_column, *how.columns, "text"):
        if header.count(name) > 1:
            raise TidegateError(f"{where} has the column {name!r} {header.count(name)} times: rename all but one.")
    return [header.index(name) for name in (how.label_column, *(how.columns or _text_columns(where, header, how)))]


def _require(where: str, name: str, known: Any) -> None:
    if name not in known:
        shown = ", ".join(map(repr, list(known)[:8])) or "none"
        raise TidegateError(
            f"{where} has no column {name!r}{nearest(name, known)}; its columns: {shown}. Name that of the label by "
            "--label-column, those of the text by --columns."
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


def _labels(where: str, value: Any, how: LabelReading) -> tuple[str, ...]:
    """Return the labels that a value stands for; numbers are as good as names."""
    values = value if isinstance(value, list) else [value]
    if isinstance(value, list) and not how.multi_label:
        raise TidegateError(f"{where} has a list of labels: give --multi-label, or one label per text.")
    if not all(isinstance(one, str | int | float) for one in values):
        raise TidegateError(f"{where} has the label {str(value)[:80]!r}: a name or a number is wanted.")
    whole = (int(one) if isinstance(one, float) and one.is_integer() else one for one in values)  # 1.0 is 1
    named = (str(one).strip() for one in whole)
    return tuple(dict.fromkeys(name for name in named if name or not how.multi_label))


def _check_labels(where: str, labels: tuple[str, ...], how: LabelReading) -> None:
    for label in labels:
        refuse_surrogates(label, where)
        if not label or len(label) > LONGEST_LABEL or "\n" in label:
            several = "" if label else " A text may have none with --multi-label."
            raise TidegateError(
                f"{where} has the label {label[:40]!r}, but a label is one line of 1 to {LONGEST_LABEL} characters."
                f"{several}"
            )


def label_names(labels: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return all labels, sorted; a TidegateError where they are too few to tell apart, or too many."""
    names = sorted({label for some in labels for label in some})
    if not 2 <= len(names) <= MOST_LABELS and not (names and len(names) <= MOST_LABELS and any(not s for s in labels)):
        raise TidegateError(
            f"The texts have {len(names)} label(s) ({', '.join(names[:3])[:200]}), but from 2 to {MOST_LABELS:,} are "
            "wanted: is it the right --label-column?"
        )
    _check_are_names(names, sum(map(len, labels)))
    return tuple(names)


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


def _check_are_names(names: Sequence[str], texts: int) -> None:
    """Refuse what is no label but a measure, or tells each text from all others: nothing can be learnt of either."""
    if len(names) <= FEW_LABELS:
        return
    try:
        numbers = [float(name) for name in names]
    except ValueError:
        numbers = []
    is_measure = bool(numbers) and not all(number.is_integer() for number in numbers)
    if not is_measure and 2 * len(names) <= texts:
        return
    seen = f"{len(names):,} different ones for {texts:,} texts"
    kind = f"numbers from {min(numbers):g} to {max(numbers):g}, {seen}" if numbers else f"{seen}, such as {names[0]!r}"
    raise TidegateError(
        f"The labels are {kind}: a label is a name that many texts have. Name the right --label-column, or put what "
        "is measured into classes."
    )


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
