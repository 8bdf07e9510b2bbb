"""Entities and their tags, in BIO and BIOES.

In BIO an entity's first token has the tag B-kind and the others I-kind; in BIOES its last has E-kind, and an entity of
one token S-kind. Tags without such a beginning, as parts of speech are, each stand for themselves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

ENTITY = re.compile(r"([BIES])-(.+)", re.DOTALL)


class Entity(NamedTuple):
    """A stretch of tokens of one kind."""

    kind: str
    first: int
    last: int
    """inclusive"""


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
