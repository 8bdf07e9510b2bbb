"""Conversations from files: ``messages`` as OpenAI writes them, or instruction / input / output; each one is checked.

A ``.jsonl`` file has one conversation a line, a ``.json`` file one list of them; either may be compressed (.gz, .xz,
.zst).
"""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from tidegate.errors import TidegateError
from tidegate.text.containers import COMPRESSIONS, ERRORS, decompressed
from tidegate.text.encodings import decode_stream
from tidegate.text.normalize import normalize, refuse_surrogates

ROLES = ("system", "user", "assistant")
FILE_CHARACTERS = 1 << 28
"""most characters of a .json, which is read whole"""
LINE_CHARACTERS = 1 << 24
MOST_MESSAGES, LONGEST_MESSAGE = 1000, 1 << 20
WANTED = '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}'


class Message(NamedTuple):
    """One turn of a conversation."""

    role: str
    content: str
    """normalised, without the control characters by which templates mark turns"""


def message(role: str, content: str) -> Message:
    """Return a turn with its text as models read it."""
    return Message(role, "".join(c for c in normalize(content) if c >= " " or c in "\n\t").strip())


def find_dialogues(arguments: Sequence[str]) -> list[Path]:
    """Return the files that names, folders and globs stand for, sorted within each; TidegateError where there are
    none."""
    found: dict[Path, None] = {}
    for argument in arguments:
        path = Path(argument).expanduser()
        if path.is_dir():
            paths = sorted(p for p in path.rglob("*") if p.is_file() and _format(p) is not None)
        else:
            paths = [path] if path.exists() else sorted(map(Path, glob.glob(str(path), recursive=True)))
        if not paths:
            raise TidegateError(f"There is no conversation at {argument}: give .jsonl or .json files, or their folder.")
        found |= dict.fromkeys(paths)
    for path in found:
        if _format(path) is None:
            raise TidegateError(f"{path} is no .jsonl or .json file: conversations are wanted, such as {WANTED}.")
    return list(found)


def read_dialogues(paths: Sequence[Path], encoding: str = "utf-8") -> Iterator[tuple[Message, ...]]:
    """Yield the conversations of files, each with an answer; a TidegateError names the file and the place of a wrong
    one."""
    for path in paths:
        try:
            with ExitStack() as stack:
                file = stack.enter_context(path.open("rb"))
                stream = decompressed(file, COMPRESSIONS.get(path.suffix.lower()), stack)
                parts = decode_stream(str(path), stream, encoding)
                for where, record in _lines(path, parts) if _format(path) == ".jsonl" else _list(path, parts):
                    yield from _conversations(where, record)
        except ERRORS as error:
            raise TidegateError(f"{path} could not be read ({error}): give a whole file.") from None


def _format(path: Path) -> str | None:
    name = path.name.lower()
    for suffix in COMPRESSIONS:
        name = name.removesuffix(suffix)
    return next((kind for kind in (".jsonl", ".json") if name.endswith(kind)), None)


def _lines(path: Path, parts: Iterator[str]) -> Iterator[tuple[str, Any]]:
    held, number = "", 0
    for part in parts:
        *lines, held = (held + part).split("\n")
        if len(held) > LINE_CHARACTERS:
            raise TidegateError(f"{path} has a line of more than {LINE_CHARACTERS:,} characters: cut it in several.")
        for line in lines:
            number += 1
            if line.strip():
                yield f"{path}, line {number}", _parsed(f"{path}, line {number}", line)
    if held.strip():
        yield f"{path}, line {number + 1}", _parsed(f"{path}, line {number + 1}", held)


def _list(path: Path, parts: Iterator[str]) -> Iterator[tuple[str, Any]]:
    text, size = [], 0
    for part in parts:
        text.append(part)
        size += len(part)
        if size > FILE_CHARACTERS:
            raise TidegateError(f"{path} has more than {FILE_CHARACTERS:,} characters: write it as .jsonl.")
    records = _parsed(str(path), "".join(text))
    if not isinstance(records, list):
        raise TidegateError(f"{path} holds no list, but a list of conversations is wanted, such as [{WANTED}].")
    for number, record in enumerate(records, 1):
        yield f"{path}, item {number}", record


def _parsed(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TidegateError(f"{where} is no JSON ({error}): conversations are wanted, such as {WANTED}.") from None


def _conversations(where: str, record: Any) -> Iterator[tuple[Message, ...]]:
    """Yield the conversations of one JSON object: several where a task has several instances."""
    if not isinstance(record, dict):
        raise TidegateError(f"{where} is no JSON object: conversations are wanted, such as {WANTED}.")
    if "messages" in record:
        yield _checked(where, record["messages"])
    elif "instruction" in record and isinstance(record.get("instances"), list):
        for instance in record["instances"]:
            yield _checked(where, _of_instruction(where, {**record, **_object(where, instance)}))
    elif "instruction" in record:
        yield _checked(where, _of_instruction(where, record))
    else:
        known = ", ".join(map(repr, list(record)[:8])) or "none"
        raise TidegateError(
            f"{where} has neither 'messages' nor 'instruction'; its fields: {known}. Wanted is {WANTED}, or "
            '{"instruction": "…", "input": "…", "output": "…"}.'
        )


def _object(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TidegateError(f"{where} has an instance that is no JSON object: input and output are wanted.")
    return value


def _of_instruction(where: str, record: dict[str, Any]) -> list[dict[str, Any]]:
    """Turn instruction, input and output into messages; ``history`` holds pairs of what went before."""
    turns: list[dict[str, Any]] = []
    history = record.get("history") or []
    if not (isinstance(history, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in history)):
        raise TidegateError(f"{where}: its history is no list of [question, answer] pairs.")
    for question, answer in history:
        turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    asked = [record["instruction"], record.get("input") or ""]
    if not all(isinstance(part, str) for part in asked):
        raise TidegateError(f"{where}: its instruction and input are not both strings.")
    question = "\n".join(part for part in asked if part.strip())
    return [*turns, {"role": "user", "content": question}, {"role": "assistant", "content": record.get("output")}]


def _checked(where: str, turns: Any) -> tuple[Message, ...]:
    if not isinstance(turns, list) or not 1 <= len(turns) <= MOST_MESSAGES:
        raise TidegateError(f"{where}: its messages are no list of 1 to {MOST_MESSAGES:,}, such as {WANTED}.")
    found: list[Message] = []
    for number, turn in enumerate(turns, 1):
        place = f"{where}, message {number}"
        if not isinstance(turn, dict) or not isinstance(turn.get("content"), str):
            raise TidegateError(f"{place}: its content is no string, but each message has a role and a content.")
        role, content = turn.get("role"), turn["content"]
        if role not in ROLES:
            raise TidegateError(f"{place} has the role {str(role)[:40]!r}, but {', '.join(ROLES)} are known.")
        if len(content) > LONGEST_MESSAGE:
            raise TidegateError(f"{place} has {len(content):,} characters, {LONGEST_MESSAGE:,} are the limit.")
        before = found[-1].role if found else None
        if role == "system" and before is not None:
            raise TidegateError(f"{place} is the system's, which may stand at the beginning alone.")
        if role == before or (role == "assistant" and before != "user"):
            raise TidegateError(f"{place} is the {role}'s, but user and assistant take turns, the user first.")
        refuse_surrogates(content, place)
        found.append(message(role, content))
        if not found[-1].content:
            raise TidegateError(f"{place} is empty: omit the conversation, or give it a text.")
    if found[-1].role != "assistant":
        raise TidegateError(f"{where} ends with the {found[-1].role}'s message: an answer is what is learnt.")
    return tuple(found)
