"""What a model that learned to answer keeps beside its other files: ``chat_template.jinja``, how conversations are
written, and ``chat.json``, how they go on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tidegate.errors import TidegateError
from tidegate.folder.atomic import write_atomically
from tidegate.text.chat_template import LONGEST_TEMPLATE, ChatTemplate

TEMPLATE, CHAT = "chat_template.jinja", "chat.json"
FORMAT, FORMAT_VERSION = "tidegate-chat", 1
CHAT_LIMIT = 1 << 20


@dataclass(frozen=True)
class Chat:
    """How to talk with a model."""

    template: ChatTemplate
    single_turn: bool = False
    """whether it learned from single questions and their answers, so that each question begins a new conversation"""


def write_chat(folder: Path, chat: Chat) -> None:
    """Write both files, each atomically, into a model folder."""
    write_atomically(folder / TEMPLATE, chat.template.source.encode())
    content = {"format": FORMAT, "format_version": FORMAT_VERSION, "single_turn": chat.single_turn}
    write_atomically(folder / CHAT, (json.dumps(content, indent=1) + "\n").encode())


def read_chat(folder: Path) -> Chat | None:
    """Return what a model folder says, checked; None where it has no template. A folder without ``chat.json`` is of a
    model that knows conversations of several turns."""
    path = folder / TEMPLATE
    return Chat(read_template_file(path), _single_turn(folder / CHAT)) if path.is_file() else None


def first_chat(folders: Iterable[Path]) -> Chat | None:
    """Return what the first of some folders says that says anything: adapters go before the model."""
    return next((chat for folder in folders if (chat := read_chat(folder)) is not None), None)


def read_template_file(path: Path) -> ChatTemplate:
    """Read a template from a file; a TidegateError says what is wrong with it."""
    try:
        with open(path, "rb") as file:
            return ChatTemplate(file.read(4 * LONGEST_TEMPLATE + 1).decode("utf-8"))
    except (OSError, ValueError) as error:
        raise TidegateError(f"{path} cannot be read as a chat template ({error}): Jinja2 in UTF-8 is wanted.") from None
    except TidegateError as error:
        raise TidegateError(f"{path}: {error}") from None


def _single_turn(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with open(path, "rb") as file:
            content = json.loads(file.read(CHAT_LIMIT))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
        if content.get("format_version") != FORMAT_VERSION:
            raise ValueError(f"its version is {content.get('format_version')!r}, not {FORMAT_VERSION}")
        if not isinstance(content.get("single_turn"), bool):
            raise ValueError("its single_turn is not true or false")
        return bool(content["single_turn"])
    except (OSError, ValueError, RecursionError) as error:
        raise TidegateError(f"{path} cannot be read ({error}): restore it, or train the model again.") from None
