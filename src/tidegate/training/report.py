"""The model card's content, gathered from a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tidegate.config import TrainingConfig
from tidegate.folder.card import Card
from tidegate.models.adapted import AdaptedModel
from tidegate.models.language_model import LanguageModel
from tidegate.text.prepare import Prepared
from tidegate.training.events import shown
from tidegate.training.measure import LossSum
from tidegate.training.record import RunRecord
from tidegate.training.state import TrainState
from tidegate.tuning import TALKS


def card_of(
    record: RunRecord,
    prepared: Prepared,
    state: TrainState,
    results: Mapping[str, LossSum],
    sample: str,
    copied: str | None = None,
    changes: Mapping[str, float] | None = None,
) -> Card:
    """Return the card of a run as it stands; copied: what of the sample the training text has, None if unknown;
    changes: of a fine-tuning, losses before and after."""
    training, progress = record.training, state.progress
    source = ", ".join(Path(name).name for name in record.data.data) or f"the embedded corpus {record.data.corpus}"
    return Card(
        title=f"{record.model.layers}×{record.model.hidden_size} {record.model.cell} language model",
        model=record.model,
        parameters=sum(p.numel() for p in _whole(state).parameters()),
        data=[
            ("text", source),
            ("digest of the text", record.data_digest),
            ("training tokens", f"{len(prepared.train):,}"),
            ("validation", _validation(record, prepared)),
            *_start(record),
            ("tokenizer", f"{prepared.tokenizer.kind}, {prepared.tokenizer.vocabulary_size:,} tokens"),
        ],
        training=[
            ("steps", f"{progress.step:,}, the best after {progress.best_step:,}"),
            ("tokens read", f"{progress.tokens:,}"),
            ("time", f"{progress.elapsed:.0f} s"),
            ("batch size × sequence length", f"{training.lanes} × {training.window}, truncated BPTT, state carried"),
            (
                "optimizer",
                f"AdamW, learning rate {training.learning_rate:g}, weight decay {training.weight_decay:g}, "
                f"epsilon {training.epsilon:g}, clip {training.clip:g}",
            ),
            ("loss among", _loss_among(training, prepared)),
            ("regularization", _regularization(training)),
            ("seed", str(training.seed)),
        ],
        results=[
            *(
                (f"{name}, {shown(figure)}", f"{value:.4f}")
                for name, loss in results.items()
                for figure, value in loss.figures().items()
            ),
            *((name, f"{value:.4f}") for name, value in (changes or {}).items()),
        ],
        samples=[sample] if sample else [],
        copied=[copied] if sample and copied is not None else [],
        command=record.command,
        versions=list(record.surroundings.items()),
        base="" if record.tuning is None else Path(record.tuning.model).name,
        is_adapter=isinstance(state.model, AdaptedModel),
        verb="chat" if record.tuning is not None and record.tuning.task in TALKS else "generate",
    )


def _whole(state: TrainState) -> LanguageModel:
    model = state.language_model
    return model.base if isinstance(model, AdaptedModel) else model


def _start(record: RunRecord) -> list[tuple[str, str]]:
    """Return what a fine-tuning started from."""
    tuning = record.tuning
    if tuning is None:
        return []
    rows = [("started from", f"{Path(tuning.model).name}, digest {record.base_digest}")]
    if tuning.lora_rank is not None:
        how = f"rank {tuning.lora_rank}, alpha {tuning.alpha:g}, on {', '.join(tuning.lora_parts)}"
        rows.append(("adapter", f"low-rank changes to it, {how}"))
    if tuning.replay:
        rows.append(("replay", f"{tuning.replay:g} of the batch reads {Path(tuning.old or '').name}"))
    return rows


def _loss_among(training: TrainingConfig, prepared: Prepared) -> str:
    size = training.output_sample
    if size is None or size >= prepared.tokenizer.vocabulary_size:
        return "all tokens"
    return f"a window's targets and {size:,} tokens, drawn by frequency; in evaluation all"


def _regularization(training: TrainingConfig) -> str:
    """Return dropouts, penalties and averaging as they were set; ``none`` where nothing was."""
    names = (
        *("dropout", "input_dropout", "output_dropout", "embedding_dropout", "weight_dropout"),
        *("ar", "tar", "ema"),
    )
    given = [(name.replace("_", " "), getattr(training, name)) for name in names]
    return ", ".join(f"{name} {value:g}" for name, value in given if value) or "none"


def _validation(record: RunRecord, prepared: Prepared) -> str:
    if prepared.validation is None:
        return "none"
    unknown = prepared.validation.unknown_count
    where = Path(record.data.validation_data or "").name or f"the last {record.data.validation:g} of the text"
    return f"{where}: {len(prepared.validation):,} tokens" + (f", {unknown:,} of them unknown" if unknown else "")
