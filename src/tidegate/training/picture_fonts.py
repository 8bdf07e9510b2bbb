"""The fonts of a picture: one that comes with matplotlib, and one of this machine that has what the first lacks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from matplotlib.font_manager import findfont, fontManager, get_font

LATIN_FONT = "DejaVu Sans"
"""comes with matplotlib"""
PREFERRED = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Noto Sans CJK JP", "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei", "Microsoft YaHei", "PingFang SC", "Hiragino Sans GB", "SimHei", "Arial Unicode MS",
    "Droid Sans Fallback",
)  # fmt: skip
"""fonts with Chinese characters that systems have; after them any other is tried"""
_UNFIT = ("Last Resort", "Emoji")
"""parts of the names of fonts that have boxes, or pictures in colours, for characters"""


def families(texts: Iterable[str]) -> list[str]:
    """Return the fonts that are tried for a character of some texts, one after another."""
    lacking = frozenset(character for text in texts for character in text if not _has(LATIN_FONT, character))
    second = _with_most(lacking) if lacking else None
    return [LATIN_FONT] if second is None else [LATIN_FONT, second]


def is_drawable(text: str, fonts: Sequence[str]) -> bool:
    """Whether some fonts have all characters of a text."""
    return all(any(_has(font, character) for font in fonts) for character in text)


@cache
def _with_most(characters: frozenset[str]) -> str | None:
    """Return the font that has the most of some characters, None where none has any."""
    most, found = 0, None
    for name in _candidates():
        count = sum(_has(name, character) for character in characters)
        if count > most:
            most, found = count, name
        if count == len(characters):
            break
    return found


def _candidates() -> Iterator[str]:
    installed = {font.name for font in fontManager.ttflist}
    yield from (name for name in PREFERRED if name in installed)
    yield from sorted(name for name in installed - {*PREFERRED, LATIN_FONT} if not any(part in name for part in _UNFIT))


def _has(name: str, character: str) -> bool:
    path = _path(name)
    return path is not None and get_font(path).get_char_index(ord(character)) != 0


@cache
def _path(name: str) -> str | None:
    """Return the file of a font, None where it cannot be read."""
    try:
        path = str(findfont(name, fallback_to_default=False))
        get_font(path)
    except (ValueError, OSError, RuntimeError):
        return None
    return path
