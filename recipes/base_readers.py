"""How each kind of source of a base model's text is read: documents from the folder that it lies in."""

from __future__ import annotations

import gzip
import json
import re
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree

from tidegate.text.corpus import read_pieces
from tidegate.text.embedded_corpora import embedded_corpus
from tidegate.text.html_text import html_text
from tidegate.text.sources import find_sources

ROFF_MACRO = re.compile(r"^[.'].*$")
ROFF_TEXT = re.compile(r"""^\.\s*(?:SH|SS|B|I|BR|IR|RB|RI|IB|BI|TP|IP|PP|P|LP|Sh|Ss)\s+(.*)$""")
ROFF_ESCAPE = re.compile(r"\\(?:f\[[^]]*\]|f.|s[+-]?\d+|\([a-z]{2}|\[[^]]*\]|[&|^,/%:]|\*\(..)")


def pages(pattern: str) -> Callable[[Path], Iterator[str]]:
    """HTML pages."""

    def read(folder: Path) -> Iterator[str]:
        for path in sorted(folder.glob(pattern)):
            yield html_text(path.read_text(encoding="utf-8", errors="replace"))

    return read


def mallard(pattern: str) -> Callable[[Path], Iterator[str]]:
    """GNOME's help pages: XML, whose <info> tells of authors."""
    blocks = {"p", "title", "desc", "item", "td"}

    def read(folder: Path) -> Iterator[str]:
        for path in sorted(folder.glob(pattern)):
            root = ElementTree.parse(path).getroot()
            lines = []
            for info in root.findall(".//{*}info"):
                info.clear()
            for element in root.iter():
                if element.tag.rpartition("}")[2] in blocks - {"item", "td"}:
                    lines.append(" ".join("".join(element.itertext()).split()))
            yield "\n".join(line for line in lines if line)

    return read


def manual_pages(pattern: str) -> Callable[[Path], Iterator[str]]:
    """Manual pages, without the marks of their typesetting."""

    def read(folder: Path) -> Iterator[str]:
        for path in sorted(folder.glob(pattern)):
            if not path.is_file():
                continue
            lines = []
            for line in gzip.decompress(path.read_bytes()).decode(errors="replace").splitlines():
                if words := ROFF_TEXT.match(line):
                    line = words[1].replace('"', "")
                elif ROFF_MACRO.match(line):
                    continue
                lines.append(ROFF_ESCAPE.sub("", line).replace("\\-", "-").replace("\\e", "\\"))
            yield "\n".join(lines)

    return read


def corpus(name: str) -> Callable[[Path], Iterator[str]]:
    """A corpus that comes with Tidegate, poem by poem or in stretches of some pages."""

    def read(_: Path) -> Iterator[str]:
        text = "".join(piece.text for piece in read_pieces(find_sources([embedded_corpus(name)])))
        if name == "tang-poems":
            yield from text.split("\n\n")
        else:
            yield from re.split(r"\n{3,}", text)

    return read


def classics(*patterns: str) -> Callable[[Path], Iterator[str]]:
    """The collection's JSON: title, author and paragraphs of each piece, a paragraph a line."""

    def read(folder: Path) -> Iterator[str]:
        home = folder / "package" / "dist"
        for path in (path for pattern in patterns for path in sorted(home.glob(pattern))):
            pieces = json.loads(path.read_text(encoding="utf-8"))
            for piece in pieces if isinstance(pieces, list) else [pieces]:
                heads = [piece.get(name, "") for name in ("title", "rhythmic", "chapter", "section", "author")]
                lines = piece.get("paragraphs") or piece.get("content") or piece.get("para") or []
                lines = [lines] if isinstance(lines, str) else lines
                lines = [*dict.fromkeys(head for head in heads if head), *lines, *piece.get("comment", [])]
                yield "\n".join(line.strip() for line in lines if isinstance(line, str) and line.strip())

    return read


def wikitext(file: str) -> Callable[[Path], Iterator[str]]:
    """Articles, their tokens joined to ordinary text again, without the sentences that lack a word."""
    lacking = re.compile(r"(?m)(?<=[.!?] )[^\n.!?]*<unk>[^\n.!?]*[.!?] |^[^\n.!?]*<unk>[^\n.!?]*[.!?]?")

    def read(folder: Path) -> Iterator[str]:
        text = (folder / file).read_text(encoding="utf-8")
        for article in re.split(r"\n(?= = [^=])", text):
            article = lacking.sub("", article).replace("<unk>", "")
            article = re.sub(r" @([-,.])@ ", r"\1", article)
            article = re.sub(r" ([,.;:!?)\]%]|'s\b|'t\b|n't\b)", r"\1", article)
            article = re.sub(r"([(\[$]) ", r"\1", article)
            article = re.sub(r'" ([^"\n]*?) "', r'"\1"', article)
            yield re.sub(r"  +", " ", re.sub(r"(?m)^ ?(=+) (.*?) \1 ?$", r"\2", article)).strip()

    return read


def wrapped(file: str, entry: str, skip: str) -> Callable[[Path], Iterator[str]]:
    """A packed plain text of wrapped lines, a document from each line that matches `entry` after the one that
    matches `skip`."""

    def read(folder: Path) -> Iterator[str]:
        lines = gzip.decompress((folder / file).read_bytes()).decode("utf-8", errors="replace")
        for document in re.split(entry, re.split(skip, lines, maxsplit=1, flags=re.MULTILINE)[1], flags=re.MULTILINE):
            yield "\n".join(" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", document))

    return read


def novels(file: str) -> Callable[[Path], Iterator[str]]:
    """A data base of R, a vector of lines each: a length of four bytes, then zlib of R's own serialization, in which a
    line is the word 9 under its encoding's bits, its length, its bytes. A document is a chapter."""

    def read(folder: Path) -> Iterator[str]:
        packed, at = (folder / file).read_bytes(), 0
        while at < len(packed):
            unpacking = zlib.decompressobj()
            data = unpacking.decompress(packed[at + 4 :])
            at = len(packed) - len(unpacking.unused_data)
            start = data.index(b"UTF-8") + len(b"UTF-8")
            _, count = struct.unpack_from(">II", data, start)
            start, lines = start + 8, []
            for _ in range(count):
                _, size = struct.unpack_from(">II", data, start)
                lines.append(data[start + 8 : start + 8 + size].decode("utf-8", errors="replace"))
                start += 8 + size
            for chapter in re.split(r"\n(?=chapter )", "\n".join(lines), flags=re.IGNORECASE):
                yield "\n".join(" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", chapter))

    return read


def bible(folder: Path) -> Iterator[str]:
    """Chapters; the text is packed in a way of its own, and the program that comes with it reads it."""
    words = [folder / "usr/bin/bible", "-p", folder / "usr/lib", "-f", "gen1:1-rev22:21"]
    verses = subprocess.run(words, stdin=subprocess.DEVNULL, check=True, capture_output=True, text=True).stdout
    places = (line.partition(" ") for line in verses.splitlines())
    for _, chapter in groupby(places, key=lambda verse: verse[0].partition(":")[0]):
        yield "\n".join(text for _, _, text in chapter)
