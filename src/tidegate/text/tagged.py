"""Sentences whose tokens have tags: from CoNLL's columns, CoNLL-U, tables with a token a row, or JSON."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tidegate.errors import TidegateError, nearest
from tidegate.text.encodings import decode_stream, text_lines
from tidegate.text.formats import Reading, json_objects
from tidegate.text.kinds import NAMES
from tidegate.text.normalize import normalize, refuse_surrogates
from tidegate.text.sources import Source, find_sources
from tidegate.text.tables import Table

MOST_TOKENS, LONGEST_TOKEN, LONGEST_TAG, MOST_TAGS = 100_000, 1000, 100, 2000
Column = int | str
"""the number of a column, counted from 1, or from the end from -1 down; or its name"""
TOKEN_NAMES = ("token", "tokens", "word", "words", "form", "text")
TAG_NAMES = ("tag", "tags", "label", "labels", "ner", "ner_tag", "ner_tags", "entity")
SENTENCE_NAMES = ("sentence #", "sentence#", "sentence", "sentence_id", "sentence id", "sent_id", "sentence_number")
"""how columns of tables are called, in any case, where none is given"""


class Sentence(NamedTuple):
    """Tokens, and as many tags."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True)
class TagReading:
    """How tagged sentences are read."""

    token_column: Column | None = None
    """by default the first, of CoNLL-U the second, FORM; of a table, or JSON, the one that is called so"""
    tag_column: Column | None = None
    """by default the last, of CoNLL-U the fourth, UPOS; of a table, or JSON, the one that is called so"""
    sentence_column: Column | None = None
    """of a table: the one that tells sentences apart"""
    encoding: str = "utf-8"


@dataclass
class TaggedFile:
    """The sentences of one file, as they are read token by token."""

    name: str
    sentences: list[Sentence] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    """where each tag stands first"""
    _tokens: list[str] = field(default_factory=list)
    _tags: list[str] = field(default_factory=list)

    def add(self, where: str, token: str, tag: str) -> None:
        """Add a token to the last sentence; a TidegateError names its place where it is none."""
        refuse_surrogates(tag, where)
        token, tag = normalize(token).strip(), tag.strip()
        if not token or len(token) > LONGEST_TOKEN:
            raise TidegateError(f"{where} has the token {token[:40]!r}: 1 to {LONGEST_TOKEN} characters are wanted.")
        if not tag or len(tag) > LONGEST_TAG or len(tag.split()) != 1:
            raise TidegateError(f"{where} has the tag {tag[:40]!r}: a word of 1 to {LONGEST_TAG} characters is wanted.")
        if len(self._tokens) == MOST_TOKENS:
            raise TidegateError(f"{where}: the sentence has more than {MOST_TOKENS:,} tokens: cut it in several.")
        self.places.setdefault(tag, where)
        self._tokens.append(token)
        self._tags.append(tag)

    def end(self) -> None:
        """End the last sentence, where it has tokens."""
        if self._tokens:
            self.sentences.append(Sentence(tuple(self._tokens), tuple(self._tags)))
            self._tokens, self._tags = [], []


def read_tagged(arguments: Sequence[str], how: TagReading) -> list[TaggedFile]:
    """Read tagged sentences from files, folders and globs; a TidegateError names the place of what is wrong."""
    if not arguments:
        raise TidegateError("No tagged sentences are named: give files of columns, .conllu, .csv or .jsonl.")
    files = []
    for source in find_sources(list(arguments)):
        if source.format in ("html", "subtitles", "parquet"):
            raise TidegateError(
                f"{source.name} is {NAMES[source.format]}, which has no tags: give columns, .conllu, .csv or .jsonl."
            )
        file = TaggedFile(source.name)
        with source.open() as (stream, _):
            if source.format in ("jsonl", "json"):
                for where, record in json_objects(source, stream, Reading(how.encoding), "tokens"):
                    _record(file, where, record, how)
            elif source.format == "csv" or (source.format == "tsv" and _has_names(source, how)):
                table = Table(source, stream, how.encoding)
                places = _chosen(source.name, how, table.header)
                _table(file, ((row.where, [row.cells[place] for place in places]) for row in table.rows()))
            else:
                _columns(file, "".join(decode_stream(source.name, stream, how.encoding)), how)
        files.append(file)
    if not any(file.sentences for file in files):
        raise TidegateError(f"{', '.join(arguments)}: there is no sentence in it: give tagged sentences.")
    return files


# ---- Columns ---------------------------------------------------------------------------------------------------------


def _columns(file: TaggedFile, text: str, how: TagReading) -> None:
    """Read a file of columns; an empty line stands between two sentences."""
    is_conllu = ".conllu" in file.name.lower()
    rows = [(number, _cells(line, is_conllu)) for number, line in enumerate(normalize(text).split("\n"), 1)]
    # the row that says how many columns there are: the first that could be no comment
    first = next(((n, cells) for n, cells in rows if cells and not cells[0].startswith(("#", "-DOCSTART-"))), None)
    number, cells = first or next(((n, cells) for n, cells in rows if cells), (1, []))
    width, where = len(cells), f"line {number}"
    token, tag = (_numbered(file.name, column) for column in (how.token_column, how.tag_column))
    columns = token or (2 if is_conllu else 1), tag or (4 if is_conllu else -1)
    for number, cells in rows:
        if not cells or cells[0] == "-DOCSTART-":
            file.end()
            continue
        is_comment = cells[0].startswith("#") and (is_conllu or len(cells) != width)
        # of CoNLL-U: a contraction, whose words follow; an empty node
        if is_comment or (is_conllu and re.fullmatch(r"\d+[-.]\d+", cells[0])):
            continue
        places = _places(f"{file.name}, line {number}", cells, columns, (width, where))
        file.add(f"{file.name}, line {number}", *(cells[place] for place in places))
    file.end()


def _cells(line: str, is_conllu: bool) -> list[str]:
    """Return the columns of a line, none of an empty one."""
    if not line.strip():
        return []
    cells = line.split("\t") if "\t" in line else line.split(" ")
    return cells if is_conllu else [cell for cell in cells if cell]


def _numbered(name: str, column: Column | None) -> int | None:
    if isinstance(column, str):
        raise TidegateError(
            f"{name} has columns without names, but {column!r} is looked for: give its number, counted from 1, by "
            "--token-column or --tag-column."
        )
    return column


def _places(where: str, cells: Sequence[str], columns: tuple[int, int], first: tuple[int, str]) -> list[int]:
    if len(cells) != first[0]:
        raise TidegateError(
            f"{where} has {len(cells)} column(s), but {first[1]} has {first[0]}: each line is a token with all its "
            "columns, and an empty line stands between two sentences."
        )
    places = [column - 1 if column > 0 else len(cells) + column for column in columns]
    if places[0] == places[1] or not all(0 <= place < len(cells) for place in places):
        raise TidegateError(
            f"{where} has {len(cells)} column(s), but the token is looked for in column {columns[0]}, the tag in "
            f"{columns[1]}: name them by --token-column and --tag-column."
        )
    return places


# ---- Tables ----------------------------------------------------------------------------------------------------------


def _has_names(source: Source, how: TagReading) -> bool:
    """Whether a .tsv is a table whose first line names its columns: most have no such line."""
    if any(isinstance(column, str) for column in (how.token_column, how.tag_column, how.sentence_column)):
        return True
    with source.open() as (stream, _):
        first = next(text_lines(source.name, decode_stream(source.name, stream, how.encoding)), "")
    header = first.rstrip("\n").split("\t")
    return _known(header, TOKEN_NAMES) is not None and _known(header, TAG_NAMES) is not None


def _known(header: Sequence[str], names: Sequence[str]) -> int | None:
    """Return where a header has one of some names, in any case; the earlier names first."""
    lower = [name.strip().lower() for name in header]
    return next((lower.index(name) for name in names if name in lower), None)


def _chosen(name: str, how: TagReading, header: list[str]) -> list[int]:
    """Return where a table has the token, the tag, and, where it has one, what tells sentences apart."""
    wanted = (
        ("token", how.token_column, TOKEN_NAMES),
        ("tag", how.tag_column, TAG_NAMES),
        ("sentence", how.sentence_column, SENTENCE_NAMES),
    )
    places = []
    for what, column, names in wanted:
        place = _known(header, names) if column is None else _place(header, column)
        if place is not None:
            places.append(place)
        elif what != "sentence" or column is not None:
            near = nearest(column, header) if isinstance(column, str) else ""
            raise TidegateError(
                f"{name} has no column for the {what}{f', {column!r}' if column else ''}{near}; its columns: "
                f"{', '.join(map(repr, header))[:500]}. Name it by --{what}-column."
            )
    if len(set(places)) < len(places):
        raise TidegateError(
            f"{name}: one column is looked for as two of token, tag and sentence: name them by --token-column, "
            "--tag-column and --sentence-column."
        )
    return places


def _place(header: Sequence[str], column: Column) -> int | None:
    if isinstance(column, str):
        return list(header).index(column) if column in header else None
    place = column - 1 if column > 0 else len(header) + column
    return place if 0 <= place < len(header) else None


def _table(file: TaggedFile, rows: Iterator[tuple[str, list[str]]]) -> None:
    """Read the rows of a table, each a token. A sentence begins where the id of sentences changes, whether it stands on
    every row or on the first alone; without one after a row of empty cells, or an empty line."""
    known, line = "", 0
    for where, (token, tag, *sentence) in rows:
        before, line = line, int(where.rsplit(" ", 1)[1])
        if sentence and sentence[0].strip() not in ("", known):
            file.end()
            known = sentence[0].strip()
        elif not sentence and (line > before + 1 or not (token + tag).strip()):
            file.end()
        if (token + tag).strip() or sentence:
            file.add(where, token, tag)
    file.end()


# ---- JSON ------------------------------------------------------------------------------------------------------------


def _record(file: TaggedFile, where: str, record: dict[str, Any], how: TagReading) -> None:
    names = [
        column if isinstance(column, str) else usual
        for column, usual in ((how.token_column, "tokens"), (how.tag_column, "tags"))
    ]
    for name, flag in zip(names, ("--token-column", "--tag-column"), strict=True):
        if name not in record:
            shown = ", ".join(map(repr, list(record)[:8]))
            raise TidegateError(
                f"{where} has no field {name!r}{nearest(name, record)}; its fields: {shown}. Name it by {flag}."
            )
        if not isinstance(record[name], list) or not all(isinstance(one, str) for one in record[name]):
            raise TidegateError(
                f'{where}: its {name} are no list of strings, but {{"tokens": ["…"], "tags": ["…"]}} is wanted.'
            )
    tokens, tags = (record[name] for name in names)
    if len(tokens) != len(tags):
        raise TidegateError(f"{where} has {len(tokens)} tokens, but {len(tags)} tags.")
    if not tokens:
        raise TidegateError(f"{where}: the sentence has 0 tokens, but 1 to {MOST_TOKENS:,} are wanted.")
    for number, (token, tag) in enumerate(zip(tokens, tags, strict=True), 1):
        file.add(f"{where}, token {number},", token, tag)
    file.end()


def sentences_digest(sentences: Sequence[Sentence]) -> str:
    """Tells sentences, tags and their order."""
    digest = hashlib.sha256()
    for sentence in sentences:
        digest.update(json.dumps(sentence, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()
