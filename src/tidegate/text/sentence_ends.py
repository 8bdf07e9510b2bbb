"""Where a sentence of tokens ends: to cut what was tagged without empty lines between its sentences."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from tidegate.text.tagged import Sentence

SHOWN = ". ! ? 。 ！ ？ …"
END = re.compile(r"[.!?。！？…．]+")
CLOSING = re.compile(r"[”’」』）】》»)\]}]+|''")
QUOTES = {'"', "'"}
"""these open a sentence or close it, as their number tells"""
LONG = 500
"""tokens of a sentence that is likely several"""


def cut_at_ends(sentence: Sentence, is_outside: Callable[[str], bool]) -> Iterator[Sentence]:
    """Yield the sentences that a sentence is cut into behind each mark that ends one, and what closes behind it.

    is_outside: of a tag, whether it is of no entity: a mark within a name ends no sentence.
    """
    begin, ended, quotes = 0, False, 0
    for i, (token, tag) in enumerate(zip(*sentence, strict=True)):
        closes = CLOSING.fullmatch(token) or (token in QUOTES and quotes % 2)
        if ended and not (is_outside(tag) and (closes or END.fullmatch(token))):
            yield Sentence(sentence.tokens[begin:i], sentence.tags[begin:i])
            begin, ended, quotes = i, False, 0
        quotes += token in QUOTES
        ended = ended or (is_outside(tag) and END.fullmatch(token) is not None and not _in_number(sentence.tokens, i))
    yield Sentence(sentence.tokens[begin:], sentence.tags[begin:])


def _in_number(tokens: tuple[str, ...], i: int) -> bool:
    return 0 < i < len(tokens) - 1 and tokens[i] == "." and tokens[i - 1].isdigit() and tokens[i + 1].isdigit()


def joined(name: str, sentences: list[Sentence], is_outside: Callable[[str], bool]) -> str:
    """Return a warning where the sentences of a file seem to be joined to one, as without empty lines between them."""
    longest = max(sentences, key=lambda sentence: len(sentence.tokens), default=Sentence((), ()))
    parts = sum(1 for _ in cut_at_ends(longest, is_outside))
    if not (parts > 1 and (len(sentences) == 1 or len(longest.tokens) > LONG)):
        return ""
    what = "its only sentence" if len(sentences) == 1 else "its longest sentence"
    return (
        f"{name}: {what} has {len(longest.tokens):,} tokens and {parts:,} ends ({SHOWN}): put an empty line after each "
        "sentence, or cut at these ends by --cut-sentences."
    )
