"""``chat_template.jinja``: how conversations are written for a model that learnt to answer, beside its other files."""

from __future__ import annotations

from pathlib import Path

from tidegate.errors import TidegateError
from tidegate.files import open_regular
from tidegate.folder.atomic import write_atomically
from tidegate.text.chat_template import LONGEST_TEMPLATE, ChatTemplate

TEMPLATE = "chat_template.jinja"


def write_template(folder: Path, template: ChatTemplate) -> None:
    """Write the template atomically into a model folder."""
    write_atomically(folder / TEMPLATE, template.source.encode())


def read_template(folder: Path) -> ChatTemplate | None:
    """Return the template of a model folder, checked; None where it has none."""
    path = folder / TEMPLATE
    return read_template_file(path) if path.is_file() else None


def read_template_file(path: Path) -> ChatTemplate:
    """Read a template from a file; a TidegateError says what is wrong with it."""
    try:
        with open_regular(path) as file:
            return ChatTemplate(file.read(4 * LONGEST_TEMPLATE + 1).decode("utf-8"))
    except (OSError, ValueError) as error:
        raise TidegateError(f"{path} cannot be read as a chat template ({error}): Jinja2 in UTF-8 is wanted.") from None
    except TidegateError as error:
        raise TidegateError(f"{path}: {error}") from None
