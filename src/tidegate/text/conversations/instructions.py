"""Alpaca's instruction, input and output, with LLaMA-Factory's system and history; Dolly's context and response."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tidegate.errors import TidegateError
from tidegate.text.conversations.lists import SYSTEM, system_turns
from tidegate.text.conversations.notes import Notes, unused
from tidegate.text.conversations.turns import Draft, Turn

INSTRUCTIONS = ("instruction", "指令")
INPUTS = ("input", "context", "输入")
OUTPUTS = ("output", "response", "answer", "输出", "回答")
HISTORY, INSTANCES = "history", "instances"
FORM = "Alpaca"


def is_instruction(record: Mapping[str, Any]) -> bool:
    """Whether a record has an instruction."""
    return any(name in record for name in INSTRUCTIONS)


def instruction_drafts(where: str, record: dict[str, Any], notes: Notes) -> Iterator[Draft]:
    """Yield the conversation of an instruction: several where a task has several instances."""
    if not isinstance(record.get(INSTANCES), list):
        yield _draft(where, record, notes)
        return
    shared = {name: value for name, value in record.items() if name != INSTANCES}
    for instance in record[INSTANCES]:
        if not isinstance(instance, dict):
            raise TidegateError(f"{where} has an instance that is not an object with input and output.")
        yield _draft(where, {**shared, **instance}, notes)


def _draft(where: str, record: dict[str, Any], notes: Notes) -> Draft:
    instruction = next(name for name in INSTRUCTIONS if name in record)
    given = next((name for name in INPUTS if name in record), None)
    output = next((name for name in OUTPUTS if name in record), None)
    if output is None:
        raise TidegateError(f"{where} has an {instruction}, but no answer: a field {OUTPUTS[0]!r} was expected.")
    asked = [record[instruction], record[given] or "" if given else ""]
    if not all(isinstance(part, str) for part in asked):
        raise TidegateError(f"{where}: its {instruction} and {given} are not both strings.")
    if not isinstance(record[output], str):
        raise TidegateError(f"{where}: its {output} is not a string.")
    question = "\n".join(part for part in asked if part.strip())
    turns = [
        *system_turns(where, record, []),
        *_history(where, record),
        Turn("user", question, f"{where}, {instruction}"),
        Turn("assistant", record[output], f"{where}, {output}"),
    ]
    notes.ignore(unused(record, (instruction, given or "", output, HISTORY, *SYSTEM)))
    return Draft(FORM, turns)


def _history(where: str, record: Mapping[str, Any]) -> list[Turn]:
    """Return the pairs of question and answer that came before."""
    pairs = record.get(HISTORY) or []
    right = isinstance(pairs, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair) for pair in pairs
    )
    if not right:
        raise TidegateError(f"{where}: its history is not a list of pairs of strings, [question, answer].")
    return [
        Turn(role, text, f"{where}, history")
        for pair in pairs
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
