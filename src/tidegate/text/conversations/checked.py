"""The checks that every conversation passes, whatever its format: who speaks when, how long, and what is learned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tidegate.errors import TidegateError
from tidegate.text.conversations.message import LONGEST_MESSAGE, Conversation, Message, message
from tidegate.text.conversations.notes import NO_PAIR, NOT_LEARNED, UNANSWERED, UNASKED, Notes
from tidegate.text.conversations.turns import Draft, Turn, turns_of
from tidegate.text.normalize import refuse_surrogates


def checked(where: str, draft: Draft, notes: Notes) -> Conversation | None:
    """Return a conversation that can be learned; None, and a note, where it holds nothing to learn."""
    turns = _trimmed(draft.turns, notes) if draft.trims else draft.turns
    if not turns or all(turn.role == "system" for turn in turns):
        notes.omit(NO_PAIR)
        return None
    found = _in_turn(turns, draft.joins)
    if found[-1].role != "assistant":
        raise TidegateError(f"{where} ends with the {found[-1].role}'s message: add the answer, which is trained on.")
    if not any(turn.learnt for turn in found if turn.role == "assistant"):
        notes.omit(NOT_LEARNED)
        return None
    notes.forms[draft.form] += 1
    return tuple(found)


def asked(messages: Sequence[Any]) -> Conversation:
    """Return the conversation of a list of messages that ends with a question, for a model to answer."""
    where = "The conversation"
    turns = turns_of(where, list(messages), Notes())
    if not turns:
        raise TidegateError(f"{where} has no text: give it at least one message of the user.")
    found = _in_turn(turns, joins=False)
    if found[-1].role != "user":
        raise TidegateError(
            f"{where} ends with the {found[-1].role}'s message: end it with the user's, to be answered."
        )
    return tuple(found)


def _trimmed(turns: Sequence[Turn], notes: Notes) -> list[Turn]:
    """Leave out answers before the first question and questions after the last answer."""
    system = [turn for turn in turns[:1] if turn.role == "system"]
    rest = list(turns[len(system) :])
    first = next((place for place, turn in enumerate(rest) if turn.role == "user"), len(rest))
    last = max((place for place, turn in enumerate(rest) if turn.role == "assistant"), default=-1)
    notes.omit(UNASKED, sum(turn.role == "assistant" for turn in rest[:first]))
    if last < first:
        return []
    notes.omit(UNANSWERED, len(rest) - 1 - last)
    return [*system, *rest[first : last + 1]]


def _in_turn(turns: Iterable[Turn], joins: bool) -> list[Message]:
    """Return the messages, user and assistant in turn, after the system's if there is one."""
    found: list[Message] = []
    for turn in turns:
        before = found[-1].role if found else None
        said = _text(turn)
        if turn.role == before and turn.role != "system" and (joins or turn.joins):
            found[-1] = message(before, f"{found[-1].content}\n{said.content}", found[-1].learnt and said.learnt)
            continue
        if turn.role == "system" and before is not None:
            raise TidegateError(f"{turn.place} is the system's, which may stand at the beginning alone.")
        if turn.role == before or (turn.role == "assistant" and before != "user"):
            raise TidegateError(
                f"{turn.place} is the {turn.role}'s, but user and assistant take turns, the user first."
            )
        found.append(said)
    return found


def _text(turn: Turn) -> Message:
    if len(turn.content) > LONGEST_MESSAGE:
        raise TidegateError(
            f"{turn.place} has {len(turn.content):,} characters, but {LONGEST_MESSAGE:,} are the limit."
        )
    refuse_surrogates(turn.content, turn.place)
    said = message(turn.role, turn.content, turn.learnt or turn.role != "assistant")
    if not said.content:
        raise TidegateError(f"{turn.place} is empty: remove the conversation, or give the message a text.")
    return said
