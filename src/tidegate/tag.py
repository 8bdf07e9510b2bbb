"""``tidegate tag``: text in, its tokens with their tags out. No PyTorch."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from typing import Literal

from rich.console import Console
from rich.text import Text

from tidegate.config import check_paths, one_of
from tidegate.runtime.tagger import SORTED, Tagger
from tidegate.text.lines import read_texts
from tidegate.text.printable import printable
from tidegate.text.tagged import are_entities, entities
from tidegate.text.word_features import SPACELESS, spoken

Form = Literal["columns", "colour", "json"]
COLOURS = ("black on cyan", "black on green", "black on yellow", "black on magenta", "white on blue", "white on red")
_LETTER = rf"(?:(?!{SPACELESS.pattern})\w)"
TOKEN = re.compile(rf"{SPACELESS.pattern}|\d+(?:[.,]\d+)*(?!{_LETTER})|{_LETTER}+(?:['’]{_LETTER}+)*|[^\w\s]")
"""what a text is cut into where its tokens are not given: a character of a script without spaces, a word, a mark"""


@dataclass(frozen=True)
class TagSettings:
    """Which tagger tags which text, and how that is shown."""

    model: str = ""
    """The tagger's folder, as tidegate finetune --task tag writes it."""
    data: str | None = None
    """A file, folder or glob of texts; by default standard input, one sentence a line."""
    columns: tuple[str, ...] = ()
    """Its columns or fields that hold text; see tidegate train."""
    encoding: str = "utf-8"
    """Encoding of that text; see tidegate train."""
    split: bool = True
    """Cut sentences into words, marks and Chinese characters; false: their tokens stand between spaces."""
    form: Form | None = None
    """columns, a token and its tag a line; colour, the text with its entities marked; json, an object a sentence. By
    default colour in a terminal, else columns."""

    def __post_init__(self) -> None:
        check_paths(self, "model", "data")
        if self.form is not None:
            one_of(self, "form", Form)


def tag(settings: TagSettings) -> int:
    """Print the tags of each sentence; returns the exit code."""
    tagger = Tagger.load(settings.model)
    form = settings.form or ("colour" if sys.stdout.isatty() else "columns")
    by_hand = settings.data is None and sys.stdin.isatty()
    lines = (line for text in read_texts(settings.data, settings.columns, settings.encoding) for line in _lines(text))
    cut = TOKEN.findall if settings.split else str.split
    kept, read = tee([*cut(line)] for line in lines)
    colours = {kind: COLOURS[i % len(COLOURS)] for i, kind in enumerate(_kinds(tagger.tags))}
    console = Console(highlight=False, soft_wrap=True)
    for tokens, tags in zip(kept, tagger.stream(read, 1 if by_hand else SORTED), strict=True):
        if form == "colour":
            console.print(_coloured(tokens, tags, colours))
        elif form == "json":
            print(_as_json(tokens, tags), flush=by_hand)
        else:
            print(
                "".join(f"{printable(a)}\t{printable(b)}\n" for a, b in zip(tokens, tags, strict=True)), flush=by_hand
            )
    return 0


def _lines(text: str) -> Iterator[str]:
    yield from text.split("\n")


def _kinds(tags: Sequence[str]) -> list[str]:
    """Return what is shown in colours: the kinds of entities, or the tags."""
    return sorted({tag[2:] for tag in tags if tag != "O"}) if are_entities(tags) else sorted(tags)


def _coloured(tokens: Sequence[str], tags: Sequence[str], colours: dict[str, str]) -> Text:
    """Return the sentence with its entities in colours, each followed by its kind; or each token with its tag."""
    pieces, shown = spoken(tokens), Text()
    found = entities(tags)
    if not found and any(tag in colours for tag in tags):  # tags that each stand for themselves
        for piece, tag in zip(pieces, tags, strict=True):
            shown.append(printable(piece)).append(f"/{printable(tag)}", style=colours.get(tag, "").split()[-1])
        return shown
    place = 0
    for kind, first, last in found:
        shown.append(printable("".join(pieces[place:first])))
        inside, kind = printable("".join(pieces[first : last + 1])), printable(kind)
        shown.append(" " * (len(inside) - len(inside.lstrip())))
        shown.append(inside.lstrip(), style=colours.get(kind, "reverse")).append(f" {kind}", style="dim")
        place = last + 1
    return shown.append(printable("".join(pieces[place:])))


def _as_json(tokens: Sequence[str], tags: Sequence[str]) -> str:
    found = [
        {"kind": kind, "first": first, "last": last, "text": "".join(spoken(tokens[first : last + 1]))}
        for kind, first, last in entities(tags)
    ]
    return json.dumps({"tokens": list(tokens), "tags": list(tags), "entities": found}, ensure_ascii=False)
