"""Conversations become stores of tokens in which the answers are marked: these are learnt, all else is only read.

A conversation is a document. Its parts are encoded each by itself, cut where an answer begins and ends, since a model
that chats reads and writes them so.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock

from tidegate.errors import TidegateError
from tidegate.text.block_work import Ids
from tidegate.text.chat_template import ChatTemplate, Segment
from tidegate.text.conversations.files import find_dialogues
from tidegate.text.conversations.forms import Choices
from tidegate.text.conversations.message import Conversation, is_single_turn
from tidegate.text.conversations.notes import DUPLICATES, HELD_OUT, Notes
from tidegate.text.conversations.read import read_dialogues
from tidegate.text.measured import Found
from tidegate.text.prepare import Prepared, open_stores, opened
from tidegate.text.store import StoreWriter
from tidegate.text.tokenizer import Tokenizer, train
from tidegate.text.tokenizers.base import canonical_digest

VERSION = 1


class Settings(NamedTuple):
    """How conversations are read, split and encoded."""

    template: ChatTemplate
    validation: float = 0.1
    """share of the conversations, the last, that is held out"""
    validation_data: tuple[str, ...] = ()
    encoding: str = "utf-8"
    choices: Choices = Choices()
    keep_duplicates: bool = False


def prepare_dialogues(
    data: Sequence[str],
    settings: Settings,
    tokenizer: Tokenizer,
    cache: Path,
    adds: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    tell: Callable[[str], None] = lambda sentence: None,
) -> Prepared:
    """Read conversations, split them, and encode both parts; the stores are kept in the cache.

    tokenizer: of the model; adds: it gets what it lacks of the conversations; tell: gets the sentences that say which
    formats were found and what was not used. TidegateError for whatever the user can mend.
    """
    train_part, held_out = _split(data, settings, tell)
    if not train_part:
        raise TidegateError("There is no conversation to train on: give more, or a smaller --validation.")
    total = len(train_part) + len(held_out)
    texts = ([settings.template.segments(turns) for turns in part] for part in (train_part, held_out))
    rendered = [list(part) for part in texts]
    if adds and tokenizer.unknown_id is not None:
        pieces = (segment.text for segments in rendered[0] for segment in segments)
        tokenizer = tokenizer.joined(train(tokenizer.kind, pieces))
    _check_marks(settings.template, tokenizer)
    text_digest = _digest(rendered)
    digest = canonical_digest([text_digest, tokenizer.digest, VERSION])
    folder = cache / f"dialogues-{digest[:32]}"
    names = ["train", *(["validation"] if held_out else [])]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f"dialogues-{digest[:32]}.lock"):
            stores, damage = opened(folder, names, tokenizer)
            if not (reused := stores is not None):
                partial = folder.with_suffix(".partial")
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                done = 0
                for name, part in zip(names, rendered, strict=False):
                    with StoreWriter(partial / name, tokenizer, is_marked=True) as writer:
                        for segments in part:
                            writer.write(encoded(segments, tokenizer))
                            done += 1
                            progress(done, total)
                        writer.finish()
                partial.rename(folder)
                stores = open_stores(folder, names, tokenizer)
    except OSError as error:
        raise TidegateError(
            f"The conversations could not be written to {cache} ({error.strerror or error}): make room or mend the "
            "permissions and run again, or give another folder by --cache."
        ) from None
    found = Found(files=len(find_dialogues(data)), documents=len(train_part))
    single_turn = all(map(is_single_turn, train_part))
    return Prepared(tokenizer, *stores, digest, reused, text_digest, found, single_turn, damage)


def _check_marks(template: ChatTemplate, tokenizer: Tokenizer) -> None:
    """A model that lacks a mark can neither read where a turn begins nor write where its answer ends."""
    marks = template.first_turn("…").replace("…", "") + template.end
    if missing := tokenizer.missing(marks):
        shown = ", ".join(map(repr, missing[:5]))
        raise TidegateError(
            f"The chat template marks turns by {shown}, which the model's vocabulary ({tokenizer.kind}) lacks: give "
            "--new-tokens add, omit --lora-rank, or choose a --template of what it knows, such as labels."
        )
    # a word and the end after it: not one token together
    if len(tokenizer.encode(f" a{template.end}")) != len(tokenizer.encode(" a")) + len(tokenizer.encode(template.end)):
        raise TidegateError(
            f"The end of an answer, {template.end!r}, is no token of its own in the vocabulary of {tokenizer.kind}: "
            "choose another --template, such as labels."
        )


def encoded(segments: Iterable[Segment], tokenizer: Tokenizer) -> Ids:
    """Return a conversation's ids, after the document token; those of answers are V higher."""
    parts = [np.array([tokenizer.document_id], np.uint32)]
    size = characters = unknown = 0
    for segment in segments:
        ids = tokenizer.encode_normalized(segment.text)
        size, characters = size + len(segment.text.encode()), characters + len(segment.text)
        if tokenizer.unknown_id is not None:
            unknown += int((ids == tokenizer.unknown_id).sum())
        parts.append(ids + tokenizer.vocabulary_size if segment.learnt else ids)
    joined = np.concatenate(parts).astype(np.uint32)
    return Ids(joined, np.zeros(1, np.int64), size, characters, unknown)


def _split(
    data: Sequence[str], settings: Settings, tell: Callable[[str], None]
) -> tuple[list[Conversation], list[Conversation]]:
    """Return the conversations to learn from and those that are held out; each once, unless duplicates are kept."""
    notes = Notes()
    whole = _read(data, settings, notes)
    if not settings.validation_data:
        _tell(notes, tell)
        count = round(len(whole) * settings.validation)
        return whole[: len(whole) - count], whole[len(whole) - count :]
    held_out = list(_read(settings.validation_data, settings._replace(keep_duplicates=True), Notes()))
    if not held_out:
        raise TidegateError("The validation conversations are empty: give some, or omit --validation-data.")
    known = set(held_out)
    learned = [turns for turns in whole if turns not in known]
    notes.omit(HELD_OUT, len(whole) - len(learned))
    _tell(notes, tell)
    return learned, held_out


def _read(data: Sequence[str], settings: Settings, notes: Notes) -> list[Conversation]:
    found = list(read_dialogues(find_dialogues(data), settings.encoding, settings.choices, notes))
    if settings.keep_duplicates:
        return found
    distinct = list(dict.fromkeys(found))
    notes.omit(DUPLICATES, len(found) - len(distinct))
    return distinct


def _tell(notes: Notes, tell: Callable[[str], None]) -> None:
    for sentence in notes.sentences():
        tell(sentence)


def _digest(parts: Sequence[Sequence[Sequence[Segment]]]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        for segments in part:
            digest.update(json.dumps(segments).encode())
        digest.update(b"\n")
    return digest.hexdigest()
