"""What a tagger is worth: accuracy of tokens; of entities precision, recall and F1, as conlleval and seqeval count."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tidegate.folder.atomic import write_atomically
from tidegate.folder.card import markdown_table
from tidegate.text.entities import are_entities, entities
from tidegate.text.tagged import Sentence

REPORT, FIGURES = "report.md", "report.json"
CONFUSED = 20
"""pairs of tags that are listed"""


def figures(true: Sequence[Sentence], given: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return the accuracy of tokens, and, where the tags are those of entities, precision, recall and F1 of entities:
    one counts as found where its kind and both its ends are right."""
    right = sum(a == b for one, tags in zip(true, given, strict=True) for a, b in zip(one.tags, tags, strict=True))
    total = sum(len(one.tags) for one in true)
    found = {"accuracy": right / max(1, total)}
    if _are_entities(true):
        found |= _measures(*(sum(counts.values()) for counts in counted(true, given)))
    return found


def _are_entities(true: Sequence[Sentence]) -> bool:
    return are_entities(sorted({tag for sentence in true for tag in sentence.tags}))


def counted(
    true: Sequence[Sentence], given: Sequence[Sequence[str]]
) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Return how many entities of each kind were found rightly, how many were given, and how many there are."""
    hits: Counter[str] = Counter()
    told: Counter[str] = Counter()
    there: Counter[str] = Counter()
    for sentence, tags in zip(true, given, strict=True):
        one, two = set(entities(sentence.tags)), set(entities(tags))
        there.update(entity.kind for entity in one)
        told.update(entity.kind for entity in two)
        hits.update(entity.kind for entity in one & two)
    return hits, told, there


def _measures(hits: int, told: int, there: int) -> dict[str, float]:
    precision, recall = hits / max(1, told), hits / max(1, there)
    return {"precision": precision, "recall": recall, "f1": 2 * hits / max(1, told + there)}


def write_report(
    folder: Path, parts: Mapping[str, tuple[Sequence[Sentence], Sequence[Sequence[str]]]]
) -> tuple[dict[str, float], list[str]]:
    """Write report.md and report.json into a tagger's folder.

    parts: true and given tags by the part of the sentences, the last of them the one that is told of at length. Returns
    the figures by names such as test/f1, and a sentence for each part.
    """
    whole: dict[str, Any] = {}
    told: dict[str, float] = {}
    said: list[str] = []
    rows: list[tuple[str, ...]] = []
    for part, (true, given) in parts.items():
        found = figures(true, given)
        whole[part] = {"sentences": len(true), **found}
        told |= {f"{part}/{name}": value for name, value in found.items()}
        shown = ", ".join(f"{_shown(name)} {value:.2%}" for name, value in found.items())
        said.append(f"{part.capitalize()}, {len(true):,} sentences: {shown}")
        names = ("accuracy", "precision", "recall", "f1")
        rows.append((f"{part}, {len(true):,} sentences", *(f"{found[n]:.2%}" if n in found else "" for n in names)))
    part, (true, given) = list(parts.items())[-1]
    head: tuple[str, ...] = ("sentences", "accuracy of tokens", "precision", "recall", "F1")
    lines = ["# What it is worth", markdown_table(head, rows)]
    if _are_entities(true):
        rows = []
        hits, given_ones, there = counted(true, given)
        for kind in sorted(there | given_ones):
            measures = _measures(hits[kind], given_ones[kind], there[kind]).values()
            rows.append((kind, *(f"{measure:.2%}" for measure in measures), f"{there[kind]:,}"))
        head = ("kind", "precision", "recall", "F1", "entities")
        lines += [f"## Kinds of entities, {part}", markdown_table(head, rows)]
    pairs = Counter(
        (a, b) for one, tags in zip(true, given, strict=True) for a, b in zip(one.tags, tags, strict=True) if a != b
    )
    confused = [(a, b, f"{count:,}") for (a, b), count in pairs.most_common(CONFUSED)]
    if confused:
        lines += [f"## Most often confused, {part}", markdown_table(("tag", "given instead", "tokens"), confused)]
    write_atomically(folder / REPORT, ("\n\n".join(lines) + "\n").encode("utf-8", "replace"))
    write_atomically(folder / FIGURES, (json.dumps(whole, ensure_ascii=False, indent=2) + "\n").encode())
    return told, said


def _shown(name: str) -> str:
    return "F1" if name == "f1" else name
