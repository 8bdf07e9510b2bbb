"""Bars for whatever takes longer than one likes to wait without a word: preparing a text, measuring a model."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from tidegate.config import DataConfig
from tidegate.errors import TidegateError
from tidegate.text.console import Console
from tidegate.text.embedded_corpora import embedded_corpus
from tidegate.text.formats import Reading
from tidegate.text.prepare import Prepared, prepare
from tidegate.text.printable import printable
from tidegate.text.standard_input import NAME, keep_input
from tidegate.text.tokenizer import Tokenizer


@contextlib.contextmanager
def waiting(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while the body runs; it yields the function that is told the work done and the work in all."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def cache_folder(given: str | None) -> Path:
    """Return the folder for prepared texts: the one given, TIDEGATE_CACHE, or the user's cache folder."""
    if named := given or os.environ.get("TIDEGATE_CACHE"):
        return Path(named)
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named) / "tidegate"
    try:
        return Path.home() / ".cache" / "tidegate"
    except RuntimeError:
        raise TidegateError("There is no home folder to keep prepared texts in: name a folder by --cache.") from None


def with_standard_input(data: DataConfig, cache: str | None, console: Console) -> DataConfig:
    """Where the settings name standard input, read it to its end into a file of the cache, and name that instead."""
    if NAME not in (*data.data, data.validation_data):
        return data
    if sys.stdin.isatty():
        console.print("Reading the text from standard input, to its end (Ctrl-D) …")
    path = str(keep_input(sys.stdin.buffer, cache_folder(cache)))
    validation_data = path if data.validation_data == NAME else data.validation_data
    named = tuple(path if name == NAME else name for name in data.data)
    return dataclasses.replace(data, data=named, validation_data=validation_data)


def prepare_text(
    data: DataConfig,
    cache: str | None,
    console: Console,
    tokenizer: Tokenizer | None = None,
    processes: int | None = None,
    joins: Tokenizer | None = None,
) -> Prepared:
    """Prepare the text that the settings name, with a bar; `tokenizer` where the model has one already, `joins` where
    it gets the text's tokens besides its own."""
    with waiting(console, "preparing the text") as progress:
        prepared = prepare(
            data.data or (embedded_corpus(data.corpus),),
            tokenizer=tokenizer,
            joins=joins,
            kind=data.tokenizer,
            vocabulary=data.vocabulary,
            validation=data.validation,
            validation_data=() if data.validation_data is None else (data.validation_data,),
            reading=Reading(data.encoding, data.columns),
            keep_duplicates=data.keep_duplicates,
            processes=processes,
            cache=cache_folder(cache),
            progress=lambda label, done, total: progress(done, total),
        )
    for sentence in prepared.found.recognized:
        console.print(Text(printable(sentence)), soft_wrap=True)
    tell_damage(prepared, console)
    return prepared


def tell_damage(prepared: Prepared, console: Console) -> None:
    """Say what was wrong with the stores in the cache, if anything."""
    if prepared.damage:
        console.print(Text(f"{prepared.damage} That was done now."), soft_wrap=True)
