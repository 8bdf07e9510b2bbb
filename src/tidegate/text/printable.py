"""Text from a model or a stranger, made fit to be shown: it may hold characters that a terminal would obey."""

from __future__ import annotations

CONTROL = frozenset(
    {*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
)
"""Code points of the C0 controls but tab and line end, DEL, the C1 controls, and what turns the direction of text."""
_REPLACED = dict.fromkeys(CONTROL, "\N{REPLACEMENT CHARACTER}")


def printable(text: str) -> str:
    """Replace control characters, and those that turn the direction of text, by U+FFFD; line ends and tabs stay."""
    return text.translate(_REPLACED)


def one_line(text: str) -> str:
    """Replace line ends and tabs as well: for a name in a line or a table, which could else forge another."""
    return printable(text).translate({ord("\n"): "\N{REPLACEMENT CHARACTER}", ord("\t"): "\N{REPLACEMENT CHARACTER}"})
