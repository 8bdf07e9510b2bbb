"""The text of an HTML page: what a reader sees, without tags, scripts and styles."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser

_HIDDEN = {"script", "style", "template", "noscript", "svg", "math", "iframe", "object"}
_OF_HEAD = set("html head title base link meta basefont bgsound script style template noscript".split())
"""what stands in a page's head; whatever else begins ends it, since </head> is often left out (HTML, 13.1.2.4)"""
_LINES = set(
    "address article aside blockquote body br caption dd div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 "
    "h5 h6 header hr li main nav ol option p pre section select table tbody tfoot thead title tr ul".split()
)
"""elements that stand on lines of their own"""
_PARAGRAPHS = set("article blockquote dl figure h1 h2 h3 h4 h5 h6 hr ol p pre section table ul".split())
"""of these, those with an empty line around"""
_CELLS = {"td", "th"}
_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]{1,40})""", re.IGNORECASE)


def html_text(page: str) -> str:
    """Return the text of a page: a line for each block, an empty line between paragraphs, a tab between cells."""
    parser = _Text()
    # behind the last ">" nothing is a tag, and the parser would look for one's end from every "<" on
    end = page.rfind(">") + 1
    parser.feed(page[:end])
    parser.close()
    parser.handle_data(unescape(page[end:]))
    lines = "".join(parser.pieces).split("\n")
    text = "\n".join(line.strip(" ") if not line.startswith("\r") else line[1:] for line in lines)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n" if text.strip() else ""


def declared_encoding(head: bytes) -> str | None:
    """Return the encoding that a page names in its first kilobytes."""
    found = _CHARSET.search(head[:4096])
    return None if found is None else found[1].decode("ascii")


class _Text(HTMLParser):
    """Gathers the visible text; a line of <pre> begins with \\r, which marks that its spaces stay."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._hidden: list[str] = []
        """the elements that hide what is within them, the innermost last"""
        self._in_head = self._in_title = False
        self._unended = False
        """whether a comment was met that nothing ends: no later one is then ended either"""
        self._kept = 0
        """how deep in <pre>"""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a line, or hide what comes."""
        self._in_title = tag == "title"
        if tag == "head":
            self._in_head = True
        elif tag not in _OF_HEAD:
            self._in_head = False
        if tag in _HIDDEN:
            self._hidden.append(tag)
        self._break(tag)
        if tag == "pre":
            self._kept += 1

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a line; an element that closes itself hides nothing."""
        self._break(tag)

    def handle_endtag(self, tag: str) -> None:
        """End a line, or what is hidden."""
        if tag in self._hidden:
            del self._hidden[self._hidden.index(tag) :]
        if tag in ("head", "body", "html"):
            self._in_head = False
        self._in_title = self._in_title and tag != "title"
        if tag == "pre":
            self._kept = max(0, self._kept - 1)
        if tag != "br":
            self._break(tag)
        if tag in _CELLS and not self._is_hidden:
            self.pieces.append("\t")

    def handle_data(self, data: str) -> None:
        """Take text, its white space as one space, but within <pre>."""
        if self._in_head and not self._in_title and not self._hidden and not data.isspace():
            self._in_head = False
        if self._is_hidden or not data:
            return
        if self._kept:
            self.pieces.append("\r" + data.replace("\r", "").replace("\n", "\n\r"))
            return
        text = re.sub(r"[ \t\r\n\f]+", " ", data)
        if text.startswith(" ") and (not self.pieces or self.pieces[-1].endswith((" ", "\n"))):
            text = text[1:]
        if text:
            self.pieces.append(text)

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """Take <![…> as the comment that it is in HTML; Python's own asserts that it is one of SGML's."""
        return self.parse_bogus_comment(i)

    def parse_comment(self, i: int, report: bool = True) -> int:
        """Look for a comment's end once only where there is none: pages of nothing but <!-- would take for ever."""
        found = -1 if self._unended else super().parse_comment(i, report)
        self._unended = found < 0
        return found

    @property
    def _is_hidden(self) -> bool:
        return bool(self._hidden) or self._in_head

    def _break(self, tag: str) -> None:
        if not self._is_hidden and tag in _LINES:
            self.pieces.append("\n\n" if tag in _PARAGRAPHS else "\n")
