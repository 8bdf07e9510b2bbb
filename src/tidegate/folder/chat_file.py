"""``chat_template.jinja``: how conversations are written for a model that learnt to answer, beside its other files."""

from __future__ import annotations

from pathlib import Path

from tidegate.errors import TidegateError
from tidegate.files import open_regular
from tidegate.folder.model_folder import CONFIG, TEMPLATE, read_config
from tidegate.folder.presence import is_file
from tidegate.folder.tensor_file import CHANGED
from tidegate.text.chat_template import LONGEST_TEMPLATE, ChatTemplate


def read_template(folder: Path) -> ChatTemplate | None:
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
