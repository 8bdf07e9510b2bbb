"""One step of truncated BPTT, and the guard against a loss or gradient that is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from tidegate.config import TrainingConfig
from tidegate.models.encoder import Features, State, detach
from tidegate.nn.dropout import DropoutMasks, Shares
from tidegate.training.batches import Batch
from tidegate.training.state import TrainState


class Step(NamedTuple):
    """What a step found."""

    loss: float
    """mean loss of the batch, nats/token or a text"""
    norm: float
    """norm of the whole gradient before clipping"""

    @property
    def finite(self) -> bool:
        """Whether the step could be taken."""
        return math.isfinite(self.loss) and math.isfinite(self.norm)


class Objective(NamedTuple):
    """What a step goes against."""

    loss: Tensor
    """mean loss of the batch in nats: what is told"""
    penalty: Tensor | float
    """what is learnt besides"""
    carried: State
    """the recurrent state after it, for the next step"""


def language_objective(state: TrainState, batch: Batch, masks: DropoutMasks, config: TrainingConfig) -> Objective:
    """Compute the mean loss of a window's tokens, and the penalties on what the cells do."""
    text = (batch.inputs, batch.targets, batch.weight)
    nats, features = state.language_model.loss(*text, state.carried, batch.fresh, masks, batch.sample)
    loss = nats / batch.weight.sum().clamp(min=1)  # a window may be all questions
    return Objective(loss, activity_penalty(features, batch.fresh, config.ar, config.tar), features.state)


def train_step(
    state: TrainState,
    batch: Any,
    config: TrainingConfig,
    rate: float,
    done: float = 1.0,
    objective: Callable[[TrainState, Any, DropoutMasks, TrainingConfig], Objective] = language_objective,
) -> Step:
    """Take one step against the gradient of a batch and carry the state on; a step that is not finite changes nothing
    but the gradients. `done`: the share of the run before it, by which layers thaw."""
    masks = DropoutMasks(Shares.of(config, state.model.config.block), config.seed, state.progress.step)
    loss, penalty, carried = objective(state, batch, masks, config)
    state.optimizer.zero_grad()
    (loss + penalty).backward()
    norm = clip_grad_norm_(state.model.parameters(), config.clip)
    step = Step(loss.item(), norm.item())
    if step.finite:
        for group in state.optimizer.param_groups:
            group["lr"] = rate * group["scale"] if done >= group["thaws_at"] else 0.0
        state.optimizer.step()
        state.carried = detach(carried)
        advance(state, batch)
        average_weights(state, config.ema)
    return step


def activity_penalty(features: Features, fresh: Tensor, ar: float, tar: float) -> Tensor | float:
    """Return AR and TAR (Merity et al. 2017, arXiv 1708.01009), from the last cell's outputs h ``(T, B, H)``:
    ``ar · mean(dropout(h)²) + tar · mean((h_t - h_{t-1})²)``, the latter over steps that go on within a document.

    fresh: ``(T, B)`` bool, where a document starts.
    """
    penalty: Tensor | float = 0.0
    if ar:
        penalty = ar * features.last_dropped.square().mean()
    if tar and len(fresh) > 1:
        goes_on = ~fresh[1:].unsqueeze(-1)
        change = (features.last[1:] - features.last[:-1]) * goes_on
        penalty = penalty + tar * change.square().sum() / (goes_on.sum().clamp(min=1) * change.shape[-1])
    return penalty


@torch.no_grad()
def average_weights(state: TrainState, decay: float) -> None:
    """Take the weights after a step into their moving average, whose decay grows to its full value from few steps on,
    as ``min(decay, (1 + n) / (10 + n))`` at step n: the start values are soon forgotten."""
    if not decay:
        return
    n = state.progress.step
    kept = min(decay, (1 + n) / (10 + n))
    for name, weight in state.model.named_parameters():
        if name in state.average:
            state.average[name].lerp_(weight, 1 - kept)
        else:
            state.average[name] = weight.detach().clone()


def advance(state: TrainState, batch: Any) -> None:
    """Count a step that was taken."""
    progress = state.progress
    progress.step += 1
    progress.tokens += batch.token_count
    progress.epoch, progress.window = batch.cursor
