"""A text and its split: what is trained on comes first, what is validated on after it, whatever files they lie in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tidegate.errors import TidegateError
from tidegate.text.blocks import Block, all_blocks
from tidegate.text.formats import Reading
from tidegate.text.measured import Measured, measure_text
from tidegate.text.processes import Arrays, Header, default_processes, work_on
from tidegate.text.sources import Source, TextArgument, find_sources, without
from tidegate.text.tokenizers.base import canonical_digest

Progress = Callable[[str, int, int], None]
"""Called as (what is done, bytes on disk done, bytes on disk in all)."""


@dataclass(frozen=True)
class SplitText:
    """All the text, and where the training part of it ends."""

    training: list[Source]
    held_out: list[Source]
    reading: Reading
    measured: Measured
    boundary: int
    """bytes of the normalised text before the validation part"""
    processes: int
    progress: Progress

    @property
    def digest(self) -> str:
        """Tells the content and the split."""
        return canonical_digest([self.measured.digest, self.measured.byte_count, self.boundary])

    @property
    def has_validation(self) -> bool:
        """Whether some of it is held out."""
        return self.boundary < self.measured.byte_count

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(source.size for source in (*self.training, *self.held_out))

    def cut(self, block: int) -> int:
        """Return where in a block's kept bytes the validation part begins; before it, or after it, where it does not
        begin there."""
        return self.boundary - self.measured.bytes_before(block)

    def blocks(self, label: str) -> Iterator[Block]:
        """Yield the blocks, which must be as many as they were, and tell the progress."""
        self.progress(label, 0, self.size)
        number = 0
        for number, block in enumerate(all_blocks(self.training, self.held_out, self.reading), 1):
            if number > len(self.measured.block_parts) or len(block.parts) != self.measured.block_parts[number - 1]:
                raise changed()
            yield block
        if number < len(self.measured.block_parts):
            raise changed()

    def work(
        self, label: str, blocks: Iterator[tuple[int, Block]], header: Header
    ) -> Iterator[tuple[int, tuple[Header, Arrays]]]:
        """Yield the number of each block and what the work on it gave."""
        numbers: list[int] = []

        def chosen() -> Iterator[Block]:
            for number, block in blocks:
                numbers.append(number)
                yield block

        def request(index: int) -> tuple[Header, Arrays]:
            number = numbers[index]
            return {**header, "cut": self.cut(number)}, [self.measured.kept_of(number).astype(np.uint8)]

        for index, (block, answer) in enumerate(work_on(chosen(), request, self.processes)):
            if answer[0]["digest"] != self.measured.block_digests[numbers[index]]:
                raise changed()
            yield numbers[index], answer
            self.progress(label, block.position, self.size)


def changed() -> TidegateError:
    """Return the error of a text that is no longer the same."""
    return TidegateError("The text changed while it was read: start again when nothing writes to it.")


def read_text(
    data: Sequence[TextArgument],
    validation: float,
    validation_data: Sequence[TextArgument],
    reading: Reading,
    keep_duplicates: bool,
    cache: Path,
    processes: int | None,
    progress: Progress | None,
) -> SplitText:
    """Find and measure the text, and decide where the validation part begins."""
    left_out: Counter[str] = Counter()
    held_out = find_sources(validation_data, left_out)
    training = without(find_sources(data, left_out), held_out)
    if not training:
        besides = " besides the validation text" if held_out else ""
        raise TidegateError(f"No training text is named{besides}: name a file, a folder or a glob.")
    size = sum(source.size for source in (*training, *held_out))
    processes = default_processes(size) if processes is None else processes
    tell = progress or (lambda label, done, total: None)
    tell("Reading the text", 0, size)
    measured = measure_text(
        training,
        held_out,
        reading,
        keep_duplicates=keep_duplicates,
        left_out=left_out,
        cache=cache,
        processes=processes,
        report=lambda done: tell("Reading the text", done, size),
    )
    for sources, has in (
        (training, measured.training_bytes),
        (held_out, measured.byte_count - measured.training_bytes),
    ):
        if sources and not has:
            raise _empty(sources)
    boundary = measured.training_bytes if held_out else _boundary(measured.byte_count, validation)
    return SplitText(training, held_out, reading, measured, boundary, processes, tell)


def _boundary(byte_count: int, validation: float) -> int:
    if not validation:
        return byte_count
    boundary = int((1 - validation) * byte_count)
    if not 4 <= boundary < byte_count:  # 4: the first character must fit
        raise TidegateError(
            f"The text is too short to hold out {validation:g} of its {byte_count} bytes for validation: "
            f"give more text, or a validation of 0."
        )
    return boundary


def _empty(sources: list[Source]) -> TidegateError:
    others = len(sources) - 1
    which = "" if not others else " (and so is the other file)" if others == 1 else f" (and {others} more are)"
    return TidegateError(f"{sources[0].name} is empty{which}: give a file that has text.")
