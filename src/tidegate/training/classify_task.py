"""Learning labels of texts: the texts read, split and encoded, the classifier, its loss, how it is measured."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from tidegate.config import DataConfig, Direction, ModelConfig, TrainingConfig
from tidegate.errors import TidegateError, nearest
from tidegate.folder.label_folder import NONE, ClassifierFolder, encoder_shapes, write_classifier
from tidegate.folder.model_folder import ModelFolder
from tidegate.labelling import MOST_WITH_NGRAMS, LabelConfig
from tidegate.models.classifier import Classifier, label_loss
from tidegate.models.encoder import Encoder
from tidegate.nn.dropout import DropoutMasks
from tidegate.runtime.encoder import text_ids
from tidegate.text.console import Console
from tidegate.text.formats import Reading
from tidegate.text.labelled import LabelledTexts, LabelReading, read_labelled, stratified, tell_their_labels
from tidegate.text.labels import differ_in_case, label_names
from tidegate.text.ngrams import NgramScores
from tidegate.text.tokenizer import Tokenizer
from tidegate.text.tokenizers.base import canonical_digest
from tidegate.training import label_report as report
from tidegate.training.batches import Cursor
from tidegate.training.calibration import fitted_calibration, fitted_ngrams
from tidegate.training.groups import freeze, freeze_encoder
from tidegate.training.label_feed import EncodedTexts, LabelBatch, SampleFeed, targets_of
from tidegate.training.optimize import Objective
from tidegate.training.state import TrainState, new_optimizer
from tidegate.training.task_run import Rows
from tidegate.training.waiting import waiting
from tidegate.tuning import TuningConfig

ENOUGH_TO_CHOOSE = 50
"""validation texts from which on the step with the lowest loss of them is kept: of ten it is one before anything was
learnt as often as not"""
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
    reading: Reading
    """the columns of the text, and its encoding"""


def read_split(data: DataConfig, labels: LabelConfig, seed: int) -> Split:
    """Read labelled texts and split them, each label alike; a TidegateError for what the user can mend."""
    how = LabelReading(labels.label_column, data.columns, labels.multi_label, data.encoding, data.keep_duplicates)
    whole = read_labelled(data.data, how)
    if data.validation_data is None:
        places, held_out = stratified(whole.labels, data.validation, seed)
        train, validation = whole.part(places), whole.part(held_out)
    else:
        train, validation = whole, read_labelled((data.validation_data,), how._replace(keep_duplicates=True))
    test = None
    if labels.test_data is not None:
        test = read_labelled((labels.test_data,), how._replace(keep_duplicates=True))
    names = label_names(train.labels)
    for what, part in (("validation", validation), ("test", test)):
        counts = Counter(
            label for some in (() if part is None else part.labels) for label in some if label not in names
        )
        if counts:
            told = ", ".join(f"{label!r} ({count:,}){nearest(label, names)}" for label, count in counts.most_common(5))
            raise TidegateError(
                f"The {what} texts have labels that none of the training texts has, {len(counts):,} in all: {told}; "
                "give training texts with them, or omit them."
            )
    digest = canonical_digest([part.digest for part in (train, validation, test) if part is not None])
    return Split(names, train, validation, test, digest, whole, Reading(data.encoding, whole.columns))


def encoded(
    texts: LabelledTexts, names: tuple[str, ...], tokenizer: Tokenizer, direction: Direction, multi_label: bool
) -> EncodedTexts:
    """Return texts as a model of this direction reads them."""
    return EncodedTexts(
        [text_ids(tokenizer, text, direction) for text in texts.texts], targets_of(texts.labels, names, multi_label)
    )


def class_weights(texts: EncodedTexts, labels: int, how: str) -> torch.Tensor | None:
    """Return the factor on each label's texts, ``(K,)``: N / (K · its texts), of several labels others / its texts."""
    if how == "none":
        return None
    if texts.targets.ndim == 1:
        counts = np.bincount(texts.targets.astype(np.int64), minlength=labels)
        return torch.tensor(len(texts.targets) / (labels * counts.clip(1)), dtype=torch.float32)
    has = texts.targets.sum(axis=0).clip(1)
    return torch.tensor((len(texts.targets) - has).clip(1) / has, dtype=torch.float32)


@torch.no_grad()
def pool_all(
    classifier: Classifier, texts: EncodedTexts, progress: Callable[[int, int], None] = lambda done, total: None
) -> torch.Tensor:
    """Return what a classifier's encoder makes of texts, ``(N, 3 H)``, or two of them, ``(N, 6 H)``."""
    if texts.pooled is not None:
        return texts.pooled
    found = torch.empty(len(texts.ids), classifier.head.in_features)
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


@dataclass
class ClassifyTask:
    """Labels of texts."""

    split: Split
    tokenizer: Tokenizer
    direction: Direction
    settings: LabelConfig
    what: str = "Classifier"
    verb: str = "classify"
    temperature: float = 1.0
    ngram_weight: float | None = None
    """None where they are not counted"""
    ngrams: NgramScores | None = None
    """all three are fitted at the end"""

    def __post_init__(self) -> None:
        self.digest = self.split.digest
        self.train, self.validation = (self._encoded(part) for part in (self.split.train, self.split.validation))
        self._weights = class_weights(self.train, len(self.split.names), self.settings.class_weights)
        self._held_out = self.validation
        self.chooses = len(self.split.validation) >= ENOUGH_TO_CHOOSE

    @property
    def _loss_weights(self) -> NDArray[Any] | None:
        return None if self._weights is None else self._weights.numpy()

    def _encoded(self, texts: LabelledTexts) -> EncodedTexts:
        return encoded(texts, self.split.names, self.tokenizer, self.direction, self.settings.multi_label)

    def begin(
        self, model: ModelConfig, bases: Sequence[ModelFolder], training: TrainingConfig, tuning: TuningConfig
    ) -> tuple[SampleFeed, TrainState]:
        """See `Task`."""
        torch.manual_seed(training.seed)
        both = self.settings.backward is not None
        classifier = Classifier(model, self.tokenizer.vocabulary_size, len(self.split.names), both)
        if self.settings.recipe != "scratch":
            for encoder, base in zip((classifier, classifier.second), bases, strict=False):
                assert encoder is not None
                take_encoder(encoder, base)
            self._take_head(classifier, bases)
        freeze(classifier, tuning.freeze)
        if self.settings.recipe == "fast":
            freeze_encoder(classifier)
        feed = SampleFeed(self.train, training.lanes, training.seed)
        return feed, TrainState(classifier, new_optimizer(classifier, training, tuning), ())

    def _take_head(self, classifier: Classifier, bases: Sequence[ModelFolder]) -> None:
        """Go on with the head of a classifier whose labels are these."""
        own = json.dumps(self.split.names, ensure_ascii=False), json.dumps(self.settings.multi_label)
        if bases and classifier.second is None and own == tuple(map(bases[0].metadata.get, ("labels", "multi_label"))):
            classifier.load_tensors(
                classifier.tensors() | {n: bases[0].tensors[n] for n in ("head.weight", "head.bias")}
            )

    def ready(self, feed: SampleFeed, state: TrainState, console: Console) -> SampleFeed:
        """Read all texts once where the encoder is frozen: all epochs then take seconds."""
        if self.settings.recipe != "fast":
            return feed
        with waiting(console, "reading the texts, once") as progress:
            pooled = pool_all(state.classifier, self.train, progress)
            if len(self.validation.ids):
                self._held_out = self.validation._replace(pooled=pool_all(state.classifier, self.validation))
        return SampleFeed(self.train._replace(pooled=pooled), feed.lanes, feed.seed)

    def objective(self, state: TrainState, batch: LabelBatch, masks: DropoutMasks, config: TrainingConfig) -> Objective:
        """See `Task`."""
        model, pooled = state.classifier, batch.pooled
        if pooled is None:
            pooled = model.pooled(batch.inputs, batch.lengths, masks, self.settings.longest)
        return Objective(label_loss(model.logits(pooled, masks), batch.targets, self._weights), 0.0, ())

    def evaluate(self, state: TrainState) -> dict[str, Any]:
        """See `Task`. The loss is that at the best temperature: a classifier grows too sure long before it grows worse,
        and what is written at the end is calibrated."""
        if not len(self.validation.ids):
            return {}
        targets, logits = self.validation.targets, logits_of(state.classifier, self._held_out)
        found = fitted_calibration(logits, targets, None, self._loss_weights)
        probabilities = report.probabilities_of(logits, self.settings.multi_label, found.temperature)
        figures = report.figures_of(targets, probabilities)
        nats = figures.pop("nats_a_text")
        return {"protocol": "validation texts, calibrated", "unit": "nats/text", "validation": nats, **figures}

    def write(self, path: Path, model: ModelConfig, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """See `Task`."""
        names, multi = self.split.names, self.settings.multi_label
        both = self.settings.backward is not None
        tensors, unit = dict(weights), NONE
        if self.ngrams is not None:
            tensors, unit = tensors | self.ngrams.tensors(), self.ngrams.unit
        folder = ClassifierFolder(
            model, self.tokenizer, names, multi, self.temperature, both, tensors, unit, self.split.reading
        )
        write_classifier(path, folder)

    def finish(self, path: Path, state: TrainState, console: Console) -> tuple[dict[str, float], list[str]]:
        """Calibrate, measure the model and the peer, write the report."""
        split = self.split
        parts = {"validation": (split.validation, self.validation)} if len(split.validation) else {}
        if split.test is not None:
            parts["test"] = (split.test, self._encoded(split.test))
        parts = parts or {"training": (split.train, self.train)}
        with waiting(console, "measuring") as progress:
            logits = {part: logits_of(state.classifier, texts, progress) for part, (_, texts) in parts.items()}
        beside: dict[str, list[report.Beside]] = {part: [] for part in parts}
        if "validation" in logits:
            with waiting(console, "calibrating"):
                self._calibrate(logits, beside)
        judged = {}
        for part, (texts, ids) in parts.items():
            z = logits[part] / self.temperature
            if self.ngrams is not None:
                z += self.ngrams.of(texts.texts)
            judged[part] = report.Judged(texts, ids.targets, report.probabilities_of(z, self.settings.multi_label))
        with waiting(console, "measuring the baseline, TF-IDF and a logistic regression"):
            for part, peer in report.peers(split.train, self.train.targets, judged, len(split.names)).items():
                beside[part].append(peer)
        settled = {"temperature": self.temperature, "ngram_weight": self.ngram_weight or 0.0}
        return report.told(report.write_report(path, split.names, judged, beside, settled))

    def _calibrate(self, logits: Mapping[str, NDArray[Any]], beside: Mapping[str, list[report.Beside]]) -> None:
        """Fit the temperature, and the n-grams where they are worth it; then tell what would be without them."""
        split, targets, z = self.split, self.validation.targets, logits["validation"]
        self.temperature = fitted_calibration(z, targets, None, self._loss_weights).temperature
        if not self.settings.ngrams or len(split.names) > MOST_WITH_NGRAMS:
            return
        ngrams = fitted_ngrams(split.train.texts, self.train.targets, len(split.names), self.settings.class_weights)
        if ngrams is None:
            return
        both = fitted_calibration(z, targets, ngrams.of(split.validation.texts), self._loss_weights)
        self.ngram_weight = both.weight
        if not both.weight:
            return
        for part, z in logits.items():
            alone = report.probabilities_of(z / self.temperature, self.settings.multi_label)
            beside[part].append(report.Beside(report.ALONE, "without n-grams", alone))
        self.temperature = both.temperature
        self.ngrams = ngrams.times(both.weight)

    def announced(self, feed: SampleFeed) -> list[str]:
        """See `Task`."""
        split, whole = self.split, self.split.whole
        test = "" if split.test is None else f", {len(split.test):,} to test"
        said = [
            f"Texts: {len(split.train):,} to learn {len(split.names):,} labels from, {len(split.validation):,} to "
            f"validate{test}; {feed.window:,} tokens in the mean, {feed.windows:,} steps per epoch"
        ]
        if len(split.validation) and not self.chooses:
            said.append("They are too few to choose a step by: the last one counts, whether it is the best or not.")
        for count, why in ((whole.duplicates, "came before"), (whole.empty, "are empty")):
            if count:
                said.append(f"{count:,} texts {why}, and are omitted.")
        if whole.conflicts:
            said.append(f"{whole.conflicts:,} of those had another label than the first of them, which counts.")
        if alike := differ_in_case(split.names):
            said.append(
                f"Caution: the labels {', '.join(alike[:6])} differ in case alone, and are learnt as different ones: "
                "give them one spelling if they are the same."
            )
        if count := tell_their_labels(split.train):
            said.append(
                f"Caution: {count:,} of the training texts hold the name of their own label, and few that of "
                "another: did it slip into them? Then all figures are too good, and new texts without it fare worse."
            )
        learnt = set(split.train.texts)
        for part, name in ((split.validation, "validation"), (split.test, "test")):
            if part is not None and (count := sum(text in learnt for text in part.texts)):
                said.append(f"{count:,} of the {name} texts are also in the training set.")
        unknown = self.tokenizer.unknown_id
        if unknown is not None and (count := sum(int((ids == unknown).sum()) for ids in self.train.ids)):
            said.append(f"{count:,} tokens of the texts are unknown to the model.")
        return said

    def card_rows(self) -> tuple[Rows, Rows, Sequence[str]]:
        """See `Task`."""
        split = self.split
        data = [
            ("training texts", f"{len(split.train):,}"),
            ("validation", f"{len(split.validation):,} texts"),
            ("test", "none" if split.test is None else f"{len(split.test):,} texts"),
        ]
        counted = "they are not counted" if self.ngram_weight is None else f"{self.ngram_weight:.3f}"
        settled = [("temperature", f"{self.temperature:.3f}"), ("weight of n-grams", counted)]
        return data, settled, split.names


def take_encoder(model: Encoder, base: ModelFolder) -> None:
    """Copy a language model's weights below its output layer into a model of the same encoder."""
    own = {name: tensor.detach().numpy() for name, tensor in model.named_parameters()}
    known = {name: base.tensors[name] for name in encoder_shapes(base.model, base.tokenizer.vocabulary_size)}
    model.load_tensors(own | known)
