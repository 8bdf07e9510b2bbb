"""What fine-tuning is worth: from a base model against from scratch, adapters against all weights, answers learnt.

    python benchmarks/finetuning.py scratch base-zh hongloumeng.txt --minutes 5 20
    python benchmarks/finetuning.py adapter base-zh hongloumeng.txt --steps 1500
    python benchmarks/finetuning.py speed base-zh --rank 8
    python benchmarks/finetuning.py answers base-zh oaast_sft_zh.json
    python benchmarks/finetuning.py characters runs/tang-poems hongloumeng.txt --add 500

Protocols. scratch: equal minutes by the clock, the two in turn; validation is the last tenth of the text, bits a byte
with carried state (20 lanes), measured once at the end; --plain has the settings of the training from scratch. adapter:
equal steps, the two in turn; steps a second are of the whole run. speed: 32 lanes of 64 random tokens, steps of all
weights, of an adapter to all matrices and of one to the cells' alone in turn, in one process; medians of --rounds.
answers: the last tenth of the conversations, nats a token of answers, before and after. characters: the text's most
frequent characters that the model lacks are added, and nothing is learnt; nats a character of those that it knew, in
the text's last tenth, carried, before and after.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from record import write_result

from tidegate.config import ModelConfig
from tidegate.folder.adapter import adapted_names
from tidegate.folder.model_folder import ModelFolder
from tidegate.models.adapted import AdaptedModel
from tidegate.models.language_model import LanguageModel
from tidegate.models.transfer import transferred
from tidegate.text.token_match import match
from tidegate.text.tokenizer import train
from tidegate.text.tokenizers.base import Tokenizer
from tidegate.tuning import LORA_PARTS

CARRIED = "carried_20lanes"


def run(words: list[str]) -> dict[str, Any]:
    """Run a training of tidegate into a temporary folder; returns what its log's last events say."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        subprocess.run(
            [sys.executable, "-m", "tidegate", *words, "--out", str(out)], check=True, stdout=subprocess.DEVNULL
        )
        events = [json.loads(line) for line in (out / "training/log.jsonl").read_text(encoding="utf-8").splitlines()]
        size = sum(path.stat().st_size for path in out.glob("*.safetensors"))
    evaluation = next(event for event in reversed(events) if event["event"] == "evaluation")
    before: dict[str, Any] = next((event for event in events if event["event"] == "before"), {})
    return {
        "before": {name: value for name, value in before.items() if "/" in name},
        "end": {name: value for name, value in events[-1].items() if "/" in name},
        "tokens": evaluation["tokens"],
        "steps_a_second": evaluation["step"] / evaluation["elapsed"],
        "bytes": size,
    }


def scratch(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fine-tune, and train from scratch, for equal minutes."""
    rows = []
    for minutes in arguments.minutes:
        for seed in arguments.seeds:
            common = ["--minutes", str(minutes), "--seed", str(seed), "--encoding", "auto"]
            tuned = run(["finetune", arguments.base, *arguments.data, *common, *shlex.split(arguments.tuned)])
            plain = run(["train", *arguments.data, *common, *shlex.split(arguments.plain)])
            key = f"{CARRIED}/bits_a_byte"
            better = 1 - tuned["end"][key] / plain["end"][key]
            print(
                f"{minutes} minutes, seed {seed}: fine-tuned {tuned['end'][key]:.4f}, from scratch "
                f"{plain['end'][key]:.4f} bits a byte, {better:.1%} lower",
                flush=True,
            )
            rows.append({"minutes": minutes, "seed": seed, "tuned": tuned, "scratch": plain, "lower": better})
    return {"runs": rows}


def adapter(arguments: argparse.Namespace) -> dict[str, Any]:
    """Learn all weights, and an adapter, for equal steps."""
    rows = []
    for seed in arguments.seeds:
        common = [arguments.base, *arguments.data, "--steps", str(arguments.steps), "--seed", str(seed)]
        full = run(["finetune", *common, *shlex.split(arguments.tuned)])
        low = run(["finetune", *common, "--lora-rank", str(arguments.rank), *shlex.split(arguments.adapted)])
        key = f"{CARRIED}/nats_a_token"
        worse = low["end"][key] / full["end"][key] - 1
        speed = low["steps_a_second"] / full["steps_a_second"]
        print(
            f"seed {seed}: all weights {full['end'][key]:.4f}, adapter {low['end'][key]:.4f} nats a token, "
            f"{worse:+.1%}; {low['bytes']:,} bytes; {speed:.2f} times the steps a second",
            flush=True,
        )
        rows.append({"seed": seed, "full": full, "adapter": low, "worse": worse, "speed": speed})
    medians = {name: statistics.median(row[name] for row in rows) for name in ("worse", "speed")}
    return {"runs": rows, "medians": medians}


def speed(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time whole steps, loss, gradients and AdamW, of all weights and of adapters."""
    folder = ModelFolder.read(arguments.base)
    V = folder.tokenizer.vocabulary_size
    models: dict[str, LanguageModel | AdaptedModel] = {}
    for name, parts in {"all weights": None, "adapter": LORA_PARTS, "adapter, cells": LORA_PARTS[:2]}.items():
        model = LanguageModel(folder.model, V)
        model.load_tensors(folder.tensors)
        adapted = None if parts is None else adapted_names(folder.model, V, parts)
        rank = arguments.rank
        models[name] = model if adapted is None else AdaptedModel(model, adapted, rank, 2.0 * rank, "")
    optimizers = {name: torch.optim.AdamW(model.parameters(), fused=True) for name, model in models.items()}
    inputs, targets = torch.randint(V, (64, 32)), torch.randint(V, (64, 32))
    times: dict[str, list[float]] = {name: [] for name in models}
    for round_ in range(arguments.rounds + 2):  # the first two warm up
        for name, learner in models.items():
            begun = time.perf_counter()
            (learner.loss(inputs, targets)[0] / inputs.numel()).backward()
            optimizers[name].step()
            optimizers[name].zero_grad()
            if round_ > 1:
                times[name].append(time.perf_counter() - begun)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    ratios = {name: medians["all weights"] / taken for name, taken in medians.items()}
    for name, taken in medians.items():
        print(f"{name}: {1e3 * taken:.0f} ms a step, {ratios[name]:.2f} times as many steps a second", flush=True)
    return {"seconds": medians, "ratios": ratios, "threads": torch.get_num_threads()}


def answers(arguments: argparse.Namespace) -> dict[str, Any]:
    """Learn to answer; the loss of held-out answers before and after."""
    rows = []
    for seed in arguments.seeds:
        words = ["finetune", arguments.base, *arguments.data, "--task", "instruct", "--seed", str(seed)]
        found = run([*words, *shlex.split(arguments.tuned)])
        before = found["before"][f"{CARRIED}/nats_a_token"]
        after = found["end"][f"answers_{CARRIED}/nats_a_token"]
        lower = 1 - after / before
        print(f"seed {seed}: {before:.4f} before, {after:.4f} after, {lower:.1%} lower", flush=True)
        rows.append({"seed": seed, "before": before, "after": after, "lower": lower, "run": found})
    return {"runs": rows, "median_lower": statistics.median(row["lower"] for row in rows)}


def characters(arguments: argparse.Namespace) -> dict[str, Any]:
    """Add characters to a model of characters; the loss of those that it knew, at step 0."""
    old = ModelFolder.read(arguments.base)
    text = old.tokenizer.normalize("".join(Path(path).read_text(encoding="utf-8") for path in arguments.data))
    lacking = Counter(character for character in text if old.tokenizer.missing(character))
    added = "".join(character for character, _ in lacking.most_common(arguments.add))
    new = old.tokenizer.joined(train("characters", [added]))
    held_out = text[len(text) * 9 // 10 :]
    known = torch.tensor([character not in lacking for character in held_out])
    tuned = transferred(old.tensors, match(old.tokenizer, new))
    before = loss_of(known, held_out, old.model, old.tokenizer, old.tensors)
    after = loss_of(known, held_out, old.model, new, tuned)
    rows = {"added": len(added), "lacking": len(lacking), "known_share": known.double().mean().item()}
    print(
        f"{len(added)} of {len(lacking)} characters added; of the known, nats: {before:.4f} before, {after:.4f} after"
    )
    return {**rows, "before": before, "after": after, "bound": math.log1p(1 / old.tokenizer.vocabulary_size)}


@torch.no_grad()
def loss_of(known: torch.Tensor, text: str, config: ModelConfig, tokenizer: Tokenizer, tensors: Any) -> float:
    """Return the mean loss of the characters that are marked as known, each read once, with carried state."""
    model = LanguageModel(config, tokenizer.vocabulary_size)
    model.load_tensors(tensors)
    ids = torch.from_numpy(tokenizer.encode(text).astype("int64"))[:, None]
    weight, state, nats = known[1:, None].float(), None, 0.0
    for at in range(0, len(ids) - 1, 256):
        end = min(at + 256, len(ids) - 1)
        loss, features = model.loss(ids[at:end], ids[at + 1 : end + 1], weight[at:end], state)
        nats, state = nats + loss.item(), features.state
    return nats / weight.sum().item()


def main() -> None:
    """Run one of them, print, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["scratch", "adapter", "speed", "answers", "characters"])
    parser.add_argument("base")
    parser.add_argument("data", nargs="*")
    parser.add_argument("--minutes", type=float, nargs="+", default=[5.0, 20.0])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--add", type=int, default=500, help="characters to add")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tuned", default="", help="more flags of the fine-tuning")
    parser.add_argument("--adapted", default="", help="more flags of the adapter's")
    parser.add_argument("--plain", default="--preset medium", help="flags of the training from scratch")
    parser.add_argument("--json", type=Path, help="where the result is written instead of results/")
    arguments = parser.parse_args()
    kinds = {f.__name__: f for f in (scratch, adapter, speed, answers, characters)}
    figures = kinds[arguments.what](arguments)
    settings = {name: value for name, value in vars(arguments).items() if name not in ("json", "data")}
    settings["data"] = [Path(path).name for path in arguments.data]
    written = write_result(
        f"finetuning-{arguments.what}", str(__doc__), {"settings": settings, **figures}, arguments.json
    )
    print(f"written: {written}")


if __name__ == "__main__":
    main()
