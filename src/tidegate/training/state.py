"""TrainState: all that a run is between two steps, and its capture as plain tensors and numbers.

One mechanism serves the checkpoint on disk, the return to the last good state after a non-finite loss, and resuming.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tidegate.config import TrainingConfig
from tidegate.models.adapted import AdaptedModel
from tidegate.models.classifier import Classifier
from tidegate.models.encoder import State
from tidegate.models.language_model import LanguageModel
from tidegate.models.tagger import Tagger
from tidegate.nn.sequence import zero_state
from tidegate.training.batches import Cursor
from tidegate.training.groups import parameter_groups
from tidegate.tuning import TuningConfig

TrainedModel = LanguageModel | AdaptedModel
"""a language model's weights, or changes to them"""


@dataclass
class Progress:
    """The numbers of a run: where it stands, and what it found so far. JSON holds them exactly."""

    step: int = 0
    """steps of the optimizer done"""
    tokens: int = 0
    """tokens read"""
    elapsed: float = 0.0
    """seconds trained, evaluations included"""
    epoch: int = 0
    window: int = 0
    """the cursor of the feed"""
    rate_scale: float = 1.0
    """factor on the learning rate; lowered after a non-finite loss"""
    rollbacks: int = 0
    """returns to an earlier state so far"""
    evaluations: int = 0
    """evaluations done"""
    best_loss: float | None = None
    """lowest validation loss, nats/token"""
    best_step: int = 0
    """the step after which it was measured"""
    since_best: int = 0
    """evaluations since then"""
    finished: bool = False
    """the run came to its end"""
    events: int = 0
    """lines of the log so far: a resumed run's goes on after them"""

    @property
    def cursor(self) -> Cursor:
        """Where the feed stands."""
        return Cursor(self.epoch, self.window)


@dataclass
class TrainState:
    """Weights, moments, carried state, numbers, best weights."""

    model: TrainedModel | Classifier | Tagger
    optimizer: torch.optim.Optimizer
    carried: State
    """the recurrent state of every lane, detached"""
    progress: Progress = field(default_factory=Progress)
    best: dict[str, Tensor] = field(default_factory=dict)
    """copies of the weights at the lowest validation loss; empty before the first evaluation"""
    average: dict[str, Tensor] = field(default_factory=dict)
    """moving average of the weights; empty where none is kept"""

    @property
    def language_model(self) -> TrainedModel:
        """The model, of a run that trains a language model."""
        assert isinstance(self.model, LanguageModel | AdaptedModel)
        return self.model

    @property
    def tagger(self) -> Tagger:
        """The model, of a run that trains a tagger."""
        assert isinstance(self.model, Tagger)
        return self.model

    @property
    def classifier(self) -> Classifier:
        """The model, of a run that trains a classifier."""
        assert isinstance(self.model, Classifier)
        return self.model

    def release(self) -> None:
        """Free the memory of gradients and moments, for which there is no use after the last step."""
        self.optimizer.zero_grad()
        self.optimizer.state.clear()


class Capture(NamedTuple):
    """A copy of a TrainState: tensors by name, numbers by name."""

    tensors: dict[str, Tensor]
    numbers: dict[str, Any]


def new_state(
    model: TrainedModel, config: TrainingConfig, lanes: int, tuning: TuningConfig | None = None
) -> TrainState:
    """Return the state of a language model's run before its first step."""
    shape = model.config
    like = next(model.parameters()).detach()
    carried = tuple(zero_state(shape.cell, lanes, shape.hidden_size, like) for _ in range(shape.layers))
    return TrainState(model, new_optimizer(model, config, tuning), carried)


def new_optimizer(
    model: TrainedModel | Classifier | Tagger, config: TrainingConfig, tuning: TuningConfig | None
) -> torch.optim.Optimizer:
    """Return AdamW for all that learns."""
    return torch.optim.AdamW(
        parameter_groups(model, config, tuning),
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=True,
    )


@contextlib.contextmanager
def averaged(state: TrainState) -> Iterator[None]:
    """Have the model hold the moving average of its weights, where one is kept, until the body ends."""
    if not state.average:
        yield
        return
    weights = {name: p.detach().clone() for name, p in state.model.named_parameters()}
    put_weights(state.model, state.average)
    try:
        yield
    finally:
        put_weights(state.model, weights)


@torch.no_grad()
def put_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy parameters, given by their names, into the model."""
    for name, parameter in model.named_parameters():
        parameter.copy_(weights[name])


def capture(state: TrainState) -> Capture:
    """Copy a run's whole state."""
    tensors = {f"model/{name}": p.detach().clone() for name, p in state.model.named_parameters()}
    for kind, copies in (("best", state.best), ("average", state.average)):
        tensors |= {f"{kind}/{name}": t.clone() for name, t in copies.items()}
    for index, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{key}": value.clone() for key, value in moments.items()}
    for index, layer in enumerate(state.carried):
        tensors |= {f"carried/{index}/{name}": s.clone() for name, s in layer._asdict().items()}
    return Capture(tensors, dict(vars(state.progress)))


def restore(state: TrainState, captured: Capture) -> None:
    """Put a captured state back, leaving the capture untouched. KeyError where a tensor is missing."""
    groups: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "average": {}, "optimizer": {}, "carried": {}}
    for name, tensor in captured.tensors.items():
        kind, rest = name.split("/", 1)
        groups[kind][rest] = tensor.clone()
    put_weights(state.model, groups["model"])
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in groups["optimizer"].items():
        index, key = name.split("/")
        moments.setdefault(int(index), {})[key] = tensor
    state.optimizer.load_state_dict({**state.optimizer.state_dict(), "state": moments})
    state.carried = tuple(
        type(layer)(*(groups["carried"][f"{index}/{name}"] for name in layer._fields))
        for index, layer in enumerate(state.carried)
    )
    state.best, state.average = groups["best"], groups["average"]
    state.progress = Progress(**captured.numbers)
