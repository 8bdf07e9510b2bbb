"""One question and its answer in two fields or columns: prompt and completion, question and answer, 问 and 答 …

As in TRL, prompt and completion may be lists of messages; then only the completion is learned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tidegate.errors import TidegateError, nearest
from tidegate.text.conversations.lists import SYSTEM, list_drafts, system_turns
from tidegate.text.conversations.notes import Notes, unused
from tidegate.text.conversations.turns import Draft, Turn, turns_of

PAIRS: tuple[tuple[str, str], ...] = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("question", "answer"),
    ("question", "response"),
    ("query", "response"),
    ("query", "answer"),
    ("input", "output"),
    ("user", "assistant"),
    ("human", "assistant"),
    ("q", "a"),
    ("问", "答"),
    ("问题", "回答"),
    ("问题", "答案"),
    ("提问", "回答"),
    ("输入", "输出"),
    ("用户", "助手"),
)


def pair_of(record: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the names of the fields that hold question and answer, in the record's own spelling."""
    names = {str(name).strip().casefold(): name for name in reversed(list(record))}
    found = next(((q, a) for q, a in PAIRS if q in names and a in names), None)
    return None if found is None else (names[found[0]], names[found[1]])


def pair_drafts(where: str, record: dict[str, Any], notes: Notes) -> Iterator[Draft]:
    """Yield the conversation of a record with a question and an answer."""
    pair = pair_of(record)
    assert pair is not None
    yield from _drafts(where, record, pair, notes)


def column_drafts(where: str, record: Any, columns: Sequence[str], notes: Notes) -> Iterator[Draft]:
    """Yield the conversation in the fields that the user names: a question and an answer, or one list of messages."""
    known = ", ".join(map(repr, list(record)[:8])) if isinstance(record, dict) else ""
    for name in columns:
        if not isinstance(record, dict) or name not in record:
            near = nearest(name, record) if isinstance(record, dict) else ""
            raise TidegateError(f"{where} has no field {name!r}{near}; its fields: {known or 'none'}.")
    if len(columns) == 1:
        yield from list_drafts(where, record, notes, columns[0])
    elif len(columns) == 2:
        yield from _drafts(where, record, (columns[0], columns[1]), notes)
    else:
        raise TidegateError(
            f"columns names {len(columns)} columns ({', '.join(columns)}), but a conversation has two, the question's "
            "and then the answer's, or one, that of its list of messages."
        )


def _drafts(where: str, record: dict[str, Any], pair: tuple[str, str], notes: Notes) -> Iterator[Draft]:
    asked, answered = record[pair[0]], record[pair[1]]
    form = "/".join(pair)
    notes.ignore(unused(record, (*pair, *SYSTEM)))
    if isinstance(asked, list) and isinstance(answered, list):
        before = turns_of(f"{where}, {pair[0]}", asked, notes)
        after = turns_of(f"{where}, {pair[1]}", answered, notes)
        if before is not None and after is not None:
            before = [turn._replace(learnt=False) for turn in before]
            yield Draft(form, [*system_turns(where, record, before), *before, *after])
        return
    for name in pair:
        if not isinstance(record[name], str):
            raise TidegateError(f"{where}: its {name} is not a string, as {pair[0]} and {pair[1]} are expected to be.")
    turns = [Turn("user", asked, f"{where}, {pair[0]}"), Turn("assistant", answered, f"{where}, {pair[1]}")]
    yield Draft(form, [*system_turns(where, record, []), *turns])
