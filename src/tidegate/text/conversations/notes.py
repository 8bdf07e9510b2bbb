"""What the reading of conversations found, in sentences for people: their formats, and everything that was not used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

FIELDS_SHOWN = 8
TOOLS = "tool calls and their results"
NO_TEXT = "parts of messages that are not text (images, audio, files)"
ONLY_IMAGES = "conversations in which a message has no text (an image alone)"
NOT_LEARNED = "conversations with no answer to learn (all have the weight 0)"
NO_PAIR = "conversations without a question that is answered"
UNANSWERED = "questions at the end of a conversation, which have no answer"
UNASKED = "answers at the beginning of a conversation, which have no question"
WITHOUT_TEXT = "messages without text (photos, stickers, calls)"
DUPLICATES = "conversations that came before word for word (--keep-duplicates keeps them)"
HELD_OUT = "training conversations that are validation conversations as well"


@dataclass
class Notes:
    """Counts, gathered while conversations are read."""

    forms: Counter[str] = field(default_factory=Counter)
    """conversations by the name of their format"""
    ignored: Counter[str] = field(default_factory=Counter)
    """fields that no reader uses: the number of conversations that have them"""
    omitted: Counter[str] = field(default_factory=Counter)
    """what was left out, by its name for people"""

    def omit(self, what: str, count: int = 1) -> None:
        """Count what is left out."""
        if count:
            self.omitted[what] += count

    def ignore(self, fields: Iterable[str]) -> None:
        """Count the fields of one conversation that are not used."""
        self.ignored.update(set(fields))

    def sentences(self) -> list[str]:
        """Return what people should know, a line each."""
        total = self.forms.total()
        if not total:
            return [f"Omitted ({count:,}): {what}." for what, count in self.omitted.items()]
        what = f"{total:,} conversation{'' if total == 1 else 's'}"
        if len(self.forms) == 1:
            found = [f"Read {what}, {next(iter(self.forms))} form."]
        else:
            found = [f"Read {what}: {', '.join(f'{n:,} {name} form' for name, n in self.forms.most_common())}."]
        if self.ignored:
            most = sorted(self.ignored.items(), key=lambda item: (-item[1], item[0]))
            names = [f"{name} (in {count:,})" for name, count in most[:FIELDS_SHOWN]]
            more = f" and {len(self.ignored) - FIELDS_SHOWN} more" if len(self.ignored) > FIELDS_SHOWN else ""
            found.append(f"Ignored fields, and the number of conversations that have them: {', '.join(names)}{more}.")
        return [*found, *(f"Omitted ({count:,}): {what}." for what, count in self.omitted.items())]


def unused(record: Mapping[str, Any], used: Iterable[str]) -> list[str]:
    """Return the fields of a record that hold something and that nobody reads."""
    known = set(used)
    return [str(name)[:40] for name, value in record.items() if name not in known and value not in (None, "", [], {})]
