"""The export of ChatGPT, conversations.json: trees of messages, of which the branch that was shown last is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tidegate.errors import TidegateError
from tidegate.text.conversations.notes import NO_TEXT, TOOLS, Notes
from tidegate.text.conversations.turns import Draft, Turn

FORM = "ChatGPT export"


def is_chatgpt(record: Mapping[str, Any]) -> bool:
    """Whether a record is a conversation of ChatGPT's export."""
    return isinstance(record.get("mapping"), dict)


def chatgpt_drafts(where: str, record: dict[str, Any], notes: Notes) -> Iterator[Draft]:
    """Yield the conversation: from its current node back to the root."""
    turns: list[Turn] = []
    for identity, said in _branch(where, record):
        place = f"{where}, node {identity}"
        author, content = said.get("author"), said.get("content")
        role = author.get("role") if isinstance(author, dict) else None
        if role not in ("system", "user", "assistant", "tool"):
            raise TidegateError(f"{place} has the author {str(role)[:40]!r}, which no export of ChatGPT has.")
        if role == "tool" or said.get("recipient") not in (None, "all"):
            notes.omit(TOOLS)
            continue
        text = _text(content, notes)
        if text.strip() and (role != "system" or not turns):
            turns.append(Turn(role, text, place))
    yield Draft(FORM, turns, trims=True, joins=True)


def _branch(where: str, record: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the messages from the root to the current node."""
    nodes = record["mapping"]
    identity = record.get("current_node")
    if identity is None:
        identity = _last_leaf(nodes)
    found: list[tuple[str, dict[str, Any]]] = []
    seen: set[str] = set()
    while identity is not None:
        node = nodes.get(identity) if isinstance(identity, str) else None
        if not isinstance(node, dict):
            raise TidegateError(f"{where} names the node {str(identity)[:60]!r}, which its mapping does not have.")
        if identity in seen:
            raise TidegateError(f"{where}: its node {identity[:60]!r} is its own ancestor, but a tree was expected.")
        seen.add(identity)
        if isinstance(node.get("message"), dict):
            found.append((identity, node["message"]))
        identity = node.get("parent")
    return found[::-1]


def _last_leaf(nodes: Mapping[str, Any]) -> str | None:
    """Return the last node without children, for an export that does not say which one was shown."""
    leaves = [name for name, node in nodes.items() if isinstance(node, dict) and not node.get("children")]
    return leaves[-1] if leaves else None


def _text(content: Any, notes: Notes) -> str:
    """Return the text of a message's parts; code, thoughts and what tools print are no part of the conversation."""
    if not isinstance(content, dict):
        return ""
    kind, parts = content.get("content_type"), content.get("parts")
    if kind not in ("text", "multimodal_text") or not isinstance(parts, list):
        notes.omit(NO_TEXT)
        return ""
    notes.omit(NO_TEXT, sum(not isinstance(part, str) for part in parts))
    return "\n".join(part for part in parts if isinstance(part, str))
