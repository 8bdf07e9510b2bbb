"""The model card, README.md of a model folder: written by the program from what it knows of the run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tidegate.config import ModelConfig
from tidegate.folder.atomic import write_atomically
from tidegate.text.printable import printable

CARD = "README.md"


@dataclass(frozen=True)
class Card:
    """What a reader of a model wants to know; pairs are (what, value) and become the rows of a table."""

    title: str
    model: ModelConfig
    parameters: int
    data: Sequence[tuple[str, str]] = ()
    """names, digests, sizes of the text"""
    training: Sequence[tuple[str, str]] = ()
    """the protocol: horizon, lanes, window, optimizer, seed"""
    results: Sequence[tuple[str, str]] = ()
    """(metric with its protocol, value)"""
    samples: Sequence[str] = ()
    copied: Sequence[str] = ()
    """for each sample its longest stretch that stands in the training text; empty where that is not known"""
    command: str = ""
    """the command that made the model"""
    versions: Sequence[tuple[str, str]] = ()
    """machine and versions"""
    base: str = ""
    """the model that this one was fine-tuned from; empty where it was trained from scratch"""
    imported: bool = False
    """whether the weights came from elsewhere"""
    is_adapter: bool = False
    """whether the folder holds changes to that model alone"""
    labels: Sequence[str] = ()
    """those that a classifier or a tagger tells apart; empty for a language model"""
    verb: str = "generate"
    """of the command line, that runs it"""


def write_card(folder: str | Path, card: Card) -> None:
    """Write the card atomically as README.md of a model folder."""
    write_atomically(Path(folder) / CARD, render_card(card, Path(folder).name).encode("utf-8", "replace"))


def render_card(card: Card, folder: str) -> str:
    """Return the card as Markdown; `folder` is the name by which its examples call the model folder."""
    parts = [
        f"# {_line(card.title)}",
        _summary(card),
        *_table("Results", ("metric, protocol", "value"), card.results),
        *_samples(card.samples, card.copied),
        "## Use",
        fenced(_command(card, folder), "sh"),
        fenced(_python(card, folder), "python"),
        *_table("Data", ("what", "value"), card.data),
        *_table("Model", ("what", "value"), _model_rows(card)),
        *_table("Training", ("what", "value"), card.training),
        *(["## Made by", fenced(card.command, "sh")] if card.command else []),
        *_table("Machine and versions", ("what", "value"), card.versions),
        "This card was written by the program that trained the model.",
    ]
    return "\n\n".join(parts) + "\n"


def _summary(card: Card) -> str:
    m = card.model
    if card.labels:
        how = f"fine-tuned from {_line(card.base)}" if card.base else "trained from scratch"
        what = "A classifier of texts" if card.verb == "classify" else "A tagger of sentences"
        return (
            f"{what} by {len(card.labels):,} labels ({_line(', '.join(card.labels))[:500]}): a "
            f"recurrent encoder ({m.layers} × {m.hidden_size} {m.cell}, {m.block} blocks, {card.parameters:,} "
            f"parameters with its head), {how} by Tidegate. It knows the texts below alone; of others it may be sure "
            "and wrong."
        )
    what = "An adapter, low-rank changes to a" if card.is_adapter else "A"
    how = f"fine-tuned from {_line(card.base)} by Tidegate" if card.base else "trained from scratch by Tidegate"
    how = "imported from weights of torch.nn's layers" if card.imported else how
    answers = " It learned to answer, from conversations." if card.verb == "chat" else ""
    return (
        f"{what} recurrent language model of {card.parameters:,} parameters ({m.layers} × {m.hidden_size} {m.cell}, "
        f"{m.block} blocks), {how}. It predicts each next token of a text from all tokens "
        f"before it; it knows nothing but the text below{' and that of its base' if card.base else ''}, and states no "
        f"facts.{answers}"
    )


def _model_rows(card: Card) -> list[tuple[str, str]]:
    m = card.model
    return [
        ("cell", m.cell),
        ("layers, L", str(m.layers)),
        ("hidden size, H", str(m.hidden_size)),
        ("embedding size, E", str(m.E)),
        ("block", m.block),
        *([("direction", "each document from its end")] if m.direction == "backward" else []),
        ("output layer", "shared with the embedding" if m.tied else "free"),
        ("parameters", f"{card.parameters:,}"),
    ]


def _command(card: Card, folder: str) -> str:
    if card.model.direction == "backward" and not card.labels:
        of = f"{_quoted(card.base)} --adapter {_quoted(folder)}" if card.is_adapter else _quoted(folder)
        return f"tidegate evaluate {of} --data text.txt"
    if card.is_adapter:
        return f"tidegate {card.verb} {_quoted(card.base)} --adapter {_quoted(folder)}"
    if card.labels:
        return f"tidegate {card.verb} {_quoted(folder)} < texts.txt"
    return f"tidegate {card.verb} {_quoted(folder)}"


def _python(card: Card, folder: str) -> str:
    if card.labels:
        if card.verb == "tag":
            return (
                f"from tidegate.runtime.tagger import Tagger\n\ntagger = Tagger.load({folder!r})\n"
                "print(tagger.tag([['one', 'sentence'], ['another']]))"
            )
        return (
            f"from tidegate.runtime.classifier import Classifier\n\nclassifier = Classifier.load({folder!r})\n"
            "print(classifier.label(['a text', 'another']))"
        )
    if card.model.direction == "backward":
        return f"from tidegate.folder.model_folder import ModelFolder\n\nprint(ModelFolder.read({folder!r}).model)"
    model = f"{card.base!r}, [{folder!r}]" if card.is_adapter else repr(folder)
    if card.verb == "chat":
        return f"import tidegate\n\nmodel = tidegate.load({model})\nprint(model.chat('Hello'))"
    return f"import tidegate\n\nfor piece in tidegate.load({model}).stream():\n    print(piece, end='', flush=True)"


def _quoted(word: str) -> str:
    return word if re.fullmatch(r"[\w./-]+", word) else "'" + word.replace("'", "'\\''") + "'"


def _samples(samples: Sequence[str], copied: Sequence[str]) -> list[str]:
    parts = ["## Samples"] if samples else []
    for number, sample in enumerate(samples):
        parts.append(fenced(sample, "text"))
        if number < len(copied):
            parts += _copied(sample, copied[number])
    return parts


def _copied(sample: str, stretch: str) -> list[str]:
    """Say how much of a sample is no work of the model's own."""
    if not stretch:
        return ["Nothing of it stands in the training text."]
    share = len(stretch) / max(1, len(sample))
    return [
        f"The longest stretch of it that stands word for word in the training text has {len(stretch):,} of its "
        f"{len(sample):,} characters ({share:.1%}):",
        fenced(stretch, "text"),
    ]


def _table(heading: str, head: tuple[str, str], rows: Sequence[tuple[str, str]]) -> list[str]:
    return [f"## {heading}", markdown_table(head, rows)] if rows else []


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown; any text can stand in it."""
    lines = [map(markdown_text, head), ["---"] * len(head), *(map(markdown_text, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown_text(text: str) -> str:
    """Escape what would end a table's cell, or be read as HTML or a link."""
    return re.sub(r"([\\|<>\[\]*`&])", r"\\\1", _line(text))


def _line(text: str) -> str:
    return " ".join(printable(text).split())


def fenced(text: str, language: str) -> str:
    """Return a code block that holds any text: its fence is longer than every run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{printable(text)}\n{fence}"
