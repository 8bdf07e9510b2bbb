"""One step of truncated BPTT, and the guard against a loss or gradient that is not finite."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch.nn.utils import clip_grad_norm_

from tidegate.config import TrainingConfig
from tidegate.models.language_model import detach
from tidegate.nn.dropout import DropoutMasks
from tidegate.training.batches import Batch
from tidegate.training.state import TrainState


class Step(NamedTuple):
    """What a step found."""

    loss: float
    """mean loss of the window, nats a token"""
    norm: float
    """norm of the whole gradient before clipping"""

    @property
    def finite(self) -> bool:
        """Whether the step could be taken."""
        return math.isfinite(self.loss) and math.isfinite(self.norm)


def train_step(state: TrainState, batch: Batch, config: TrainingConfig, rate: float) -> Step:
    """Take one step against the gradient of a window and carry the state on; a step that is not finite changes nothing
    but the gradients."""
    masks = DropoutMasks(state.model.config.dropout, config.seed, state.progress.step)
    nats, after = state.model.loss(batch.inputs, batch.targets, batch.weight, state.carried, batch.fresh, masks)
    loss = nats / batch.weight.sum()
    state.optimizer.zero_grad()
    loss.backward()
    norm = clip_grad_norm_(state.model.parameters(), config.clip)
    step = Step(loss.item(), norm.item())
    if step.finite:
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        state.optimizer.step()
        state.carried = detach(after)
        advance(state, batch)
    return step


def advance(state: TrainState, batch: Batch) -> None:
    """Count a step that was taken."""
    progress = state.progress
    progress.step += 1
    progress.tokens += batch.inputs.numel()
    progress.epoch, progress.window = batch.cursor
