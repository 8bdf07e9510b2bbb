"""The export of Telegram, result.json: one chat, or all of an account's. One sender's messages are the answers.

A conversation ends where nobody writes for six hours. Messages of one side that follow one another are joined by a line
end; in a group all others than the one who answers are the user.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from tidegate.errors import TidegateError, nearest
from tidegate.text.conversations.message import MOST_MESSAGES
from tidegate.text.conversations.notes import WITHOUT_TEXT, Notes
from tidegate.text.conversations.turns import Draft, Turn

FORM = "Telegram export"
PAUSE = 6 * 3600
"""seconds of silence after which another conversation begins"""
SENDERS_SHOWN = 8


def is_telegram(record: Mapping[str, Any]) -> bool:
    """Whether a record is an export of Telegram."""
    if _account(record) is not None:
        return True
    messages = record.get("messages")
    first = messages[0] if isinstance(messages, list) and messages else None
    return isinstance(first, dict) and first.get("type") in ("message", "service") and "date" in first


def telegram_drafts(where: str, record: dict[str, Any], assistant: str | None, notes: Notes) -> Iterator[Draft]:
    """Yield the conversations of an export; assistant: the name or the id of the sender who answers."""
    account = _account(record)
    said = [list(_messages(where, chat)) for chat in ([record] if account is None else account)]
    names = [_names(entry) for chat in said for _, entry in chat]
    senders = Counter(next(iter(pair), "unknown") for pair in names)
    known = {name for pair in names for name in pair}
    if assistant is None or assistant not in known:
        shown = ", ".join(f"{name!r} ({count:,} messages)" for name, count in senders.most_common(SENDERS_SHOWN))
        what = "needs to know who answers" if assistant is None else f"has no message of {assistant!r}"
        near = "" if assistant is None else nearest(assistant, sorted(known))
        raise TidegateError(
            f"{where} is a Telegram export, which {what}{near}: give --assistant NAME, the sender whose messages are "
            f"learned. Its senders: {shown or 'none'}."
        )
    for chat in said:
        yield from _conversations(chat, assistant, notes)


def _account(record: Mapping[str, Any]) -> list[Any] | None:
    """Return the chats of the export of a whole account; None for one of a single chat."""
    chats = record.get("chats")
    return chats["list"] if isinstance(chats, dict) and isinstance(chats.get("list"), list) else None


def _messages(where: str, chat: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the entry of each message of a chat; what Telegram itself says is left out."""
    entries = chat.get("messages") if isinstance(chat, dict) else None
    if not isinstance(entries, list):
        raise TidegateError(f"{where} is a Telegram export, but a chat in it has no list of messages.")
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise TidegateError(f"{where}, message {number}, is not an object, as in a Telegram export.")
        if entry.get("type") == "message":
            yield f"{where}, message {entry.get('id', number)}", entry


def _names(entry: Mapping[str, Any]) -> list[str]:
    """Return the name and the id of a message's sender; a deleted account has no name."""
    return [name for name in (entry.get("from"), entry.get("from_id")) if isinstance(name, str) and name]


def _conversations(chat: list[tuple[str, dict[str, Any]]], assistant: str, notes: Notes) -> Iterator[Draft]:
    turns: list[Turn] = []
    last: float | None = None
    for place, entry in chat:
        text, now = _text(place, entry), _time(entry)
        if not text.strip():
            notes.omit(WITHOUT_TEXT)
            continue
        is_answer = assistant in _names(entry)
        pause = last is not None and now is not None and now - last > PAUSE
        if turns and (pause or (len(turns) >= MOST_MESSAGES and not is_answer)):
            yield Draft(FORM, turns, trims=True, joins=True)
            turns = []
        turns.append(Turn("assistant" if is_answer else "user", text, place))
        last = now if now is not None else last
    if turns:
        yield Draft(FORM, turns, trims=True, joins=True)


def _text(place: str, entry: Mapping[str, Any]) -> str:
    """Return the text of a message: a string, or a list of strings and of links, names, words in bold …"""
    text = entry.get("text", "")
    parts = text if isinstance(text, list) else [text]
    found: list[Any] = [part.get("text") if isinstance(part, dict) else part for part in parts]
    if not all(isinstance(part, str) for part in found):
        raise TidegateError(f"{place}: its text is not a string or a list of strings and entities, as in an export.")
    return "".join(found)


def _time(entry: Mapping[str, Any]) -> float | None:
    """Return when a message was sent, in seconds; None where it does not say."""
    try:
        if "date_unixtime" in entry:
            return float(entry["date_unixtime"])
        return datetime.fromisoformat(str(entry.get("date"))).timestamp()
    except (TypeError, ValueError, OverflowError, OSError):
        return None
