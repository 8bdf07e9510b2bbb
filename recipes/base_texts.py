"""Gather the text that a base model learns from, one .jsonl a source, and sources.json, which the model's card is
written from: what each is, its licence, how much of it.

    python recipes/base_texts.py zh texts/zh --sets DATA
    tidegate train texts/zh/train --validation-data texts/zh/validation.jsonl --config recipes/base-zh.yaml

Debian's packages are fetched with apt-get download and opened with dpkg-deb (Debian 12 was used), npm's with npm pack,
or both are taken from --debs, a folder that has them; none is installed. --sets is a folder with what no package has,
for English alone: wikitext-2/wiki.train.tokens. The texts stay outside the project.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tidegate.text.corpus import read_pieces
from tidegate.text.embedded_corpora import embedded_corpus
from tidegate.text.html_text import html_text
from tidegate.text.sources import find_sources

HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
CHINESE_SHARE = 0.4
"""of a paragraph's characters; what a translation left in English has less"""
SHORTEST_PARAGRAPH = 12
"""characters; shorter ones are menus, headings, names of buttons"""
SHORTEST_DOCUMENT = 60
HELD_OUT = 50
"""of so many documents one is for validation, by its content"""
ROFF_MACRO = re.compile(r"^[.'].*$")
ROFF_TEXT = re.compile(r"""^\.\s*(?:SH|SS|B|I|BR|IR|RB|RI|IB|BI|TP|IP|PP|P|LP|Sh|Ss)\s+(.*)$""")
ROFF_ESCAPE = re.compile(r"\\(?:f\[[^]]*\]|f.|s[+-]?\d+|\([a-z]{2}|\[[^]]*\]|[&|^,/%:]|\*\(..)")


@dataclass(frozen=True)
class Source:
    """One source of text."""

    name: str
    """of its file"""
    licence: str
    """as its package or its folder states it"""
    where: str
    """Debian's package, or the set"""
    documents: Callable[[Path], Iterator[str]]
    """reads the folder that the package was opened into, or the folder of the sets"""
    filtered: bool = True
    """whether paragraphs in another language, short ones and repeats are left out"""


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
    """Articles, their tokens joined to ordinary text again."""

    def read(folder: Path) -> Iterator[str]:
        text = (folder / file).read_text(encoding="utf-8")
        for article in re.split(r"\n(?= = [^=])", text):
            article = re.sub(r" @([-,.])@ ", r"\1", article).replace("<unk>", "")
            article = re.sub(r" ([,.;:!?)\]%]|'s\b|'t\b|n't\b)", r"\1", article)
            article = re.sub(r"([(\[$]) ", r"\1", article)
            article = re.sub(r'" ([^"\n]*?) "', r'"\1"', article)
            yield re.sub(r"  +", " ", re.sub(r"(?m)^ ?(=+) (.*?) \1 ?$", r"\2", article)).strip()

    return read


DEBIAN_GPL, PUBLIC, POETRY = "GPL-2+", "public domain (collection MIT)", "npm:chinese-poetry@2.0.1"
SOURCES = {
    "zh": [
        Source("tang-poems", PUBLIC, "embedded corpus tang-poems", corpus("tang-poems"), False),
        Source("song-ci", PUBLIC, POETRY, classics("songci/ci.song.*.json"), False),
        Source("yuan-plays-and-songs", PUBLIC, POETRY, classics("yuanqu/*.json"), False),
        Source(
            "classics",
            PUBLIC,
            POETRY,
            classics("lunyu/lunyu.json", "youmengying/youmengying.json", "shijing/shijing.json", "chuci/chuci.json"),
            False,
        ),
        Source(
            "libreoffice-help",
            "MPL-2.0",
            "libreoffice-help-zh-cn",
            pages("usr/share/libreoffice/help/zh-CN/text/**/*.html"),
        ),
        Source("gimp-help", "GFDL-1.2+", "gimp-help-zh-cn", pages("usr/share/gimp/2.0/help/zh_CN/*.html")),
        Source("gnome-help", "CC-BY-SA-3.0", "gnome-user-docs", mallard("usr/share/help/zh_CN/**/*.page")),
        Source(
            "debian-handbook",
            "GPL-2+ or CC-BY-SA-3.0",
            "debian-handbook",
            pages("usr/share/doc/debian-handbook/html/zh-CN/*.html"),
        ),
        Source(
            "debian-reference", DEBIAN_GPL, "debian-reference-zh-cn", pages("usr/share/debian-reference/*.zh-cn.html")
        ),
        Source("debian-faq", DEBIAN_GPL, "debian-faq-zh-cn", pages("usr/share/doc/**/*.zh-cn.html")),
        Source("maint-guide", DEBIAN_GPL, "maint-guide-zh-cn", pages("usr/share/doc/**/*.zh-cn.html")),
        Source("debian-edu", DEBIAN_GPL, "debian-edu-doc-zh-cn", pages("usr/share/doc/**/*.html")),
        Source(
            "installation-guide",
            "GPL-2",
            "installation-guide-amd64",
            pages("usr/share/doc/installation-guide-amd64/zh_CN/*.html"),
        ),
        Source("kicad", "GPL-3+ or CC-BY-3.0", "kicad-doc-zh", pages("usr/share/doc/kicad/help/zh/*.html")),
        Source("lilypond", "GFDL-1.3+", "lilypond-doc-html-zh", pages("usr/share/doc/lilypond/html/**/*.zh.html")),
        Source(
            "manual-pages",
            "GFDL-1.2+, GPL-2+, public domain",
            "manpages-zh",
            manual_pages("usr/share/man/zh_CN/*/*.gz"),
        ),
    ],
}


def fetched(package: str, debs: Path | None, folder: Path) -> Path:
    """Open a package of Debian's into a folder of its own; returns that."""
    if package.startswith("npm:"):
        name, version = package.removeprefix("npm:").split("@")
        packed, opened = (debs or folder) / f"{name}-{version}.tgz", folder / name
        if not packed.exists():
            subprocess.run(["npm", "pack", f"{name}@{version}"], cwd=packed.parent, check=True, capture_output=True)
        if not opened.exists():
            opened.mkdir()
            subprocess.run(["tar", "xzf", str(packed), "-C", str(opened)], check=True)
        return opened
    if debs is None:
        subprocess.run(["apt-get", "download", package], cwd=folder, check=True, capture_output=True)
    found = sorted((debs or folder).glob(f"{package}_*.deb"))
    if not found:
        raise SystemExit(f"There is no {package}_*.deb in {debs or folder}.")
    opened = folder / package
    subprocess.run(["dpkg-deb", "-x", str(found[-1]), str(opened)], check=True)
    return opened


def cleaned(document: str, language: str, seen: set[int]) -> str:
    """Keep the paragraphs that are prose in the language and did not come before."""
    kept = []
    for paragraph in document.splitlines():
        paragraph = " ".join(paragraph.split())
        letters = len(paragraph)
        if letters < SHORTEST_PARAGRAPH or hash(paragraph) in seen:
            continue
        if language == "zh" and len(HAN.findall(paragraph)) < CHINESE_SHARE * letters:
            continue
        seen.add(hash(paragraph))
        kept.append(paragraph)
    return "\n".join(kept)


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("language", choices=SOURCES)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sets", type=Path, default=Path(), help="folder of the sets that no package has")
    parser.add_argument("--debs", type=Path, help="folder of packages that were fetched before")
    arguments = parser.parse_args()
    (arguments.out / "train").mkdir(parents=True, exist_ok=True)
    held_out = open(arguments.out / "validation.jsonl", "w", encoding="utf-8")  # noqa: SIM115 (until the end)
    report, seen = [], set[int]()
    with tempfile.TemporaryDirectory() as folder:
        for source in SOURCES[arguments.language]:
            packaged = not source.where.startswith(("embedded", "wikitext"))
            place = fetched(source.where, arguments.debs, Path(folder)) if packaged else arguments.sets
            count = characters = size = 0
            with open(arguments.out / "train" / f"{source.name}.jsonl", "w", encoding="utf-8") as file:
                for document in source.documents(place):
                    text = cleaned(document, arguments.language, seen) if source.filtered else document.strip()
                    if (source.filtered and len(text) < SHORTEST_DOCUMENT) or not text:
                        continue
                    line = json.dumps({"text": text}, ensure_ascii=False) + "\n"
                    if zlib.crc32(text.encode()) % HELD_OUT == 0:
                        held_out.write(line)
                        continue
                    file.write(line)
                    count, characters, size = count + 1, characters + len(text), size + len(text.encode())
            row = {"name": source.name, "from": source.where, "licence": source.licence, "documents": count}
            report.append({**row, "characters": characters, "bytes": size})
            print(f"{source.name:20} {count:7,} documents {characters:10,} characters   {source.licence}", flush=True)
    held_out.close()
    total = sum(row["bytes"] for row in report)
    for row in report:
        row["share"] = round(row["bytes"] / total, 4)
    (arguments.out / "sources.json").write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
