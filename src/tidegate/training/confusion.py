"""What a classifier takes for what: counts of label and label given, as a table and as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tidegate.folder.atomic import write_atomically
from tidegate.folder.card import markdown_table, markdown_text
from tidegate.training.picture_fonts import families, is_drawable

PICTURE = "confusion.png"
MOST_SHOWN = 40
"""labels of a table or a picture that one can read; of more, those with the most errors are shown"""
WITH_COUNTS = 20
"""labels up to which each field of the picture has room for its count"""


@dataclass(frozen=True)
class Confusion:
    """How many texts of each label were given each label. Of texts with several labels: of those with the row's label,
    how many were given the column's."""

    names: Sequence[str]
    """of the K labels, or of those that are shown"""
    numbers: Sequence[int]
    """those that the labels have in the table of classes, from 1 on"""
    counts: NDArray[np.int64]
    """``(K, K)``, from row to column"""
    texts: NDArray[np.int64]
    """``(K,)``: with each label"""

    def table(self) -> str:
        """Return it as a table in Markdown."""
        rows = [(name, *(f"{n:,}" for n in row)) for name, row in zip(self.names, self.counts, strict=True)]
        return markdown_table(("", *self.names), rows)

    @cached_property
    def fonts(self) -> list[str]:
        """The fonts of the picture."""
        return families(self.names)

    def key(self) -> str:
        """Return a sentence with the labels that the picture shows by their numbers, because no font of this machine
        has their characters; empty where there are none."""
        pairs = zip(self.numbers, self.names, strict=True)
        numbered = [f"{number} {name}" for number, name in pairs if not is_drawable(name, self.fonts)]
        if not numbered:
            return ""
        return markdown_text(f"{PICTURE} shows these labels by their numbers: {', '.join(numbered)}.")

    def draw(self, path: Path) -> None:
        """Draw each row as shares of its label's texts, with the counts where there is room."""
        shares = self.counts / self.texts[:, None].clip(1)
        pairs = zip(self.names, self.numbers, strict=True)
        shown = [name if is_drawable(name, self.fonts) else str(number) for name, number in pairs]
        # a label is no formula, whatever it has between two dollar signs
        look: dict[str, Any] = {"fontfamily": self.fonts, "parse_math": False}
        side = max(4.0, 0.45 * len(shown) + 2)
        figure = Figure(figsize=(side, side), dpi=120, layout="constrained")
        FigureCanvasAgg(figure)
        axis = figure.subplots()
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axis.set_xticks(range(len(shown)), shown, rotation=45, ha="right", **look)
        axis.set_yticks(range(len(shown)), shown, **look)
        axis.set_xlabel("label given")
        axis.set_ylabel("label")
        if self.key():
            axis.set_title("numbers: see the key in report.md", fontsize=8)
        for (row, column), count in np.ndenumerate(self.counts) if len(shown) <= WITH_COUNTS else ():
            color = "white" if shares[row, column] > 0.5 else "black"
            axis.text(column, row, f"{count:,}", ha="center", va="center", color=color, fontsize=8)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", metadata={"Software": "tidegate"})
        write_atomically(path, picture.getvalue())


def confused(targets: NDArray[Any], given: NDArray[Any], labels: int) -> csr_array:
    """Return the counts ``(K, K)`` of label and label given: of ten thousand labels few pairs ever come."""
    if targets.ndim == 1:
        ones = np.ones(len(targets), np.int64)
        return csr_array((ones, (targets.astype(np.int64), given.astype(np.int64))), shape=(labels, labels))
    there, told = (csr_array((marks > 0).astype(np.int64)) for marks in (targets, given))
    return csr_array(there.T @ told)


def triples(counts: csr_array) -> list[list[int]]:
    """Return the pairs that come, as numbers of label and label given, and how often."""
    found = counts.tocoo()
    rows, columns = found.coords
    return sorted([int(r), int(c), int(n)] for r, c, n in zip(rows, columns, found.data, strict=True))


def shown_confusion(counts: csr_array, texts: NDArray[Any], names: Sequence[str]) -> Confusion:
    """Return what can be shown of the counts: all, or of more labels than `MOST_SHOWN` those with the most errors, and
    the others together.

    texts: how many have each label, ``(K,)``
    """
    total = texts.astype(np.int64)
    if len(names) <= MOST_SHOWN:
        return Confusion(names, range(1, len(names) + 1), counts.toarray(), total)
    errors = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    first = np.sort(np.argsort(-errors, kind="stable")[: MOST_SHOWN - 1])
    place = np.full(len(names), MOST_SHOWN - 1)
    place[first] = np.arange(len(first))
    together = csr_array((np.ones(len(names), np.int64), (np.arange(len(names)), place)))
    shown = [*(names[k] for k in first), "others"]
    numbers = [*(int(k) + 1 for k in first), len(names) + 1]
    return Confusion(shown, numbers, (together.T @ counts @ together).toarray(), together.T @ total)
