"""Text from a model, made fit to be shown: it may well hold control characters, which a terminal would obey."""

from __future__ import annotations

_CONTROL = dict.fromkeys([*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0)], "\N{REPLACEMENT CHARACTER}")


def printable(text: str) -> str:
    """Replace control characters by U+FFFD; line ends and tabs stay."""
    return text.translate(_CONTROL)
