"""One message of a conversation, as models read it."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from tidegate.text.normalize import normalize

ROLES = ("system", "user", "assistant")
MOST_MESSAGES, LONGEST_MESSAGE = 1000, 1 << 20


class Message(NamedTuple):
    """One message of a conversation."""

    role: str
    content: str
    """normalized, without the control characters that templates mark turns by"""
    learnt: bool = True
    """of an answer: whether it is learned; the others are only read"""


Conversation: TypeAlias = tuple[Message, ...]


def message(role: str, content: str, learnt: bool = True) -> Message:
    """Return a message with its text as models read it."""
    return Message(role, "".join(c for c in normalize(content) if c >= " " or c in "\n\t").strip(), learnt)


def is_single_turn(conversation: Conversation) -> bool:
    """Whether a conversation is one question and its answer."""
    return sum(turn.role == "assistant" for turn in conversation) == 1
