"""Sentences whose tokens have tags: from CoNLL's columns, CoNLL-U or .jsonl; and the schemes of entity tags.

In BIO an entity's first token has the tag B-kind and the others I-kind; in BIOES its last has E-kind, and an entity of
one token S-kind. Tags without such a beginning, as parts of speech are, each stand for themselves.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tidegate.errors import TidegateError, nearest
from tidegate.text.encodings import decode_stream
from tidegate.text.formats import Reading, json_objects
from tidegate.text.normalize import normalize, refuse_surrogates
from tidegate.text.sources import Source, find_sources

MOST_TOKENS, LONGEST_TOKEN, LONGEST_TAG, MOST_TAGS = 100_000, 1000, 100, 2000
ENTITY = re.compile(r"([BIES])-(.+)", re.DOTALL)


class Sentence(NamedTuple):
    """Tokens, and as many tags."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True)
class TagReading:
    """How tagged sentences are read."""

    token_column: int = 1
    """counted from 1, or from the end from -1 down"""
    tag_column: int | None = None
    """by default the last; of CoNLL-U the fourth, UPOS"""
    encoding: str = "utf-8"


def read_tagged(arguments: Sequence[str], how: TagReading) -> list[Sentence]:
    """Read tagged sentences from files, folders and globs; a TidegateError names the place of what is wrong."""
    if not arguments:
        raise TidegateError("No tagged sentences are named: give files of columns, .conllu or .jsonl.")
    found: list[Sentence] = []
    for source in find_sources(list(arguments)):
        with source.open() as (stream, _):
            if source.format in ("jsonl", "json"):
                records = json_objects(source, stream, Reading(how.encoding), "tokens")
                found += [_of_record(where, record) for where, record in records]
            else:
                found += _columns(source, decode_stream(source.name, stream, how.encoding), how)
    if not found:
        raise TidegateError(f"{', '.join(arguments)}: there is no sentence in it: give tagged sentences.")
    return found


def _columns(source: Source, parts: Iterator[str], how: TagReading) -> Iterator[Sentence]:
    """Yield the sentences of a file of columns; an empty line stands between two."""
    is_conllu = ".conllu" in source.name.lower()
    tag_column = how.tag_column or (4 if is_conllu else -1)
    token_column = 2 if is_conllu and how.token_column == 1 else how.token_column
    tokens: list[str] = []
    tags: list[str] = []
    first: tuple[int, int] | None = None  # the line that says how many columns there are
    for number, line in enumerate(normalize("".join(parts)).split("\n"), 1):
        where = f"{source.name}, line {number}"
        if not line.strip() or line.startswith("-DOCSTART-"):
            if tokens:
                yield _checked(where, tokens, tags)
                tokens, tags = [], []
            continue
        if is_conllu and line.startswith("#"):
            continue
        cells = line.split("\t") if "\t" in line else line.split(" ")
        cells = [cell for cell in cells if cell] if not is_conllu else cells
        if is_conllu and re.fullmatch(r"\d+[-.]\d+", cells[0]):  # a contraction, whose words follow; an empty node
            continue
        first = first or (number, len(cells))
        if len(cells) != first[1]:
            raise TidegateError(
                f"{where} has {len(cells)} column(s), but line {first[0]} has {first[1]}: each line is a token with "
                "all its columns, and an empty line stands between two sentences."
            )
        places = [column - 1 if column > 0 else len(cells) + column for column in (token_column, tag_column)]
        if places[0] == places[1] or not all(0 <= place < len(cells) for place in places):
            raise TidegateError(
                f"{where} has {len(cells)} column(s), but the token is looked for in column {token_column}, the tag in "
                f"{tag_column}: name them by --token-column and --tag-column."
            )
        tokens.append(cells[places[0]])
        tags.append(cells[places[1]])
    if tokens:
        yield _checked(source.name, tokens, tags)


def _of_record(where: str, record: dict[str, Any]) -> Sentence:
    for name in ("tokens", "tags"):
        if name not in record:
            shown = ", ".join(map(repr, list(record)[:8]))
            raise TidegateError(f"{where} has no field {name!r}{nearest(name, record)}; its fields: {shown}.")
        if not isinstance(record[name], list) or not all(isinstance(one, str) for one in record[name]):
            raise TidegateError(
                f'{where}: its {name} are no list of strings, but {{"tokens": ["…"], "tags": ["…"]}} is wanted.'
            )
    if len(record["tokens"]) != len(record["tags"]):
        raise TidegateError(f"{where} has {len(record['tokens'])} tokens, but {len(record['tags'])} tags.")
    return _checked(where, record["tokens"], record["tags"])


def _checked(where: str, tokens: Sequence[str], tags: Sequence[str]) -> Sentence:
    if not 1 <= len(tokens) <= MOST_TOKENS:
        raise TidegateError(f"{where}: the sentence has {len(tokens):,} tokens, but 1 to {MOST_TOKENS:,} are wanted.")
    clean = tuple(normalize(token).strip() for token in tokens)
    for tag in tags:
        refuse_surrogates(tag, where)
    for token, tag in zip(clean, tags, strict=True):
        if not token or len(token) > LONGEST_TOKEN:
            raise TidegateError(f"{where} has the token {token[:40]!r}: 1 to {LONGEST_TOKEN} characters are wanted.")
        if not tag or len(tag) > LONGEST_TAG or len(tag.split()) != 1:
            raise TidegateError(f"{where} has the tag {tag[:40]!r}: a word of 1 to {LONGEST_TAG} characters is wanted.")
    return Sentence(clean, tuple(tags))


def sentences_digest(sentences: Sequence[Sentence]) -> str:
    """Tells sentences, tags and their order."""
    digest = hashlib.sha256()
    for sentence in sentences:
        digest.update(json.dumps(sentence, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()


# ---- Schemes ---------------------------------------------------------------------------------------------------------


class Entity(NamedTuple):
    """A stretch of tokens of one kind."""

    kind: str
    first: int
    last: int
    """inclusive"""


def check_scheme(tags: Sequence[str]) -> bool:
    """Return whether different tags are those of entities; a TidegateError where most are, and some are no tags at
    all: one slip would have all of them learnt each for itself."""
    others = [tag for tag in tags if tag != "O" and not ENTITY.fullmatch(tag)]
    if others and 2 * len(others) <= len([tag for tag in tags if tag != "O"]):
        raise TidegateError(
            f"Most tags are those of entities, but there is also the tag {others[0]!r}, neither O nor B-, I-, E- or S- "
            "and a kind: mend it, or name the right --tag-column."
        )
    return are_entities(tags)


def are_entities(tags: Sequence[str]) -> bool:
    """Whether tags are those of entities: each of them O, or B-, I-, E- or S- and a kind."""
    return any(tag != "O" for tag in tags) and all(tag == "O" or ENTITY.fullmatch(tag) for tag in tags)


def entities(tags: Sequence[str]) -> list[Entity]:
    """Return the entities of a sentence's tags, BIO or BIOES, as conlleval and seqeval count them: what begins wrongly,
    such as I- after O, begins an entity all the same."""
    found: list[Entity] = []
    before, kind_before, first = "O", "", 0
    for place, tag in enumerate([*tags, "O"]):
        match = ENTITY.fullmatch(tag)
        prefix, kind = (match[1], match[2]) if match else ("O", "")
        inside = before != "O"
        ends = inside and (before in "ES" or prefix in ("B", "S", "O") or kind != kind_before)
        if ends:
            found.append(Entity(kind_before, first, place - 1))
        begins = prefix in ("B", "S") or (prefix in ("I", "E") and (ends or not inside))
        if begins:
            first = place
        before, kind_before = prefix, kind
    return found


def to_bioes(tags: Sequence[str]) -> tuple[str, ...]:
    """Return the tags of the same entities in BIOES."""
    found = ["O"] * len(tags)
    for kind, first, last in entities(tags):
        found[first : last + 1] = [f"I-{kind}"] * (last - first + 1)
        found[first], found[last] = (f"S-{kind}",) * 2 if first == last else (f"B-{kind}", f"E-{kind}")
    return tuple(found)


def to_bio(tags: Sequence[str]) -> tuple[str, ...]:
    """Return the tags of the same entities in BIO."""
    found = ["O"] * len(tags)
    for kind, first, last in entities(tags):
        found[first : last + 1] = [f"B-{kind}", *[f"I-{kind}"] * (last - first)]
    return tuple(found)


def allowed_bioes(tags: Sequence[str]) -> tuple[list[bool], list[list[bool]], list[bool]]:
    """Return which tags may begin a sentence, ``(K,)``, which may follow which, ``(K, K)``, from row to column, and
    which may end one, ``(K,)``: those of BIOES; all where the tags are none of entities."""
    if not are_entities(tags):
        return [True] * len(tags), [[True] * len(tags) for _ in tags], [True] * len(tags)

    def goes_on(tag: str) -> str | None:
        return tag[2:] if tag[0] in "BI" and tag != "O" else None

    def begun(tag: str) -> str | None:
        return tag[2:] if tag[0] in "IE" and tag != "O" else None

    start = [begun(tag) is None for tag in tags]
    pairs = [[goes_on(one) == begun(two) for two in tags] for one in tags]
    return start, pairs, [goes_on(tag) is None for tag in tags]


def repaired(tags: Sequence[str], bioes: bool) -> int:
    """Return how many of a sentence's tags another stands for, of the same entities, once each begins and ends as BIO,
    or BIOES, wants: I- after O, or in BIOES a B- that nothing goes on."""
    return sum(a != b for a, b in zip(tags, (to_bioes if bioes else to_bio)(tags), strict=True))
