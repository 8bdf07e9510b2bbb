"""What a model that learned to answer keeps beside its other files: ``chat_template.jinja``, how conversations are
written, and ``chat.json``, how they go on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tidegate.errors import TidegateError
from tidegate.files import open_regular
from tidegate.folder.model_folder import CONFIG, TEMPLATE, check_json, read_config, write_json
from tidegate.folder.presence import is_file, is_there
from tidegate.folder.tensor_file import CHANGED
from tidegate.folder.tensors import RESTORE
from tidegate.json_files import JsonLimits, read_json
from tidegate.text.chat_template import LONGEST_TEMPLATE, ChatTemplate
from tidegate.text.digested import DIGEST

CHAT = "chat.json"
FORMAT, FORMAT_VERSION = "tidegate-chat", 1
CHAT_LIMITS = JsonLimits(1 << 16, values=100, containers=10)


@dataclass(frozen=True)
class Chat:
    """How to talk with a model."""

    template: ChatTemplate
    single_turn: bool = False
    """whether it learned from single questions and their answers, so that each question begins a new conversation"""


def write_chat(folder: Path, chat: Chat) -> None:
    """Write chat.json atomically into a model folder, whose template `write_config` writes."""
    write_json(folder / CHAT, {"format": FORMAT, "format_version": FORMAT_VERSION, "single_turn": chat.single_turn})


def read_chat(folder: Path) -> Chat | None:
    """Return what a model folder says, checked; None where it has no template. A folder without ``chat.json`` is of a
    model that knows conversations of several turns."""
    template = _template(folder)
    return None if template is None else Chat(template, _single_turn(folder / CHAT))


def first_chat(folders: Iterable[Path]) -> Chat | None:
    """Return what the first of some folders says that says anything: adapters go before the model."""
    return next((chat for folder in folders if (chat := read_chat(folder)) is not None), None)


def _template(folder: Path) -> ChatTemplate | None:
    """Return the template of a model folder, checked; None where it has none.

    A TidegateError where it is not the one that the model learnt, whose digest stands in config.json.
    """
    path = folder / TEMPLATE
    learnt = read_config(folder)[1]["template_digest"] if is_file(folder / CONFIG) else None
    if not is_file(path):
        if learnt is not None:
            raise TidegateError(f"{path} is missing: restore the file from a copy, or name a template by --template.")
        return None
    template = read_template_file(path)
    if learnt not in (None, template.digest):
        raise TidegateError(
            f"{path} {CHANGED}: undo the change, or, to try another template, name its file by --template."
        )
    return template


def read_template_file(path: Path) -> ChatTemplate:
    """Read a template from a file; a TidegateError says what is wrong with it."""
    try:
        with open_regular(path) as file:
            return ChatTemplate(file.read(4 * LONGEST_TEMPLATE + 1).decode("utf-8"))
    except (OSError, ValueError) as error:
        raise TidegateError(f"{path} cannot be read as a chat template ({error}): Jinja2 in UTF-8 is wanted.") from None
    except TidegateError as error:
        raise TidegateError(f"{path}: {error}") from None


def _single_turn(path: Path) -> bool:
    if not (is_there(path) or path.is_symlink()):  # a link to itself is there, though it leads nowhere
        return False
    content = check_json(path, read_json(path, CHAT_LIMITS, RESTORE))
    single_turn = content.get("single_turn")
    kind = content.get("format"), content.get("format_version")
    if kind != (FORMAT, FORMAT_VERSION) or not isinstance(single_turn, bool) or DIGEST not in content:
        raise TidegateError(f"{path} is not of format {FORMAT!r}, version {FORMAT_VERSION}: {RESTORE}.")
    return single_turn
