"""``tidegate generate``: a model folder writes to the terminal, as it goes. Text goes to stdout, all else to stderr."""

from __future__ import annotations

import codecs
import os
import select
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

from tidegate import native
from tidegate.config import check_paths, within
from tidegate.errors import TidegateError
from tidegate.runtime.model import Model, load
from tidegate.runtime.output import Output
from tidegate.runtime.sampling import Sampling
from tidegate.runtime.stream import read_as_unknown, read_prompt, write
from tidegate.text.messages import say

if TYPE_CHECKING:
    from tidegate.text.corpus import Piece
    from tidegate.text.sources import Source

INTERRUPTED = 130
BLOCK = 1 << 16
PATIENCE = 1.0
"""Seconds after which a reader of a silent standard input says that it waits."""
TRAINING = "training"
"""The corpus of `novelty` that stands for the model's own training text."""
STRETCH_SHOWN = 160
"""Characters of a copied stretch that are shown: of a longer one its two ends."""


@dataclass(frozen=True)
class GenerateSettings:
    """What is generated, and how much of it."""

    model: str
    """The model folder."""
    prompt: str = ""
    """The text to continue; - reads it from standard input, as does a pipe or a file there without a prompt."""
    max_tokens: int | None = 500
    """Longest text, in tokens; null: without end (Ctrl-C stops it)."""
    num_samples: int = 1
    """Number of samples to generate."""
    stop: tuple[str, ...] = ()
    """End the text before this string; may be given several times."""
    end_at_document: bool = True
    """End a text where the model ends the document; false: continue within it."""
    echo: bool = True
    """Write the prompt before the text (one from standard input: before the first text alone)."""
    novelty: tuple[str, ...] = ()
    """Say how much of each text stands word for word in a corpus: a file, folder or glob (several times for several),
    or the word training for the model's own training text."""
    adapter: tuple[str, ...] = ()
    """The folder of an adapter to the model (of finetune --lora-rank); may be given several times, they add up."""
    threads: int | None = None
    """CPU threads at most, one for each CPU by default; fewer run where fewer prove faster. The result is the same."""

    def __post_init__(self) -> None:
        check_paths(self, "adapter", "novelty")
        within(self, "threads", 1, 4096)
        if self.max_tokens is not None and self.max_tokens < 1:
            raise TidegateError(f"max_tokens is {self.max_tokens}, but it must be 1 or more, or null for no end.")
        if self.num_samples < 1:
            raise TidegateError(f"num_samples is {self.num_samples}, but it must be 1 or more.")
        if self.novelty and self.max_tokens is None:
            raise TidegateError("novelty compares a text that has ended, but max_tokens is null: give it a number.")
        if TRAINING in self.novelty and len(self.novelty) > 1:
            raise TidegateError(
                f"novelty is {', '.join(self.novelty)}, but {TRAINING} must be the only one: omit the others, or "
                f"name a file or folder of that name as ./{TRAINING}."
            )


def generate(settings: GenerateSettings, sampling: Sampling) -> int:
    """Write the samples to stdout; returns the exit code, 130 where Ctrl-C ended it."""
    native.use_threads(settings.threads)
    model = load(settings.model, settings.adapter)
    corpus = _find_corpus(settings) if settings.novelty else None
    say(f"Kernels: {native.describe(native.threads())}")
    if sampling.seed is None:
        sampling = sampling.seeded()
        say(f"seed {sampling.seed}")
    out = Output(sys.stdout)
    try:
        texts = _write_samples(model, settings, sampling, out)
    except KeyboardInterrupt:
        out.end_line()
        return INTERRUPTED
    if corpus is not None:
        _report_novelty(texts, corpus)
    return 0


def _write_samples(model: Model, settings: GenerateSettings, sampling: Sampling, out: Output) -> list[str]:
    """Write the samples; returns them, without the prompt, where they are to be compared."""
    texts = []
    window, echo = sampling.repetition_window, ""
    if settings.prompt == "-" or (not settings.prompt and _offers_text(sys.stdin)):
        # of any length, so it is not kept: what is read is written at once
        parts = _read_text(sys.stdin)
        reading = read_prompt(model, parts, window=window, accepted=out.write if settings.echo else None)
    else:
        reading = read_prompt(model, settings.prompt, window=window)
        echo = model.tokenizer.normalize(settings.prompt) if settings.echo else ""
    if reading.unknown:
        say(read_as_unknown(reading.unknown, model.tokenizer))
    for sample in range(settings.num_samples):
        if settings.num_samples > 1:
            say(f"--- sample {sample + 1} of {settings.num_samples} ---")
        out.write(echo)
        kept = []
        for piece in write(
            model,
            reading,
            sampling=sampling,
            max_tokens=settings.max_tokens,
            stop=settings.stop,
            sample=sample,
            end_at_document=settings.end_at_document,
        ):
            out.write(piece)
            if settings.novelty:
                kept.append(piece)
        out.end_line()
        texts.append("".join(kept))
    return texts


class Corpus(NamedTuple):
    """What samples are compared with."""

    name: str
    read: Callable[[Callable[[int, int], None]], Iterator[Piece]]
    """yields the pieces of its text, and tells a function the bytes on disk read so far and in all"""


def _find_corpus(settings: GenerateSettings) -> Corpus:
    """Find the text to compare with before anything is written, so that a mistake shows at once."""
    from tidegate.text.embedded_corpora import embedded_corpus
    from tidegate.text.formats import Reading
    from tidegate.text.prepare import training_pieces  # reading corpora, and training: not needed just to write
    from tidegate.text.sources import find_sources
    from tidegate.training.record import read_record
    from tidegate.training.run_folder import RunFolder
    from tidegate.training.waiting import cache_folder

    if settings.novelty != (TRAINING,):
        return Corpus(", ".join(settings.novelty), partial(_read_sources, find_sources(settings.novelty)))
    path = RunFolder(Path(settings.model)).record
    if not path.is_file():
        raise TidegateError(f"{settings.model} does not say what it was trained on: name the text, --novelty FILE.")
    record = read_record(path)
    if record.tuning is not None and record.tuning.task != "lm":
        raise TidegateError(
            f"{settings.model} was trained on conversations: name a text to compare with, --novelty FILE."
        )
    data = record.data.data or (embedded_corpus(record.data.corpus),)
    held_out = () if record.data.validation_data is None else (record.data.validation_data,)
    try:
        find_sources([*data, *held_out])
    except TidegateError as error:
        raise TidegateError(
            f"{error} It is the model's training text; if it has moved, give its path: --novelty FILE."
        ) from None
    pieces = partial(
        training_pieces,
        data,
        cache=cache_folder(None),
        reading=Reading(record.data.encoding, record.data.columns),
        keep_duplicates=record.data.keep_duplicates,
        digest=record.data_digest,
        tokenizer_digest=record.tokenizer_digest,
        validation=record.data.validation,
        validation_data=held_out,
    )
    return Corpus("the training text", lambda tell: pieces(progress=lambda label, done, total: tell(done, total)))


def _read_sources(sources: Sequence[Source], tell: Callable[[int, int], None]) -> Iterator[Piece]:
    from tidegate.text.corpus import read_pieces

    total = sum(source.size for source in sources)
    return read_pieces(sources, report=lambda done: tell(done, total))


def _report_novelty(texts: Sequence[str], corpus: Corpus) -> None:
    from tidegate.text.console import Console
    from tidegate.text.overlap import overlaps
    from tidegate.training.waiting import waiting

    with waiting(Console(stderr=True), f"comparing with {corpus.name}") as tell:
        found = overlaps(texts, corpus.read(tell))
    say(f"--- how much of {'it' if len(texts) == 1 else 'them'} stands word for word in {corpus.name} ---")
    for number, overlap in enumerate(found, 1):
        which = f"sample {number}: " if len(texts) > 1 else ""
        shown = f": {_shortened(overlap.stretch)!r}" if overlap.length else ""
        of_all = f"{overlap.length:,} of {len(overlap.text):,} characters ({overlap.share:.1%})"
        covered = f"{overlap.covered:,} characters ({overlap.covered_share:.1%})"
        say(f"{which}longest stretch {of_all}{shown}")
        say(f"{which}in stretches of {overlap.threshold} characters or more: {covered}")


def _shortened(text: str) -> str:
    """Return the text, or its two ends."""
    half = STRETCH_SHOWN // 2
    return text if len(text) <= STRETCH_SHOWN else f"{text[:half]} … {text[-half:]}"


def _offers_text(stdin: TextIO | None) -> bool:
    """Whether standard input is a pipe or a file; a terminal, /dev/null and a closed one are not."""
    try:
        mode = os.fstat(stdin.fileno()).st_mode if stdin else 0
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def _read_text(stdin: TextIO) -> Iterator[str]:
    """Yield the text of standard input in parts, whatever the encoding of the terminal; it must be UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    _announce_waiting(stdin)
    end = 0
    with open(stdin.fileno(), "rb", closefd=False) as file:
        while True:
            block = file.read(BLOCK)
            end += len(block)
            try:
                yield decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                raise TidegateError(
                    f"The prompt from standard input is not UTF-8: byte 0x{error.object[error.start]:02x} at offset "
                    f"{end - len(error.object) + error.start} begins no character; convert it, as by iconv -t utf-8."
                ) from None
            if not block:
                return


def _announce_waiting(stdin: TextIO) -> None:
    """Say what is waited for where nothing comes: an open pipe that nobody writes to would look like a hang."""
    try:
        silent = not select.select([stdin.fileno()], [], [], PATIENCE)[0]
    except (OSError, ValueError):  # Windows selects on sockets alone
        return
    if silent:
        say("Reading the prompt from standard input, to its end …  (give --prompt, or < /dev/null for none)")
