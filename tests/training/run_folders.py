"""Run folders as a training leaves them, written without training: record, config and log."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from tidegate.config import DataConfig, ModelConfig, TrainingConfig
from tidegate.folder.model_folder import write_config
from tidegate.labelling import LabelConfig
from tidegate.text.tokenizer import train
from tidegate.training.record import RunRecord, write_record
from tidegate.tuning import TuningConfig

PROTOCOL = "carried_20lanes"


def write_run(
    path: Path,
    losses: tuple[float, ...] = (3.0, 2.0),
    *,
    data: DataConfig | None = None,
    model: ModelConfig | None = None,
    text: str = "text-digest",
    tokenizer: str = "tokenizer-digest",
    final: float | None = None,
    final_part: str = "",
    bytes_a_token: float = 1.0,
    started: str = "2026-11-01T10:20:30+00:00",
    more: tuple[dict[str, Any], ...] = (),
    task: str = "lm",
    scores: dict[str, float] | None = None,
) -> Path:
    """A run that has evaluated to these losses, and, where `final` is given, has ended with that one,
    of the whole validation text or of a part that the metric names. scores: of a task with labels, at the lowest loss,
    and at the end."""
    data, model = data or DataConfig(data=(f"/texts/{path.name}.txt",)), model or ModelConfig(hidden_size=8)
    (path / "training").mkdir(parents=True)
    digest = f"{text or 'older'}+{tokenizer}"
    record = RunRecord(data, model, TrainingConfig(), digest, tokenizer, {}, "tidegate train", text, started)
    unit = {"unit": "nats/text" if task == "classify" else "nats/token"} if task != "lm" else {}
    if task != "lm":
        tuning = TuningConfig(model="base-en", task=task)  # type: ignore[arg-type]
        record = dataclasses.replace(record, tuning=tuning, labels=LabelConfig())
    write_record(path / "training/run.json", record)
    write_config(path, model, train("characters", ["潮起潮落 the tide"], None), 1)
    events: list[dict[str, Any]] = []
    for number, loss in enumerate(losses, 1):
        common = {"step": 10 * number, "tokens": 1000 * number, "progress": number / 10, "elapsed": 60.0 * number}
        events.append({"event": "step", **common, "loss": loss, "tokens_a_second": 100.0 * number})
        told = {"protocol": PROTOCOL, "validation": loss, **unit, **(scores or {}), "sample": "春 ROMEO"}
        events.append({"event": "evaluation", **common, **told})
    events += more
    if final is not None:
        figures = {"nats_a_token": final, "bits_a_byte": final / math.log(2) / bytes_a_token}
        measured = {f"{PROTOCOL}{final_part}/{name}": value for name, value in figures.items()}
        if task != "lm":
            ended = {**(scores or {}), **({"nats_a_text": final} if task == "classify" else {})}
            measured = {f"validation/{name}": value for name, value in ended.items()}
        events.append({"event": "end", "step": 99, **measured})
    lines = [json.dumps(event, ensure_ascii=False) + "\n" for event in events]
    (path / "training/log.jsonl").write_text("".join(lines), encoding="utf-8")
    return path
