"""``tidegate generate``: a model folder writes to the terminal, as it goes. Text goes to stdout, all else to stderr."""

from __future__ import annotations

import codecs
import os
import select
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO

from tidegate import native
from tidegate.errors import TidegateError
from tidegate.runtime.model import Model, load
from tidegate.runtime.sampling import Sampling
from tidegate.runtime.stream import read_prompt, write
from tidegate.text.printable import printable

INTERRUPTED = 130
BLOCK = 1 << 16
PATIENCE = 1.0
"""Seconds after which a reader of a silent standard input says that it waits."""


@dataclass(frozen=True)
class GenerateSettings:
    """What is written, and how much of it."""

    model: str
    """The model folder."""
    prompt: str = ""
    """The text to go on from; - reads it from standard input, as does a pipe or a file there without a prompt."""
    max_tokens: int | None = 500
    """Longest text, in tokens; null: without end (Ctrl-C stops it)."""
    num_samples: int = 1
    """Number of texts to write."""
    stop: tuple[str, ...] = ()
    """End the text before this string; may be given several times."""
    end_at_document: bool = True
    """End a text where the model ends the document; false: go on within it."""
    echo: bool = True
    """Write the prompt before the text (one from standard input: before the first text alone)."""

    def __post_init__(self) -> None:
        if self.max_tokens is not None and self.max_tokens < 1:
            raise TidegateError(f"max_tokens is {self.max_tokens}, but it must be 1 or more, or null for no end.")
        if self.num_samples < 1:
            raise TidegateError(f"num_samples is {self.num_samples}, but it must be 1 or more.")


def generate(settings: GenerateSettings, sampling: Sampling) -> int:
    """Write the samples to stdout; returns the exit code, 130 where Ctrl-C ended it."""
    model = load(settings.model)
    _say(f"Kernels: {native.describe(native.default_threads())}")
    if sampling.seed is None:
        sampling = sampling.seeded()
        _say(f"seed {sampling.seed}")
    out = Output(sys.stdout)
    try:
        _write_samples(model, settings, sampling, out)
    except KeyboardInterrupt:
        out.end_line()
        return INTERRUPTED
    return 0


def _write_samples(model: Model, settings: GenerateSettings, sampling: Sampling, out: Output) -> None:
    window, echo = sampling.repetition_window, ""
    if settings.prompt == "-" or (not settings.prompt and _offers_text(sys.stdin)):
        # of any length, so it is not kept: what is read is written at once
        parts = _read_text(sys.stdin)
        reading = read_prompt(model, parts, window=window, accepted=out.write if settings.echo else None)
    else:
        reading = read_prompt(model, settings.prompt, window=window)
        echo = model.tokenizer.normalize(settings.prompt) if settings.echo else ""
    for sample in range(settings.num_samples):
        if settings.num_samples > 1:
            _say(f"--- sample {sample + 1} of {settings.num_samples} ---")
        out.write(echo)
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
        out.end_line()


class Output:
    """Standard output, written at once; a terminal gets no control characters, which a model may well write."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._last = "\n"

    def write(self, text: str) -> None:
        """Write a piece of text."""
        if text:
            self._stream.write(printable(text) if self._terminal else text)
            self._stream.flush()
            self._last = text[-1]

    def end_line(self) -> None:
        """End a line that has begun."""
        if self._last != "\n":
            self.write("\n")


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


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
        _say("Reading the prompt from standard input, to its end …  (give --prompt, or < /dev/null for none)")
