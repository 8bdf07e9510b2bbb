"""``tidegate prepare``: read text, say what it has, and prepare it for training, without training."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from tidegate.config import DataConfig, check_paths, within
from tidegate.text.console import Console
from tidegate.text.messages import show_json
from tidegate.text.prepare import Prepared
from tidegate.training.waiting import cache_folder, prepare_text, with_standard_input

LONG_LINE = 100_000
"""characters of a line from which on it is likely no line of a text"""
SCRIPTS = 8
"""how many scripts a report names"""


@dataclass(frozen=True)
class PrepareSettings:
    """Where the prepared text is kept, and how the report is given."""

    cache: str | None = None
    """Folder for prepared texts; by default TIDEGATE_CACHE, or tidegate in the user's cache folder."""
    processes: int | None = None
    """Processes that prepare the text; by default one per core, or one for a small text."""
    json: bool = False
    """Print one JSON object instead of a table."""

    def __post_init__(self) -> None:
        check_paths(self, "cache")
        within(self, "processes", 1, 4096)


def prepare(data: DataConfig, settings: PrepareSettings) -> int:
    """Prepare and report; returns the exit code."""
    console = Console(file=sys.stderr if settings.json else sys.stdout)
    data = with_standard_input(data, settings.cache, console)
    began = time.monotonic()
    prepared = prepare_text(data, settings.cache, console, processes=settings.processes)
    seconds = time.monotonic() - began
    if settings.json:
        show_json(_facts(prepared, seconds))
        return 0
    table = Table("what", "found", show_header=False)
    for what, found in _rows(prepared, seconds):
        table.add_row(what, found)
    console.print(table)
    for sentence in _warnings(prepared):
        console.print(Text(sentence, "yellow"), soft_wrap=True)
    console.print(
        Text(f"Kept in {cache_folder(settings.cache)}: training on this text finds it there."), soft_wrap=True
    )
    return 0


def _facts(prepared: Prepared, seconds: float) -> dict[str, object]:
    validation = prepared.validation
    return {
        **dataclasses.asdict(prepared.found),
        "tokenizer": prepared.tokenizer.kind,
        "vocabulary_size": prepared.tokenizer.vocabulary_size,
        "training_tokens": len(prepared.train),
        "validation_tokens": 0 if validation is None else len(validation),
        "unknown_tokens": _unknown(prepared),
        "digest": prepared.digest,
        "reused": prepared.reused,
        "seconds": round(seconds, 3),
    }


def _rows(prepared: Prepared, seconds: float) -> Iterator[tuple[str, str]]:
    found, validation = prepared.found, prepared.validation
    letters = sum(found.scripts.values()) or 1
    yield "files", f"{found.files:,} ({', '.join(f'{count:,} × {kind}' for kind, count in found.kinds.items())})"
    yield "documents", f"{found.documents:,}"
    yield "characters", f"{found.character_count:,} ({found.byte_count:,} bytes of UTF-8)"
    shares = [f"{name} {count / letters:.1%}" for name, count in found.scripts.items() if count / letters >= 0.0005]
    others = len(found.scripts) - len(shares[:SCRIPTS])
    yield "scripts", ", ".join(shares[:SCRIPTS]) + (f" and {others} more" if others else "")
    yield "longest line", f"{found.longest_line:,} characters, in {found.longest_line_in}"
    yield "duplicates", f"{found.duplicates:,} documents omitted, the same text came before"
    yield "omitted", _left_out(prepared)
    yield "tokenizer", f"{prepared.tokenizer.kind}, {prepared.tokenizer.vocabulary_size:,} tokens"
    yield "training set", f"{len(prepared.train):,} tokens"
    if validation is not None:
        unknown = f", {_unknown(prepared):,} of them unknown" if _unknown(prepared) else ""
        yield "validation set", f"{len(validation):,} tokens{unknown}"
    yield "time", f"{seconds:.1f} s" + (", already prepared" if prepared.reused else "")


def _left_out(prepared: Prepared) -> str:
    found = prepared.found
    reasons = [f"{count:,} × {suffix}, which is no text" for suffix, count in list(found.left_out.items())[:5]]
    if len(found.left_out) > 5:
        reasons.append(f"files of {len(found.left_out) - 5} other kinds")
    if found.empty:
        reasons.append(f"{found.empty:,} documents without text")
    return "; ".join(reasons) or "nothing"


def _warnings(prepared: Prepared) -> Iterator[str]:
    found = prepared.found
    if found.longest_line >= LONG_LINE:
        yield (
            f"A line of {found.longest_line:,} characters in {found.longest_line_in} is rarely text: "
            "see whether it is data, or a page without line ends."
        )
    if found.shared:
        yield f"{found.shared:,} documents of the validation text are also in the training text."
    validation = prepared.validation
    if validation is not None and _unknown(prepared) > len(validation) / 100:
        yield (
            f"{_unknown(prepared) / len(validation):.1%} of the validation text is unknown to the vocabulary: "
            "--tokenizer bpe or bytes knows every text."
        )


def _unknown(prepared: Prepared) -> int:
    return 0 if prepared.validation is None else prepared.validation.unknown_count
