"""Conversations from files, each one checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tidegate.text.conversations.checked import checked
from tidegate.text.conversations.files import records
from tidegate.text.conversations.forms import Choices, drafts_of
from tidegate.text.conversations.message import Conversation
from tidegate.text.conversations.notes import Notes


def read_dialogues(
    paths: Sequence[Path], encoding: str = "utf-8", choices: Choices | None = None, notes: Notes | None = None
) -> Iterator[Conversation]:
    """Yield the conversations of files, each with an answer to learn; a TidegateError names the file and the place of a
    wrong one. notes: gathers what was found and what was left out."""
    choices, notes = choices or Choices(), notes or Notes()
    for path in paths:
        for where, record in records(path, encoding):
            for draft in drafts_of(where, record, choices, notes):
                if (conversation := checked(where, draft, notes)) is not None:
                    yield conversation
