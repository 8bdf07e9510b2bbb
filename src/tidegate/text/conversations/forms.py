"""The table of the formats that conversations come in: how each is recognized, and what reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tidegate.errors import TidegateError
from tidegate.text.conversations.chatgpt import chatgpt_drafts, is_chatgpt
from tidegate.text.conversations.instructions import instruction_drafts, is_instruction
from tidegate.text.conversations.lists import is_list, list_drafts
from tidegate.text.conversations.notes import Notes
from tidegate.text.conversations.pairs import column_drafts, pair_drafts, pair_of
from tidegate.text.conversations.telegram import is_telegram, telegram_drafts
from tidegate.text.conversations.turns import Draft


class Choices(NamedTuple):
    """What the user says about the conversations."""

    columns: tuple[str, ...] = ()
    """the fields of question and answer, or that of the list of messages; none: they are recognized by their names"""
    assistant: str | None = None
    """of an export with names: the sender whose messages are the answers"""


class Form(NamedTuple):
    """A format."""

    example: str
    fits: Callable[[Any], bool]
    """whether a record, an object of JSON or a row of a table, has it"""
    drafts: Callable[[str, Any, Choices, Notes], Iterator[Draft]]
    """yields the conversations of a record"""


FORMS = (
    Form(
        "ChatGPT's conversations.json", is_chatgpt, lambda where, record, _, notes: chatgpt_drafts(where, record, notes)
    ),
    Form(
        "Telegram's result.json",
        is_telegram,
        lambda where, record, choices, notes: telegram_drafts(where, record, choices.assistant, notes),
    ),
    Form(
        '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}, {"conversations": '
        '[{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}]}',
        is_list,
        lambda where, record, _, notes: list_drafts(where, record, notes),
    ),
    Form(
        '{"instruction": "…", "input": "…", "output": "…"}',
        is_instruction,
        lambda where, record, _, notes: instruction_drafts(where, record, notes),
    ),
    Form(
        '{"prompt": "…", "completion": "…"}, {"question": "…", "answer": "…"}',
        lambda record: pair_of(record) is not None,
        lambda where, record, _, notes: pair_drafts(where, record, notes),
    ),
)
"""the first that fits is taken"""
KNOWN = ", ".join(form.example for form in FORMS[2:]) + ", and the exports of ChatGPT and Telegram"


def drafts_of(where: str, record: Any, choices: Choices, notes: Notes) -> Iterator[Draft]:
    """Yield the conversations of one record; a TidegateError where it has no format that is known."""
    if not isinstance(record, dict) and not (isinstance(record, list) and is_list(record)):
        raise TidegateError(f"{where} is not a JSON object: conversations were expected, such as {FORMS[2].example}.")
    if choices.columns:
        yield from column_drafts(where, record, choices.columns, notes)
        return
    fitting = [FORMS[2]] if isinstance(record, list) else [form for form in FORMS if form.fits(record)]
    if not fitting:
        fields = ", ".join(map(repr, list(record)[:8])) or "none"
        raise TidegateError(
            f"{where} has no format of conversations that is known; its fields: {fields}. Known are {KNOWN}; or name "
            "the fields of question and answer by --columns, twice."
        )
    yield from fitting[0].drafts(where, record, choices, notes)
