"""What a finished run says of itself: whether it was long enough, and which weights it kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tidegate.config import HORIZONS, TrainingConfig
from tidegate.training.schedule import DEFAULT_EPOCHS, LONGEST_WARMUP, PEAK

LAST_PART = 1 / 3
"""of a run: over it the loss is compared"""
STILL_FALLING = 0.02
"""a loss that falls by so much of itself over the last part would fall further in a longer run"""


class Measured(NamedTuple):
    """One evaluation."""

    step: int
    progress: float
    """fraction of the run that was done"""
    loss: float


def outcome(
    training: TrainingConfig, events: Sequence[dict[str, Any]], keeps_best: bool, is_whole: bool = True
) -> list[str]:
    """Return the sentences that the log of a finished run calls for.

    keeps_best: whether the weights of the lowest validation loss were kept, or else those of the last step; is_whole:
    whether the horizon is that of the whole command, and not of its last stage.
    """
    found = [
        Measured(event["step"], event["progress"], event["validation"])
        for event in events
        if event["event"] == "evaluation" and "validation" in event
    ]
    if not found:
        return []
    last, best = found[-1], min(found, key=lambda one: one.loss)
    sentences = []
    if still_rising(training, last):
        sentences.append(
            f"The run ended at {last.progress:.0%}, while the learning rate was still rising to "
            f"{training.learning_rate:g}: give --patience 0, or a smaller --warmup."
        )
    earlier = [one for one in found if one.progress <= last.progress - LAST_PART + 1e-9]
    if earlier and last == best and last.loss < (1 - STILL_FALLING) * earlier[-1].loss:
        sentences.append(
            f"The validation loss was still falling ({earlier[-1].loss:.4f} → {last.loss:.4f} from "
            f"{earlier[-1].progress:.0%} on): a longer run would lower it further"
            f"{f', such as {_longer(training)}' if is_whole else ''}."
        )
    if not keeps_best and best != last:
        sentences.append(
            f"The weights of the last step are kept, with a validation loss of {last.loss:.4f}; it was lowest at step "
            f"{best.step}, {best.loss:.4f} (--keep best keeps those)."
        )
    return sentences


def still_rising(training: TrainingConfig, last: Measured) -> bool:
    """Whether a run ended before its learning rate was at its highest."""
    if training.schedule == "triangular":
        return last.progress < PEAK
    return last.progress < LONGEST_WARMUP and last.step < training.warmup


def _longer(training: TrainingConfig) -> str:
    """Return the flag that makes a run twice as long."""
    for name in HORIZONS:
        if (value := getattr(training, name)) is not None:
            return f"--{name} {2 * value:g}" if isinstance(value, float) else f"--{name} {2 * value}"
    return f"--epochs {2 * DEFAULT_EPOCHS:g}"
