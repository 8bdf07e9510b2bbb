"""``tidegate tag``: text in, its tokens with their tags out. No PyTorch."""

from __future__ import annotations

import itertools
import json
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import tee
from typing import Literal, NamedTuple

from rich.console import Console
from rich.text import Text

from tidegate.config import check_paths, one_of
from tidegate.folder.bases import find_model
from tidegate.runtime.tagger import SORTED, Tagger
from tidegate.text.lines import counted, read_texts
from tidegate.text.normalize import normalize
from tidegate.text.printable import printable
from tidegate.text.tagged import are_entities, entities
from tidegate.text.word_features import SPACELESS

Form = Literal["columns", "colour", "json"]
COLOURS = ("black on cyan", "black on green", "black on yellow", "black on magenta", "white on blue", "white on red")
INVISIBLE = dict.fromkeys((0x200B, 0x2060, 0xFEFF))
"""characters without width that text from elsewhere is strewn with"""


@cache
def token_pattern() -> re.Pattern[str]:
    """Return what a text is cut into where its tokens are not given: a character of a script without spaces, a word
    with its marks and vowel signs, a number, a sign."""
    marks = "".join(chr(code) for code in range(0x300, 0x20000) if unicodedata.category(chr(code))[0] == "M")
    letter = rf"(?:(?!{SPACELESS.pattern})[\w{marks}])"
    return re.compile(rf"{SPACELESS.pattern}|\d+(?:[.,]\d+)*(?!{letter})|{letter}+(?:['’]{letter}+)*|[^\w\s]")


WORD = re.compile(r"\S+")


class Cut(NamedTuple):
    """A sentence, and its tokens with what stands between them."""

    tokens: list[str]
    pieces: list[str]
    """one a token: what stands before it, and it"""
    rest: str
    """what stands after the last"""

    @classmethod
    def of(cls, line: str, pattern: re.Pattern[str]) -> Cut:
        """Cut a line into what the pattern matches."""
        line = normalize(line).translate(INVISIBLE)
        found = list(pattern.finditer(line))
        ends = [0, *(match.end() for match in found)]
        pieces = [line[begin:end] for begin, end in itertools.pairwise(ends)]
        return cls([match[0] for match in found], pieces, line[ends[-1] :])


@dataclass(frozen=True)
class TagSettings:
    """Which tagger tags which text, and how that is shown."""

    model: str = ""
    """The tagger's folder, as tidegate finetune --task tag writes it."""
    data: str | None = None
    """A file, folder or glob of texts; by default standard input, one sentence per line."""
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
    tagger = Tagger.load(find_model(settings.model))
    form = settings.form or ("colour" if sys.stdout.isatty() else "columns")
    by_hand = settings.data is None and sys.stdin.isatty()
    lines = (line for text in read_texts(settings.data, settings.columns, settings.encoding) for line in _lines(text))
    pattern = token_pattern() if settings.split else WORD
    kept, read = tee(Cut.of(line, pattern) for line in lines)
    colours = {kind: COLOURS[i % len(COLOURS)] for i, kind in enumerate(_kinds(tagger.tags))}
    console = Console(highlight=False, soft_wrap=True, force_terminal=settings.form == "colour" or None)
    found = tagger.stream((cut.tokens for cut in read), 1 if by_hand else SORTED)
    for cut, tags in zip(kept, counted(found, "sentences"), strict=True):
        if form == "colour":
            console.print(_coloured(cut, tags, colours))
        elif form == "json":
            print(_as_json(cut, tags), flush=by_hand)
        else:
            rows = zip(cut.tokens, tags, strict=True)
            print("".join(f"{printable(a)}\t{printable(b)}\n" for a, b in rows), flush=by_hand)
    return 0


def _lines(text: str) -> Iterator[str]:
    yield from text.split("\n")


def _kinds(tags: Sequence[str]) -> list[str]:
    """Return what is shown in colours: the kinds of entities, or the tags."""
    return sorted({tag[2:] for tag in tags if tag != "O"}) if are_entities(tags) else sorted(tags)


def _coloured(cut: Cut, tags: Sequence[str], colours: dict[str, str]) -> Text:
    """Return the sentence with its entities in colours, each followed by its kind; or each token with its tag."""
    pieces, shown = cut.pieces, Text()
    found = entities(tags)
    if not found and any(tag in colours for tag in tags):  # tags that each stand for themselves
        for piece, tag in zip(pieces, tags, strict=True):
            shown.append(printable(piece)).append(f"/{printable(tag)}", style=colours.get(tag, "").split()[-1])
        return shown.append(printable(cut.rest))
    place = 0
    for kind, first, last in found:
        shown.append(printable("".join(pieces[place:first])))
        inside, kind = printable("".join(pieces[first : last + 1])), printable(kind)
        shown.append(inside[: len(inside) - len(inside.lstrip())])
        shown.append(inside.lstrip(), style=colours.get(kind, "reverse")).append(f" {kind}", style="dim")
        place = last + 1
    return shown.append(printable("".join(pieces[place:]) + cut.rest))


def _as_json(cut: Cut, tags: Sequence[str]) -> str:
    found = [
        {"kind": kind, "first": first, "last": last, "text": "".join(cut.pieces[first : last + 1]).lstrip()}
        for kind, first, last in entities(tags)
    ]
    return json.dumps({"tokens": cut.tokens, "tags": list(tags), "entities": found}, ensure_ascii=False)
