"""Lists of messages: who speaks, what is said, and whether it is learned, in the words of OpenAI, ShareGPT and others.

Tool calls and their results are left out, and so are images: a model of text alone can neither call nor see.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tidegate.errors import TidegateError, nearest
from tidegate.text.conversations.message import MOST_MESSAGES
from tidegate.text.conversations.notes import NO_TEXT, ONLY_IMAGES, TOOLS, Notes, unused

TOOL = "tool"
ROLES: dict[str, str] = {
    **dict.fromkeys(("system", "developer", "系统"), "system"),
    **dict.fromkeys(("user", "human", "用户"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt", "助手"), "assistant"),
    **dict.fromkeys(
        ("tool", "function", "observation", "ipython", "function_call", "function_response", "tool_call",
         "tool_response"), TOOL,
    ),
}  # fmt: skip
"""what the roles of others are called here"""
ROLE_FIELDS, CONTENT_FIELDS = ("role", "from"), ("content", "value")
LEARNT_FIELDS = ("weight", "loss", "train", "training")
"""flags of a message, 0 or false where an answer is read but not learned: OpenAI's, ms-swift's, axolotl's"""
CALL_FIELDS = ("tool_calls", "function_call", "tool_call_id")
TEXT_PARTS = ("text", "input_text", "output_text")
EXAMPLE = '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}'


class Turn(NamedTuple):
    """A message as a file has it."""

    role: str
    """system, user or assistant"""
    content: str
    place: str
    learnt: bool = True
    joins: bool = False
    """whether it may follow one of the same role, because what stood between them was left out"""


class Draft(NamedTuple):
    """A conversation as a file has it, yet to be checked."""

    form: str
    """the name of the format"""
    turns: list[Turn]
    trims: bool = False
    """whether answers at the beginning and questions at the end are left out; else they are errors"""
    joins: bool = False
    """whether messages of one role that follow one another become one; else they are errors"""


def turns_of(where: str, messages: Any, notes: Notes) -> list[Turn] | None:
    """Return the turns of a list of messages; None where one has no text, for example an image alone."""
    if not isinstance(messages, list) or not 1 <= len(messages) <= MOST_MESSAGES:
        raise TidegateError(f"{where}: its messages are not a list of 1 to {MOST_MESSAGES:,}, such as {EXAMPLE}.")
    turns: list[Turn] = []
    ignored: set[str] = set()
    joins = False
    for number, raw in enumerate(messages, 1):
        place = f"{where}, message {number}"
        if not isinstance(raw, dict):
            raise TidegateError(f"{place} is not an object with a role and a content, such as {EXAMPLE}.")
        role, text = _role(place, raw), None
        if role != TOOL:
            text = _content(place, raw, notes)
        if role == TOOL or (text is None and _is_call(raw)):
            notes.omit(TOOLS)
            joins = True
            continue
        if text is None:
            notes.omit(ONLY_IMAGES)
            return None
        if any(raw.get(name) for name in CALL_FIELDS):
            notes.omit(TOOLS)
        learnt = _is_learnt(place, raw)
        if role != "assistant":
            ignored |= {f"{name} of a question" for name in LEARNT_FIELDS if raw.get(name)}
        ignored |= set(unused(raw, (*ROLE_FIELDS, *CONTENT_FIELDS, *LEARNT_FIELDS, *CALL_FIELDS)))
        turns.append(Turn(role, text, place, learnt, joins))
        joins = False
    notes.ignore(ignored)
    return turns


def _role(place: str, raw: Mapping[str, Any]) -> str:
    role = next((raw[name] for name in ROLE_FIELDS if name in raw), None)
    if not isinstance(role, str) or role.strip().lower() not in ROLES:
        near = nearest(role, ROLES) if isinstance(role, str) else ""
        raise TidegateError(
            f"{place} has the role {str(role)[:40]!r}{near}; known are system, user and assistant (also developer, "
            "human, gpt, model, bot), and tool and function, which are left out."
        )
    return ROLES[role.strip().lower()]


def _is_call(raw: Mapping[str, Any]) -> bool:
    """Whether a message without text calls a tool, or says what one returned."""
    parts: list[Any] = next((raw[name] for name in CONTENT_FIELDS if isinstance(raw.get(name), list)), [])
    kinds = [str(part.get("type")) for part in parts if isinstance(part, dict)]
    return any(raw.get(name) for name in CALL_FIELDS) or (bool(kinds) and all(kind[:4] == TOOL for kind in kinds))


def _content(place: str, raw: Mapping[str, Any], notes: Notes) -> str | None:
    """Return the text of a message; None where it has none but other parts, or a call."""
    content = next((raw[name] for name in CONTENT_FIELDS if name in raw), None)
    if isinstance(content, list) and content:
        return _text_of_parts(place, content, notes)
    if any(raw.get(name) for name in CALL_FIELDS) and not (isinstance(content, str) and content.strip()):
        return None
    if not isinstance(content, str):
        raise TidegateError(
            f"{place}: its content is not a string or a list of parts, but each message has a role and a content."
        )
    return content


def _text_of_parts(place: str, parts: list[Any], notes: Notes) -> str | None:
    texts = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and part.get("type") in TEXT_PARTS:
            if not isinstance(part.get("text"), str):
                raise TidegateError(f'{place} has a part without text; {{"type": "text", "text": "…"}} was expected.')
            texts.append(part["text"])
        elif isinstance(part, dict) and isinstance(part.get("type"), str):
            notes.omit(TOOLS if part["type"].startswith(TOOL) else NO_TEXT)
        else:
            raise TidegateError(f'{place} has a part without a type; {{"type": "text", "text": "…"}} was expected.')
    return "\n".join(texts) if texts else None


def _is_learnt(place: str, raw: Mapping[str, Any]) -> bool:
    learnt = True
    for name in LEARNT_FIELDS:
        value = raw.get(name)
        if value is not None and value not in (0, 1):
            raise TidegateError(
                f"{place}: its {name} is {str(value)[:40]!r}, but only 0 (read, not learned) and 1 (learned) are known."
            )
        learnt &= value is None or bool(value)
    return learnt
