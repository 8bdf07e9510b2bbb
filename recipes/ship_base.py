"""Make a base model that travels with the package from a run: its weights in int8, and a card that names every source.

    python recipes/ship_base.py runs/base-zh texts/zh src/tidegate/bases/base-zh

The texts' folder is the one that recipes/base_texts.py made: its sources.json tells licences and shares, and on its
validation.jsonl the loss is measured before and after the rounding.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tidegate.folder.card import Card, write_card
from tidegate.folder.model_folder import WEIGHTS, ModelFolder, write_config, write_weights
from tidegate.models.language_model import LanguageModel
from tidegate.text.prepare import prepare
from tidegate.training.events import read_log
from tidegate.training.measure import CARRIED, LossSum, measure
from tidegate.training.record import read_record
from tidegate.training.run_folder import RunFolder
from tidegate.training.waiting import cache_folder

LARGEST = 8_000_000
"""bytes of the weights' file"""
CONTAMINATED = {
    "zh": "Tang poems (the corpus that comes along, and so chinese-poetry's tang300) and Song ci: whatever is measured "
    "on them. Not seen: 红楼梦, oasst-zh, hotel and shopping reviews, weibo-ner.",
    "en": "WikiText-2's training text, Shakespeare (so tiny Shakespeare), Jane Austen, the King James Bible. Not seen: "
    "Penn Treebank, WikiText-2's validation and test texts, SST, movie reviews, CoNLL-2000.",
}


def measured(folder: ModelFolder, text: Path) -> LossSum:
    """Measure a model on the held-out texts."""
    model = LanguageModel(folder.model, folder.tokenizer.vocabulary_size)
    model.load_tensors(folder.tensors)
    store = prepare([str(text)], cache=cache_folder(None), tokenizer=folder.tokenizer, validation=0).train
    return measure(model, store, folder.tokenizer, CARRIED)


def main() -> None:
    """Write the base model's folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    run, out, held_out = ModelFolder.read(arguments.run), arguments.out, arguments.texts / "validation.jsonl"
    record = read_record(RunFolder(arguments.run).record)
    write_config(out, run.model, run.tokenizer, run.documents)
    write_weights(out, run.tensors, run.tokenizer, int8=True)
    size = (out / WEIGHTS).stat().st_size
    if size > LARGEST:
        raise SystemExit(f"{out / WEIGHTS} has {size:,} bytes, {LARGEST:,} are the limit.")
    before, after = measured(run, held_out), measured(ModelFolder.read(out), held_out)
    sources = json.loads((arguments.texts / "sources.json").read_text(encoding="utf-8"))
    end = [event for event in read_log(RunFolder(arguments.run).log) if event["event"] == "evaluation"][-1]
    language = "zh" if out.name.endswith("zh") else "en"
    rows = [
        (
            row["name"],
            f"{row['share']:.1%} of the bytes; {row['documents']:,} documents, {row['characters']:,} characters; from "
            f"{row['from']}; licence: {row['licence']}",
        )
        for row in sources
    ]
    training = record.training
    card = Card(
        title=f"{out.name}: a small general model for {'Chinese' if language == 'zh' else 'English'}",
        model=run.model,
        parameters=sum(tensor.size for tensor in run.tensors.values()),
        data=[*rows, ("tokenizer", f"{run.tokenizer.kind}, {run.tokenizer.vocabulary_size:,} tokens")],
        training=[
            ("tokens read", f"{end['tokens']:,}"),
            ("time", f"{end['elapsed'] / 60:.0f} minutes"),
            ("lanes × window", f"{training.lanes} × {training.window}"),
            ("optimizer", f"AdamW, rate {training.learning_rate:g}, decay {training.weight_decay:g}"),
            ("storage", f"int8, {size:,} bytes"),
            ("evaluations that this text contaminates", CONTAMINATED[language]),
        ],
        results=[
            (
                f"{CARRIED.name}, held-out documents of these sources (one of fifty), bits/byte",
                f"{after.bits_a_byte:.4f}",
            ),
            ("the same, nats/token", f"{after.nats_a_token:.4f}"),
            ("the same before the rounding to int8, nats/token", f"{before.nats_a_token:.4f}"),
        ],
        command=f"tidegate train texts/{language}/train --validation-data texts/{language}/validation.jsonl "
        f"--config recipes/{out.name}.yaml",
        versions=list(record.surroundings.items()),
    )
    write_card(out, card)
    print(f"{out}: {size:,} bytes; {before.nats_a_token:.4f} nats/token, rounded {after.nats_a_token:.4f}")


if __name__ == "__main__":
    main()
