"""A labelled run before its first step: its texts read, split and encoded, the classifier with its start values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from tidegate.config import DataConfig, ModelConfig, TrainingConfig
from tidegate.errors import TidegateError
from tidegate.folder.label_folder import encoder_shapes
from tidegate.folder.model_folder import ModelFolder
from tidegate.labelling import LabelConfig
from tidegate.models.classifier import Classifier, label_loss
from tidegate.nn.dropout import DropoutMasks
from tidegate.runtime.classifier import text_ids
from tidegate.text.labelled import LabelledTexts, LabelReading, label_names, read_labelled, stratified
from tidegate.text.tokenizer import Tokenizer
from tidegate.text.tokenizers.base import canonical_digest
from tidegate.training.batches import Cursor
from tidegate.training.groups import OF_PART
from tidegate.training.label_feed import EncodedTexts, LabelBatch, LabelFeed, targets_of
from tidegate.training.optimize import Objective
from tidegate.training.state import TrainState, new_optimizer
from tidegate.tuning import TuningConfig

SIDE_BY_SIDE = 32
"""texts that are read at a time where nothing is learnt"""


class Split(NamedTuple):
    """The texts of a run, by what they are for; those of a part may be none."""

    names: tuple[str, ...]
    """all labels, in the order of the logits"""
    train: LabelledTexts
    validation: LabelledTexts
    test: LabelledTexts | None
    digest: str
    """tells texts, labels and split"""
    whole: LabelledTexts
    """those of training and validation as they were read, with what was left out"""


def read_split(data: DataConfig, labels: LabelConfig, seed: int) -> Split:
    """Read labelled texts and split them, each label alike; a TidegateError for what the user can mend."""
    how = LabelReading(labels.label_column, data.columns, labels.multi_label, data.encoding, data.keep_duplicates)
    whole = read_labelled(data.data, how)
    if data.validation_data is None:
        places, held_out = stratified(whole.labels, data.validation, seed)
        train, validation = whole.part(places), whole.part(held_out)
    else:
        train, validation = whole, read_labelled((data.validation_data,), how)
    test = None if labels.test_data is None else read_labelled((labels.test_data,), how)
    names = label_names(train.labels)
    for what, part in (("validation", validation), ("test", test)):
        for some in () if part is None else part.labels:
            if unknown := [label for label in some if label not in names]:
                raise TidegateError(
                    f"The {what} texts have the label {unknown[0]!r}, but none of the training texts has it: give "
                    "texts of it to learn from, or leave it out."
                )
    digest = canonical_digest([part.digest for part in (train, validation, test) if part is not None])
    return Split(names, train, validation, test, digest, whole)


def encoded(texts: LabelledTexts, names: tuple[str, ...], tokenizer: Tokenizer, multi_label: bool) -> EncodedTexts:
    """Return texts as a model reads them."""
    return EncodedTexts(
        [text_ids(tokenizer, text) for text in texts.texts], targets_of(texts.labels, names, multi_label)
    )


@dataclass(frozen=True)
class LabelObjective:
    """The loss of a batch of labelled texts."""

    class_weights: torch.Tensor | None
    longest: int

    def __call__(self, state: TrainState, batch: LabelBatch, masks: DropoutMasks, config: TrainingConfig) -> Objective:
        """Compute the mean loss of a text."""
        model = state.classifier
        pooled = batch.pooled
        if pooled is None:
            pooled = model.pooled(batch.inputs, batch.lengths, masks, self.longest)
        return Objective(label_loss(model.logits(pooled, masks), batch.targets, self.class_weights), 0.0, ())


def class_weights(texts: EncodedTexts, labels: int, how: str) -> torch.Tensor | None:
    """Return the factor on each label's texts, ``(K,)``: N / (K · its texts), of several labels others / its texts."""
    if how == "none":
        return None
    if texts.targets.ndim == 1:
        counts = np.bincount(texts.targets.astype(np.int64), minlength=labels)
        return torch.tensor(len(texts.targets) / (labels * counts.clip(1)), dtype=torch.float32)
    has = texts.targets.sum(axis=0).clip(1)
    return torch.tensor((len(texts.targets) - has).clip(1) / has, dtype=torch.float32)


def begin_labels(
    model: ModelConfig,
    base: ModelFolder | None,
    tokenizer: Tokenizer,
    texts: EncodedTexts,
    labels: int,
    settings: LabelConfig,
    training: TrainingConfig,
    tuning: TuningConfig,
) -> tuple[LabelFeed, TrainState]:
    """Return the feed and the state from which a run with these settings starts; base: None where a checkpoint will
    give all weights."""
    torch.manual_seed(training.seed)
    classifier = Classifier(model, tokenizer.vocabulary_size, labels)
    if base is not None and settings.recipe != "scratch":
        own = {name: tensor.detach().numpy() for name, tensor in classifier.named_parameters()}
        known = {name: base.tensors[name] for name in encoder_shapes(model, tokenizer.vocabulary_size)}
        classifier.load_tensors(own | known)
    frozen = set(tuning.freeze) | ({"embedding", "blocks"} if settings.recipe == "fast" else set())
    for name, parameter in classifier.named_parameters():
        if any(name.startswith(OF_PART[part]) for part in frozen) or (
            settings.recipe == "fast" and not name.startswith("head.")
        ):
            parameter.requires_grad_(False)
    feed = LabelFeed(texts, training.lanes, training.seed)
    return feed, TrainState(classifier, new_optimizer(classifier, training, tuning), ())


@torch.no_grad()
def pool_all(
    classifier: Classifier, texts: EncodedTexts, progress: Callable[[int, int], None] = lambda done, total: None
) -> torch.Tensor:
    """Return what a classifier's encoder makes of texts, ``(N, 3 H)``."""
    found = torch.empty(len(texts.ids), 3 * classifier.config.hidden_size)
    order = np.argsort(texts.lengths, kind="stable").astype(np.int64)
    for begin in range(0, len(order), SIDE_BY_SIDE):
        places = order[begin : begin + SIDE_BY_SIDE]
        batch = texts.batch(places, Cursor(0, 0))
        found[torch.from_numpy(places)] = classifier.pooled(batch.inputs, batch.lengths)
        progress(begin + len(places), len(order))
    return found


@torch.no_grad()
def logits_of(
    classifier: Classifier, texts: EncodedTexts, progress: Callable[[int, int], None] = lambda done, total: None
) -> NDArray[np.float32]:
    """Return the logits ``(N, K)`` of texts."""
    return classifier.logits(pool_all(classifier, texts, progress)).numpy()
