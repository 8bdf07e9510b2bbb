"""Learning tags of tokens: the sentences read, split and encoded, the tagger, its loss, how it is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tidegate.config import DataConfig, ModelConfig, TrainingConfig
from tidegate.errors import TidegateError
from tidegate.folder.model_folder import ModelFolder
from tidegate.folder.tagger_folder import TaggerFolder, write_tagger
from tidegate.labelling import LabelConfig
from tidegate.models.tagger import Tagger, TaggerShape, WordBatch
from tidegate.nn.dropout import DropoutMasks
from tidegate.text.console import Console
from tidegate.text.entities import are_entities, repaired, to_bioes
from tidegate.text.labelled import stratified
from tidegate.text.sentence_ends import cut_at_ends, joined
from tidegate.text.tag_schemes import respell, same_kinds
from tidegate.text.tagged import Sentence, TaggedFile, TagReading, read_tagged, sentences_digest
from tidegate.text.tokenizer import Tokenizer
from tidegate.text.tokenizers.base import canonical_digest
from tidegate.text.word_features import EncodedSentence, SentenceEncoder, WordVocabulary
from tidegate.theory.crf import Chain, best
from tidegate.training import tag_report as report
from tidegate.training.batches import Cursor
from tidegate.training.classify_task import SIDE_BY_SIDE, take_encoder
from tidegate.training.groups import freeze, freeze_encoder
from tidegate.training.label_feed import SampleFeed
from tidegate.training.optimize import Objective
from tidegate.training.state import TrainState, new_optimizer
from tidegate.training.task_run import Rows
from tidegate.training.waiting import waiting
from tidegate.tuning import TuningConfig

UNLEARNT = -1
"""stands for a tag that the training sentences lack"""


class TagSplit(NamedTuple):
    """The sentences of a run, by what they are for."""

    tags: tuple[str, ...]
    """all of them, in the order of the emissions; those of entities in BIOES"""
    train: list[Sentence]
    validation: list[Sentence]
    test: list[Sentence] | None
    digest: str
    """tells sentences, tags and split"""
    mended: int
    """tags of all sentences that were repaired, see `repaired`"""
    left_out: int
    """sentences that are not learnt from because the very same is held out"""
    said: tuple[str, ...]
    """how the tags and the sentences were read, where that is not as usual"""

    @property
    def are_entities(self) -> bool:
        """Whether the tags are those of entities."""
        return are_entities(self.tags)


def read_tag_split(data: DataConfig, labels: LabelConfig, seed: int) -> TagSplit:
    """Read tagged sentences and split them; a TidegateError for what the user can mend."""
    whole, held_out, test, said = _read(data, labels)
    left_out = 0
    if held_out is None:
        places, others = stratified([()] * len(whole), data.validation, seed)
        validation = [whole[i] for i in others]
        known = set(validation)
        train = [whole[i] for i in places if whole[i] not in known]
        left_out = len(places) - len(train)
    else:
        train, validation = whole, held_out
    parts = [train, validation, *([] if test is None else [test])]
    digest = canonical_digest([sentences_digest(part) for part in parts])
    mended = 0
    if are_entities(_tags([sentence for part in parts for sentence in part])):
        bioes = any(tag[:2] in ("E-", "S-") for part in parts for tag in _tags(part))
        mended = sum(repaired(s.tags, bioes) for part in parts for s in part)
        for part in parts:
            part[:] = [Sentence(s.tokens, to_bioes(s.tags)) for s in part]
    tags = _tags(train)
    if len(tags) < 2:
        raise TidegateError(
            f"The sentences have {len(tags)} tag ({', '.join(tags)}), but two and more are wanted: is it the right "
            "--tag-column?"
        )
    return TagSplit(tuple(tags), train, validation, test, digest, mended, left_out, tuple(said))


class TagTexts(NamedTuple):
    """The sentences that are named, with their tags in the usual spelling, and what is to be said of them."""

    whole: list[Sentence]
    validation: list[Sentence] | None
    test: list[Sentence] | None
    said: list[str]


def _read(data: DataConfig, labels: LabelConfig) -> TagTexts:
    how = TagReading(labels.token_column, labels.tag_column, labels.sentence_column, data.encoding)
    named = [data.data, *((one,) if one is not None else None for one in (data.validation_data, labels.test_data))]
    parts = [None if arguments is None else read_tagged(arguments, how) for arguments in named]
    files = [file for part in parts for file in part or []]
    said = respell(files)
    entities = are_entities(sorted({tag for file in files for sentence in file.sentences for tag in sentence.tags}))
    for file in files:
        said += _cut(file, entities, labels.cut_sentences)
    whole, validation, test = ([s for file in part or [] for s in file.sentences] for part in parts)
    validation, renamed = same_kinds(whole, validation)
    test, renamed_as_well = same_kinds(whole, test)
    # a file may be named twice, and what is said of it stands once
    said = list(dict.fromkeys([*said, *renamed, *renamed_as_well]))
    return TagTexts(whole, None if parts[1] is None else validation, None if parts[2] is None else test, said)


def _cut(file: TaggedFile, entities: bool, at_ends: bool) -> list[str]:
    """Cut the sentences of a file at their ends, or return a warning where they seem to be joined."""

    def is_outside(tag: str) -> bool:
        return tag == "O" or not entities

    if not at_ends:
        return list(filter(None, [joined(file.name, file.sentences, is_outside)]))
    before = len(file.sentences)
    file.sentences = [part for sentence in file.sentences for part in cut_at_ends(sentence, is_outside)]
    return [f"{file.name}: {before:,} sentences cut into {len(file.sentences):,} at their ends."]


def _tags(sentences: Sequence[Sentence]) -> list[str]:
    return sorted({tag for sentence in sentences for tag in sentence.tags})


class TagBatch(NamedTuple):
    """Sentences side by side, with their tags."""

    words: WordBatch
    tags: Tensor
    """``(W, B)`` int64"""
    cursor: Cursor

    @property
    def token_count(self) -> int:
        """Tokens of the language model."""
        return int(self.words.lengths.sum())


class EncodedSentences(NamedTuple):
    """Sentences as a tagger reads them."""

    sentences: list[EncodedSentence]
    tags: list[NDArray[np.int64]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each sentence."""
        return np.array([len(one.ids) for one in self.sentences], np.int64)

    def batch(self, places: NDArray[np.int64], cursor: Cursor) -> TagBatch:
        """Return the sentences at these places side by side."""
        some = [self.sentences[i] for i in places]
        lengths, counts = (np.array([len(one[part]) for one in some], np.int64) for part in (0, 2))
        spellings = list(dict.fromkeys(spelling for one in some for spelling in one.spellings))
        number = {spelling: u for u, spelling in enumerate(spellings)}
        spelled = np.array([len(spelling) for spelling in spellings], np.int64)
        shapes = (lengths.max(), len(some)), *[(counts.max(), len(some))] * 4, (spelled.max(), len(spellings))
        inputs, ends, words, spelling, tags, characters = (np.zeros(shape, np.int64) for shape in shapes)
        for lane, (one, i) in enumerate(zip(some, places, strict=True)):
            inputs[: lengths[lane], lane] = one.ids
            for array, values in (
                (ends, one.ends),
                (words, one.words),
                (spelling, [number[s] for s in one.spellings]),
                (tags, self.tags[i]),
            ):
                array[: counts[lane], lane] = values
        for lane, one_spelling in enumerate(spellings):
            characters[: len(one_spelling), lane] = one_spelling
        arrays = (inputs, lengths, ends, words, counts, spelling, characters, spelled)
        return TagBatch(WordBatch(*map(torch.from_numpy, arrays)), torch.from_numpy(tags), cursor)


@dataclass
class TagTask:
    """Tags of tokens."""

    split: TagSplit
    tokenizer: Tokenizer
    settings: LabelConfig
    what: str = "Tagger"
    verb: str = "tag"
    chooses: bool = True

    def __post_init__(self) -> None:
        self.digest = self.split.digest
        sentences = [sentence.tokens for sentence in self.split.train]
        self.vocabulary = WordVocabulary.of(sentences, self.settings.rare_words)
        self._encoder = SentenceEncoder(self.tokenizer, self.vocabulary)
        self._number = {tag: k for k, tag in enumerate(self.split.tags)}
        self.train = self._encoded(self.split.train)

    @cached_property
    def validation(self) -> EncodedSentences:
        """The sentences that are held out."""
        return self._encoded(self.split.validation)

    def _encoded(self, sentences: Sequence[Sentence]) -> EncodedSentences:
        tags = [
            np.array([self._number.get(tag, UNLEARNT) for tag in sentence.tags], np.int64) for sentence in sentences
        ]
        return EncodedSentences([self._encoder.encode(sentence.tokens) for sentence in sentences], tags)

    def begin(
        self, model: ModelConfig, bases: Sequence[ModelFolder], training: TrainingConfig, tuning: TuningConfig
    ) -> tuple[SampleFeed, TrainState]:
        """See `Task`."""
        if model.direction == "backward":
            raise TidegateError("A tagger needs a model that reads forward, but this one reads from the end.")
        torch.manual_seed(training.seed)
        s, vocabulary = self.settings, self.vocabulary
        shape = TaggerShape(
            len(vocabulary.words) + 1, len(vocabulary.characters) + 1, s.tag_cell, s.tag_units, s.word_size
        )
        tagger = Tagger(model, self.tokenizer.vocabulary_size, shape, self.split.tags)
        if bases and s.recipe != "scratch":
            take_encoder(tagger, bases[0])
        freeze(tagger, tuning.freeze)
        if s.recipe == "fast":
            freeze_encoder(tagger)
        feed = SampleFeed(self.train, training.lanes, training.seed)
        return feed, TrainState(tagger, new_optimizer(tagger, training, tuning), ())

    def ready(self, feed: SampleFeed, state: TrainState, console: Console) -> SampleFeed:
        """See `Task`."""
        return feed

    def objective(self, state: TrainState, batch: TagBatch, masks: DropoutMasks, config: TrainingConfig) -> Objective:
        """Compute the mean loss of a token."""
        loss = state.tagger.loss(batch.words, batch.tags, masks)
        return Objective(loss / batch.words.counts.sum(), 0.0, ())

    def evaluate(self, state: TrainState) -> dict[str, Any]:
        """See `Task`."""
        if not self.split.validation:
            return {}
        tags, nats = self._predicted(state.tagger, self.validation)
        figures = report.figures(self.split.validation, tags)
        return {"protocol": "validation sentences", "unit": "nats/token", "validation": nats, **figures}

    @torch.no_grad()
    def _predicted(self, tagger: Tagger, encoded: EncodedSentences) -> tuple[list[tuple[str, ...]], float]:
        """Return the likeliest tags of each sentence, and the mean loss of a token in nats."""
        chain = Chain(*(score.detach().numpy() for score in tagger.crf.scores()))
        found: list[tuple[str, ...]] = [()] * len(encoded.sentences)
        nats, tokens = 0.0, 0
        order = np.argsort(encoded.lengths, kind="stable").astype(np.int64)
        for begin in range(0, len(order), SIDE_BY_SIDE):
            places = order[begin : begin + SIDE_BY_SIDE]
            batch = encoded.batch(places, Cursor(0, 0))
            emissions = tagger.emissions(batch.words)
            # one with a tag that the training sentences lack has no likelihood: it counts in the other figures
            learnt = torch.tensor([bool((encoded.tags[i] != UNLEARNT).all()) for i in places])
            losses = tagger.crf.losses(emissions, batch.tags.clamp(min=0), batch.words.counts)
            nats += float(losses[learnt].double().sum())
            tokens += int(batch.words.counts[learnt].sum())
            for lane, i in enumerate(places):
                likeliest = best(emissions[: len(encoded.tags[i]), lane].numpy(), chain)
                found[i] = tuple(self.split.tags[k] for k in likeliest)
        return found, nats / max(1, tokens)

    def write(self, path: Path, model: ModelConfig, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """See `Task`."""
        s, shape = self.settings, TaggerShape(1, 1)
        write_tagger(
            path,
            TaggerFolder(
                model,
                self.tokenizer,
                self.split.tags,
                self.vocabulary,
                s.tag_cell,
                s.tag_units,
                s.word_size,
                shape.character_size,
                shape.character_units,
                dict(weights),
            ),
        )

    def finish(self, path: Path, state: TrainState, console: Console) -> tuple[dict[str, float], list[str]]:
        """See `Task`."""
        split = self.split
        parts = {"validation": (split.validation, self.validation)} if split.validation else {}
        if split.test is not None:
            parts["test"] = (split.test, self._encoded(split.test))
        parts = parts or {"training": (split.train, self.train)}
        with waiting(console, "measuring"):
            found = {part: (true, self._predicted(state.tagger, ids)[0]) for part, (true, ids) in parts.items()}
        return report.write_report(path, found)

    def announced(self, feed: SampleFeed) -> list[str]:
        """See `Task`."""
        split = self.split
        test = "" if split.test is None else f", {len(split.test):,} to test"
        what = "of entities, in BIOES; the tagger gives BIO" if split.are_entities else "each for itself"
        said = [
            f"Sentences: {len(split.train):,} to learn {len(split.tags):,} tags from ({what}), "
            f"{len(split.validation):,} to validate{test}; {feed.windows:,} steps per epoch",
            *split.said,
            f"{len(self.vocabulary.words):,} words and {len(self.vocabulary.characters):,} characters have a vector.",
        ]
        known = set(split.tags)
        if lacking := sum(not known.issuperset(s.tags) for part in (split.validation, split.test or []) for s in part):
            said.append(f"{lacking:,} of the others have tags that no training sentence has: the loss excludes them.")
        if split.mended:
            said.append(f"{split.mended:,} tags did not fit those beside them, such as I- after O, and were repaired.")
        if split.left_out:
            said.append(f"{split.left_out:,} sentences are also in the validation set, and are omitted.")
        learnt = set(split.train)
        for part, name in ((split.validation, "validation"), (split.test or [], "test")):
            if count := sum(sentence in learnt for sentence in part):
                said.append(f"{count:,} of the {name} sentences are also in the training set.")
        return said

    def card_rows(self) -> tuple[Rows, Rows, Sequence[str]]:
        """See `Task`."""
        s, split = self.settings, self.split
        data = [
            ("training sentences", f"{len(split.train):,}"),
            ("validation", f"{len(split.validation):,} sentences"),
            ("test", "none" if split.test is None else f"{len(split.test):,} sentences"),
            ("tags repaired", f"{split.mended:,}"),
        ]
        above = f"{s.tag_units} units of {s.tag_cell} in each direction, words of {s.word_size}; CRF"
        return data, [("above the encoder", above)], [t for t in split.tags if t[:2] not in ("I-", "E-", "S-")]
