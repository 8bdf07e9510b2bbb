"""A run's folder: a model folder, and in it ``training/`` with all that only the training needs."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout

from tidegate.errors import TidegateError
from tidegate.folder.model_folder import write_weights
from tidegate.models.language_model import LanguageModel
from tidegate.runtime.model import Model
from tidegate.runtime.sampling import Sampling
from tidegate.text.prepare import Prepared
from tidegate.training import checkpoint
from tidegate.training.curves import draw_curves
from tidegate.training.events import read_log
from tidegate.training.measure import CARRIED, LossSum, measure
from tidegate.training.state import Capture, TrainState

SAMPLE_TOKENS = 200


@dataclass(frozen=True)
class RunFolder:
    """The places in a run's folder."""

    path: Path

    @property
    def training(self) -> Path:
        """What only a resumed run needs; the model folder is whole without it."""
        return self.path / "training"

    @property
    def record(self) -> Path:
        """Settings and digests."""
        return self.training / "run.json"

    @property
    def checkpoint(self) -> Path:
        """The whole state of the run."""
        return self.training / "checkpoint.safetensors"

    @property
    def log(self) -> Path:
        """Every event, one a line."""
        return self.training / "log.jsonl"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's event files."""
        return self.training / "tensorboard"

    @property
    def curves(self) -> Path:
        """The picture of the losses."""
        return self.path / "curves.png"

    def is_unused(self) -> bool:
        """Whether the folder holds nothing but what a run leaves that died before its first file."""
        return all(path == self.training or path == self.training / "lock" for path in self.path.rglob("*"))

    def remove_leftovers(self) -> None:
        """Remove temporary files of processes that were killed while they wrote; the folder must be locked."""
        for folder in (self.path, self.training):
            for path in folder.glob(".*.tmp"):
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against a second training process."""
        lock = FileLock(self.training / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise TidegateError(
                f"Another process is training into {self.path}: wait for it to end, or give another folder with --out."
            ) from None
        try:
            yield
        finally:
            lock.release()


@dataclass
class RunOutside:
    """The loop's outside: evaluates on the validation text, samples, and writes into the run's folder."""

    folder: RunFolder
    prepared: Prepared
    title: str
    limit: int
    """tokens of the validation text that an evaluation reads"""
    write_card: Callable[[TrainState, RunOutside], None]
    """writes the model card from the state and from what the last evaluation found"""
    results: dict[str, LossSum] = field(default_factory=dict)
    """the last losses of the validation text, by protocol"""
    sample: str = ""
    """what the model wrote last"""

    def evaluate(self, state: TrainState) -> dict[str, Any]:
        """Measure on the validation text, and have the model write a little."""
        self.sample = write_sample(state.model, self.prepared, state.progress.evaluations)
        if self.prepared.validation is None:
            return {"sample": self.sample}
        loss = measure(state.model, self.prepared.validation, self.prepared.tokenizer, CARRIED, limit=self.limit)
        part = "" if loss.tokens == len(self.prepared.validation) - 1 else f" of the first {loss.tokens:,} tokens"
        self.results = {CARRIED.name + part: loss}
        return {
            "protocol": CARRIED.name,
            "validation": loss.nats_a_token,
            "sample": self.sample,
        }

    def save(self, captured: Capture) -> None:
        """Write the checkpoint."""
        checkpoint.save(self.folder.checkpoint, captured)

    def keep(self, state: TrainState) -> None:
        """Write the model folder anew: the best weights (the latest before the first evaluation), curves, card."""
        tensors = {name: t.numpy() for name, t in state.best.items()} or state.model.tensors()
        write_weights(self.folder.path, tensors, self.prepared.tokenizer)
        draw_curves(self.folder.curves, read_log(self.folder.log), self.title)
        self.write_card(state, self)


def write_sample(model: LanguageModel, prepared: Prepared, sample: int, tokens: int = SAMPLE_TOKENS) -> str:
    """Have the model as it stands write some text, through the running half."""
    writer = Model(model.config, prepared.tokenizer, model.tensors(), len(prepared.train.document_starts))
    return writer.generate(sampling=Sampling(seed=0), max_tokens=tokens, sample=sample)


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yield a question whether Ctrl-C, SIGTERM or a closed terminal asked to stop; the second time ends at once."""
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        print("\nStopping after this step … (once more: at once)", file=sys.stderr, flush=True)

    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
        yield asked.is_set
        return
    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if sys.platform != "win32" else [])]
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
