"""Work on blocks in several processes, in the order of the blocks, with few of them in memory at a time.

A process is a fresh Python that reads requests from its standard input and answers on its standard output, so nothing
of the calling program is imported or copied, whatever that program is. A message is a JSON header and arrays, no
pickle. A process whose caller is gone reads the end of its input, and ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

import tidegate
from tidegate.errors import TidegateError
from tidegate.text.block_work import Counts, Ids, codes_of, count_block, divided, encode, sample, tokenizer_of
from tidegate.text.blocks import Block

PARALLEL_BYTES = 2**23
"""Text smaller than this on the disk is prepared faster than processes start."""
AHEAD = 2
"""blocks that each process has been given or has answered and that nobody took yet"""

Header = dict[str, Any]
Arrays = list[NDArray[Any]]


def perform(block: Block, header: Header, arrays: Arrays) -> tuple[Header, Arrays]:
    """Do one piece of work, ``count``, or ``codes``, ``sample`` or ``encode`` with what is kept and the cut."""
    if header["job"] == "count":
        return {}, list(count_block(block))
    text = divided(block, arrays[0].astype(bool), header["cut"])
    found = {"digest": text.digest}
    if header["job"] == "codes":
        return found, [codes_of(text.trained)]
    if header["job"] == "sample":
        return {**found, "texts": sample(text.trained, header["share"])}, []
    tokenizer = tokenizer_of(header["tokenizer"])
    sides = [encode(parts, tokenizer, header["dtype"]) for parts in (text.trained, text.validated)]
    return {**found, "counts": [side[2:] for side in sides]}, [array for side in sides for array in side[:2]]


def counts_of(answer: tuple[Header, Arrays]) -> Counts:
    """Return the answer to the work ``count``."""
    return Counts(*answer[1])


def ids_of(answer: tuple[Header, Arrays]) -> tuple[Ids, Ids]:
    """Return the answer to the work ``encode``, for training and for validation."""
    header, (ids, starts, other_ids, other_starts) = answer
    one, other = header["counts"]
    return Ids(ids, starts, *one), Ids(other_ids, other_starts, *other)


def work_on(
    blocks: Iterable[Block], request: Callable[[int], tuple[Header, Arrays]], processes: int
) -> Iterator[tuple[Block, tuple[Header, Arrays]]]:
    """Yield each block with the answer to its request, in order; ``request(index)`` gives what block `index` needs.

    processes: how many to start; 1: all is done here. Errors: a TidegateError of the work, or of a process that died.
    """
    if processes <= 1:
        for index, block in enumerate(blocks):
            yield block, perform(block, *request(index))
        return
    with ExitStack() as stack:
        idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        started = stack.enter_context(ExitStack())  # before the threads, which end before what they ask
        threads = stack.enter_context(ThreadPoolExecutor(processes))
        waiting: deque[tuple[Block, Future[tuple[Header, Arrays]]]] = deque()
        try:
            for index, block in enumerate(blocks):
                header, arrays = request(index)
                if index < processes:  # no more of them than there are blocks
                    process = _Process()
                    started.callback(process.close)
                    idle.put(process)
                waiting.append((_emptied(block), threads.submit(_ask, idle, block, header, arrays)))
                if len(waiting) >= AHEAD * processes:
                    done, answer = waiting.popleft()
                    yield done, answer.result()
            while waiting:
                done, answer = waiting.popleft()
                yield done, answer.result()
        finally:
            for _, answer in waiting:
                answer.cancel()


def _emptied(block: Block) -> Block:
    """Leave out the text, which is with the process now: only what says where it came from is asked for later."""
    return dataclasses.replace(block, parts=[])


def default_processes(size: int) -> int:
    """Return how many processes suit text of so many bytes on the disk: one for each CPU of this process, or just this
    one where the text is small."""
    if size < PARALLEL_BYTES:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _ask(idle: queue.SimpleQueue[_Process], block: Block, header: Header, arrays: Arrays) -> tuple[Header, Arrays]:
    process = idle.get()
    try:
        return process.ask(block, header, arrays)
    finally:
        idle.put(process)


class _Process:
    """Another Python that works on one block after another."""

    def __init__(self) -> None:
        place = str(Path(tidegate.__file__).parents[1])
        path = os.pathsep.join([place, *filter(None, [os.environ.get("PYTHONPATH")])])
        # a group of its own: Ctrl-C is the caller's to handle
        apart: dict[str, Any] = {"process_group": 0} if sys.platform != "win32" else {}
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tidegate.text.processes import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"},
            **apart,
        )

    def ask(self, block: Block, header: Header, arrays: Arrays) -> tuple[Header, Arrays]:
        """Send a block, and wait for the answer."""
        texts = [part.encode("utf-8", "surrogatepass") for part in block.parts]
        head = {**header, "starts": block.starts, "html": block.html}
        sizes = np.array([len(text) for text in texts], np.int64)
        try:
            _send(self._process.stdin, head, [sizes, np.frombuffer(b"".join(texts), np.uint8), *arrays])
            answer = _receive(self._process.stdout)
        except BrokenPipeError:
            answer = None
        if answer is None:
            code, what = self._process.wait(), ", ".join(block.sources[-1:])
            raise TidegateError(
                f"A process that prepared {what} ended with code {code}: perhaps there was not enough memory. Run "
                "it again, and it resumes where it stopped; --processes 1 takes the least memory."
            )
        if "error" in answer[0]:
            raise TidegateError(answer[0]["error"])
        return answer

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not yet written cannot be: it is gone
                    pipe.close()
        self._process.terminate()
        self._process.wait()


def serve() -> None:
    """Answer requests from standard input until it ends; what a process does that prepares text for another."""
    source, target = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a stray print must not be read as an answer
    while (message := _receive(source)) is not None:
        header, (sizes, data, *arrays) = message
        ends = np.cumsum(sizes)
        parts = [
            data[end - size : end].tobytes().decode("utf-8", "surrogatepass")
            for size, end in zip(sizes, ends, strict=True)
        ]
        block = Block(parts, header["starts"], header["html"])
        try:
            answer = perform(block, header, arrays)
        except TidegateError as error:
            answer = {"error": str(error)}, []
        except MemoryError:
            answer = {"error": "The memory did not suffice: --processes 1 takes the least."}, []
        try:
            _send(target, *answer)
        except BrokenPipeError:  # nobody waits for it any more
            os._exit(0)


def _send(pipe: IO[bytes] | None, header: Header, arrays: Arrays) -> None:
    assert pipe is not None
    shapes = [(array.dtype.str, array.shape) for array in arrays]
    head = json.dumps([header, shapes]).encode()
    pipe.write(len(head).to_bytes(8, "little"))
    pipe.write(head)
    for array in arrays:
        pipe.write(np.ascontiguousarray(array).tobytes())
    pipe.flush()


def _receive(pipe: IO[bytes] | None) -> tuple[Header, Arrays] | None:
    """Return the next message, None at the end."""
    assert pipe is not None
    size = pipe.read(8)
    if len(size) < 8:
        return None
    head = pipe.read(length := int.from_bytes(size, "little"))
    if len(head) < length:
        return None
    header, shapes = json.loads(head)
    arrays = []
    for dtype, shape in shapes:
        count = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        data = pipe.read(count)
        if len(data) < count:
            return None
        arrays.append(np.frombuffer(data, dtype).reshape(shape))
    return header, arrays
