"""The outside of a run's loop: evaluations, samples, what is written into the run's folder; and how it is stopped."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from tidegate.folder.adapter import write_adapter
from tidegate.folder.model_folder import write_weights
from tidegate.models.adapted import AdaptedModel
from tidegate.runtime.model import Model
from tidegate.runtime.sampling import Sampling
from tidegate.runtime.stream import Reading, write
from tidegate.text.messages import say
from tidegate.text.prepare import Prepared
from tidegate.training import checkpoint
from tidegate.training.curves import Curves
from tidegate.training.measure import CARRIED, LossSum, measure, metric_name
from tidegate.training.run_folder import RunFolder
from tidegate.training.state import Capture, TrainedModel, TrainState

SAMPLE_TOKENS = 200


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
    base: str = ""
    """a name, for people, of the model that a fine-tuning starts from"""
    results: dict[str, LossSum] = field(default_factory=dict)
    """the last losses of the validation text, by protocol"""
    sample: str = ""
    """what the model wrote last"""
    copied: str | None = None
    """the longest stretch of the sample that stands in the training text; None where it was not looked for"""

    def __post_init__(self) -> None:
        self._curves = Curves(self.folder.curves, self.title)

    def evaluate(self, state: TrainState) -> dict[str, Any]:
        """Measure on the validation text, and have the model write a little."""
        self.copied = None
        self.sample = write_sample(state.language_model, self.prepared, state.progress.evaluations)
        if self.prepared.validation is None:
            return {"sample": self.sample}
        text, tokenizer = self.prepared.validation, self.prepared.tokenizer
        loss = measure(state.language_model, text, tokenizer, CARRIED, limit=self.limit)
        self.results = {metric_name(CARRIED, loss, text): loss}
        return {
            "protocol": ("answers_" if text.is_marked else "") + CARRIED.name,
            "validation": loss.nats_a_token,
            "sample": self.sample,
        }

    def save(self, captured: Capture) -> None:
        """Write the checkpoint."""
        checkpoint.save(self.folder.checkpoint, captured)

    def keep(self, state: TrainState) -> None:
        """Write the model folder anew: the best weights (before the first evaluation the latest, or their average),
        curves, card."""
        weights = state.best or state.average
        if isinstance(state.model, AdaptedModel):
            write_adapter(self.folder.path, state.model.adapter(self.base, weights or None))
        else:
            tensors = {name: t.numpy() for name, t in weights.items()} or state.model.tensors()
            write_weights(self.folder.path, tensors, self.prepared.tokenizer)
        self._curves.draw(self.folder.log, at_once=state.progress.finished)
        self.write_card(state, self)


def write_sample(model: TrainedModel, prepared: Prepared, sample: int, tokens: int = SAMPLE_TOKENS) -> str:
    """Have the model as it stands write some text, through the running half; one that learns to answer gets the first
    question that is held out, and one that reads from the end writes nothing."""
    if model.config.direction == "backward":
        return ""
    writer = Model(model.config, prepared.tokenizer, model.tensors(), len(prepared.train.document_starts))
    if prepared.train.is_marked:
        return _answer(writer, prepared, sample, tokens)
    return writer.generate(sampling=Sampling(seed=0), max_tokens=tokens, sample=sample)


def _answer(writer: Model, prepared: Prepared, sample: int, tokens: int) -> str:
    store = prepared.validation or prepared.train
    begin, end = store.document_starts[0], len(store) if len(store.document_starts) < 2 else store.document_starts[1]
    ids, marks = store.read_marked(int(begin), int(end))
    asked, rest = ids[: marks.argmax()], prepared.tokenizer.decode(ids[marks])
    logits, state = writer.read(asked, writer.initial_state())
    reading, how = Reading(logits, state, ()), Sampling(seed=0)
    answer = "".join(write(writer, reading, sampling=how, max_tokens=tokens, stop=(rest[-1:],), sample=sample))
    return f"{spoken(prepared.tokenizer.decode(asked))}\n→ {spoken(answer)}"


def spoken(text: str) -> str:
    """Return a text without the control characters by which a template marks turns."""
    return "".join(c for c in text if c >= " " or c == "\n").strip()


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yield a question whether Ctrl-C, SIGTERM or a closed terminal asked to stop; the second time ends at once."""
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        say("\nStopping after this step … (once more: at once)")

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
