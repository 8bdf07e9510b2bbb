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
import json
import re
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from base_readers import bible, classics, corpus, mallard, manual_pages, novels, pages, wikitext, wrapped

LETTERS = {"zh": re.compile("[\u3400-\u4dbf\u4e00-\u9fff]"), "en": re.compile("[A-Za-z ,.]")}
SHARE = {"zh": 0.4, "en": 0.9}
"""of letters in a paragraph; what a translation left in English has fewer, and so have commands and tables"""
SHORTEST_PARAGRAPH = {"zh": 12, "en": 60}
"""characters; shorter ones are menus, headings, names of buttons"""
SHORTEST_DOCUMENT = 60
HELD_OUT = 50
"""of so many documents one is for validation, by its content"""


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


DEBIAN_GPL, FREE, PUBLIC = "GPL-2+", "public domain", "public domain (collection MIT)"
POETRY = "npm:chinese-poetry@2.0.1"
AUSTEN = "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"
LIBRE = "usr/share/libreoffice/help"
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
            pages(f"{LIBRE}/zh-CN/text/**/*.html"),
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
    "en": [
        Source("shakespeare", FREE, "embedded corpus shakespeare", corpus("shakespeare"), False),
        Source("wikitext-2", "CC-BY-SA-3.0", "wikitext-2, training text", wikitext("wikitext-2/wiki.train.tokens")),
        Source("jane-austen", PUBLIC, "r-cran-janeaustenr", novels(AUSTEN), False),
        Source("king-james-bible", FREE, "bible-kjv-text bible-kjv", bible, False),
        Source(
            "devils-dictionary",
            FREE,
            "dict-devil",
            wrapped("usr/share/dictd/devil.dict.dz", r"^(?=[A-Z][A-Z-]+, )", r"^ +PREFACE$"),
        ),
        Source(
            "jargon-file",
            FREE,
            "jargon-text",
            wrapped("usr/share/doc/jargon-text/jargon.txt.gz", r"^(?=   :[^\n]+:)", r"^Chapter\s1\."),
        ),
        Source("libreoffice-help", "MPL-2.0", "libreoffice-help-en-us", pages(f"{LIBRE}/en-US/text/**/*.html")),
        Source("gimp-help", "GFDL-1.2+", "gimp-help-en", pages("usr/share/gimp/2.0/help/en/*.html")),
        Source("gnome-help", "CC-BY-SA-3.0", "gnome-user-docs", mallard("usr/share/help/C/**/*.page")),
        Source(
            "debian-handbook",
            "GPL-2+ or CC-BY-SA-3.0",
            "debian-handbook",
            pages("usr/share/doc/debian-handbook/html/en-US/*.html"),
        ),
        Source("debian-reference", DEBIAN_GPL, "debian-reference-en", pages("usr/share/debian-reference/*.en.html")),
        Source("debian-faq", DEBIAN_GPL, "debian-faq", pages("usr/share/doc/debian/FAQ/*.en.html")),
        Source("debian-history", DEBIAN_GPL, "debian-history", pages("usr/share/doc/debian-history/docs/*.en.html")),
        Source("maint-guide", DEBIAN_GPL, "maint-guide", pages("usr/share/doc/maint-guide/html/*.en.html")),
        Source("debian-edu", DEBIAN_GPL, "debian-edu-doc-en", pages("usr/share/doc/debian-edu-doc-en/*bookworm*.html")),
        Source("debian-policy", DEBIAN_GPL, "debian-policy", pages("usr/share/doc/debian-policy/policy.html/*.html")),
        Source("developers-reference", "GPL-2", "developers-reference", pages("usr/share/developers-reference/*.html")),
        Source(
            "installation-guide",
            "GPL-2",
            "installation-guide-amd64",
            pages("usr/share/doc/installation-guide-amd64/en/*.html"),
        ),
        Source("kicad", "GPL-3+ or CC-BY-3.0", "kicad-doc-en", pages("usr/share/doc/kicad/help/en/*.html")),
        Source("aptitude", DEBIAN_GPL, "aptitude-doc-en", pages("usr/share/doc/aptitude/html/en/*.html")),
        Source("apache", "Apache-2.0", "apache2-doc", pages("usr/share/doc/apache2-doc/manual/en/**/*.html")),
        Source("postgresql", "PostgreSQL", "postgresql-doc-15", pages("usr/share/doc/postgresql-doc-15/html/*.html")),
    ],
}


def fetched(package: str, debs: Path | None, folder: Path) -> Path:
    """Open a package, or several of Debian's with spaces between them, into a folder of its own; returns that."""
    if package.startswith("npm:"):
        name, version = package.removeprefix("npm:").split("@")
        packed, opened = (debs or folder) / f"{name}-{version}.tgz", folder / name
        if not packed.exists():
            subprocess.run(["npm", "pack", f"{name}@{version}"], cwd=packed.parent, check=True, capture_output=True)
        if not opened.exists():
            opened.mkdir()
            subprocess.run(["tar", "xzf", str(packed), "-C", str(opened)], check=True)
        return opened
    opened = folder / package.replace(" ", "-")
    for name in package.split():
        if debs is None:
            subprocess.run(["apt-get", "download", name], cwd=folder, check=True, capture_output=True)
        found = sorted((debs or folder).glob(f"{name}_*.deb"))
        if not found:
            raise SystemExit(f"There is no {name}_*.deb in {debs or folder}.")
        subprocess.run(["dpkg-deb", "-x", str(found[-1]), str(opened)], check=True)
    return opened


def cleaned(document: str, language: str, seen: set[int]) -> str:
    """Keep the paragraphs that are prose in the language and did not come before."""
    kept = []
    for paragraph in document.splitlines():
        paragraph = " ".join(paragraph.split())
        letters = len(paragraph)
        if letters < SHORTEST_PARAGRAPH[language] or hash(paragraph) in seen:
            continue
        if len(LETTERS[language].findall(paragraph)) < SHARE[language] * letters:
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
