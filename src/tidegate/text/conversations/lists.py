"""Lists of messages: OpenAI's ``messages`` of role and content, and ShareGPT's ``conversations`` of from and value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tidegate.errors import TidegateError
from tidegate.text.conversations.notes import Notes, unused
from tidegate.text.conversations.turns import Draft, Turn, turns_of

LISTS = ("messages", "conversations", "conversation")
SYSTEM = ("system", "system_prompt", "系统", "系统提示")
"""fields beside the others that hold what the conversation begins with"""


def is_list(record: Any) -> bool:
    """Whether a record is a list of messages, or holds one."""
    if isinstance(record, list):
        return bool(record) and all(isinstance(turn, dict) and ("role" in turn or "from" in turn) for turn in record)
    return any(name in record for name in LISTS)


def list_drafts(where: str, record: Any, notes: Notes, name: str | None = None) -> Iterator[Draft]:
    """Yield the conversation of a record; name: the field that holds its messages."""
    if isinstance(record, list):
        record, name = {"messages": record}, "messages"
    name = name or next(name for name in LISTS if name in record)
    messages = record[name]
    turns = turns_of(where, messages, notes)
    notes.ignore(unused(record, (name, *SYSTEM)))
    if turns is not None:
        is_sharegpt = "from" in messages[0]
        form = "ShareGPT" if is_sharegpt else "messages"
        yield Draft(form, [*system_turns(where, record, turns), *turns], trims=is_sharegpt)


def system_turns(where: str, record: dict[str, Any], turns: list[Turn]) -> list[Turn]:
    """Return the turn of a system prompt that stands in a field of its own; none where there is no such field."""
    given = [(name, record[name]) for name in SYSTEM if record.get(name) not in (None, "")]
    if not given:
        return []
    name, content = given[0]
    if not isinstance(content, str) or len(given) > 1:
        raise TidegateError(f"{where}: its {' and '.join(name for name, _ in given)}: one string was expected.")
    if not content.strip() or (turns and turns[0].role == "system" and turns[0].content.strip() == content.strip()):
        return []
    if turns and turns[0].role == "system":
        raise TidegateError(f"{where} has a field {name!r} and a message of the system, which differ: remove one.")
    return [Turn("system", content, f"{where}, {name}")]
