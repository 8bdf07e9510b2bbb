"""A page in English and the same page in Chinese: what must be equal, and where it is not."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import NamedTuple

NUMBER = re.compile(r"\d+(?:[.,]\d+)*(?:e[-+]?\d+)?")
LINK = re.compile(r"(!?)\[[^\]]*\]\(([^)]+)\)")


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    lines: tuple[str, ...]


class Section(NamedTuple):
    """A heading, and what stands below it up to the next one."""

    level: int
    title: str
    prose: str
    """without the fenced blocks"""
    blocks: tuple[Block, ...]


def sections(page: str) -> list[Section]:
    """Cut a page at its headings; what stands before the first is a section of level 0."""
    found: list[tuple[int, str, list[str], list[Block]]] = [(0, "", [], [])]
    fence: tuple[str, list[str]] | None = None
    for line in page.splitlines():
        if line.startswith("```"):
            if fence is None:
                fence = (line[3:], [])
            else:
                found[-1][3].append(Block(fence[0], tuple(fence[1])))
                fence = None
        elif fence is not None:
            fence[1].append(line)
        elif heading := re.match(r"(#+) (.*)", line):
            found.append((len(heading[1]), heading[2], [], []))
        else:
            found[-1][2].append(line)
    return [Section(level, title, "\n".join(prose), tuple(blocks)) for level, title, prose, blocks in found]


def commands(block: Block) -> list[list[str]]:
    """Return the words of each command of a shell block, without its comments."""
    return [words for line in block.lines if (words := shlex.split(line, comments=True))]


def differences(english: str, chinese: str, same_texts: bool = True) -> list[str]:
    """Return a sentence for each thing in which two pages differ that must not, with the section that it stands in.

    Where `same_texts` is false the pages work on texts of their own: a word of a command that has a character beyond
    ASCII in the Chinese page stands for any word, and figures, tables and what a program shows are not compared.
    """
    ours, theirs = sections(english), sections(chinese)
    for number, (one, other) in enumerate(zip_longest(ours, theirs)):
        if one is None or other is None or one.level != other.level:
            return [f"heading {number}: {_heading(one)} in English, {_heading(other)} in Chinese"]
    found = []
    for one, other in zip(ours, theirs, strict=True):
        where = f"section {one.title!r} ({other.title!r})" if one.title else "before the first heading"
        found += [f"{where}: {what}" for what in _in_section(one, other, same_texts)]
    return found


def _heading(section: Section | None) -> str:
    return "none" if section is None else "#" * section.level + " " + section.title


def _in_section(one: Section, other: Section, same_texts: bool) -> Iterator[str]:
    if len(one.blocks) != len(other.blocks):
        yield f"{len(one.blocks)} fenced blocks in English, {len(other.blocks)} in Chinese"
    for number, (ours, theirs) in enumerate(zip(one.blocks, other.blocks, strict=False), 1):
        for what in _in_block(ours, theirs, same_texts):
            yield f"fenced block {number}: {what}"
    yield from _only("pictures", *(_targets(s.prose, "!") for s in (one, other)))
    yield from _only("links", *(_targets(s.prose, "") for s in (one, other)))
    if same_texts:
        yield from _only("numbers", *(NUMBER.findall(_bare(s.prose)) for s in (one, other)))
        yield from _only("`code`", *(re.findall(r"`([^`\n]+)`", s.prose) for s in (one, other)))
        yield from _only("rows of tables by cells", *(_table_shapes(s.prose) for s in (one, other)))


def _bare(prose: str) -> str:
    """Return the prose without the targets of its links, which are compared by themselves."""
    return re.sub(r"\]\([^)]*\)", "]", prose)


def _targets(prose: str, mark: str) -> list[str]:
    """Return where links (or, marked !, pictures) lead; a Chinese page counts as the page that it is the Chinese of."""
    return [target.replace(".zh-CN.md", ".md") for sign, target in LINK.findall(prose) if sign == mark]


def _table_shapes(prose: str) -> list[str]:
    return [str(line.count("|") - 1) for line in prose.splitlines() if line.startswith("|")]


def _only(kind: str, english: Iterable[str], chinese: Iterable[str]) -> Iterator[str]:
    ours, theirs = Counter(english), Counter(chinese)
    for language, extra in (("English", ours - theirs), ("Chinese", theirs - ours)):
        if extra:
            shown = ", ".join(item if count == 1 else f"{item} ({count} times)" for item, count in extra.items())
            yield f"{kind} in {language} alone: {shown}"


def _in_block(ours: Block, theirs: Block, same_texts: bool) -> Iterator[str]:
    if ours.language != theirs.language:
        yield f"{ours.language!r} in English, {theirs.language!r} in Chinese"
    elif ours.language == "sh":
        for one, other in zip_longest(commands(ours), commands(theirs), fillvalue=[]):
            if not _same_command(one, other, same_texts):
                yield f"{shlex.join(one) or 'nothing'!r} in English, {shlex.join(other) or 'nothing'!r} in Chinese"
    elif same_texts:
        for first, second in zip_longest(_without_words(ours), _without_words(theirs)):
            if first != second:
                yield f"{first!r} in English, {second!r} in Chinese"


def _same_command(one: list[str], other: list[str], same_texts: bool) -> bool:
    """Whether both do the same; a base model is that of the page's own language."""
    return len(one) == len(other) and all(
        ours.replace("base-en", "base-zh") == theirs or not (same_texts or theirs.isascii())
        for ours, theirs in zip(one, other, strict=True)
    )


def _without_words(block: Block) -> list[str]:
    """Return a block's lines without comments and, in a map of files, without what is said of each."""
    if block.language != "text":
        return [line.split("  #")[0].rstrip() for line in block.lines]
    columns = [re.split(r"\s{2,}", line.strip()) for line in block.lines]
    return ["  ".join(words[:-1] if len(words) > 1 else words) for words in columns]
