"""How fast a classifier reads texts of all lengths, in training and in prediction, as a share of the machine's peak.

    python benchmarks/reading.py reviews.csv --base base-zh
    python benchmarks/reading.py reviews.jsonl --base base-en --label-column stars --threads 1

Only the products of the cells over tokens that are there count as work, three times in training: padding, embedding,
pooling, head, clipping and optimizer cost time and count for nothing. In each round, in turn: the peak (multiply-adds
from registers alone); layers of the encoder's size by themselves, forward and backward, 32 lanes and 64 steps, which
says what the kernels reach where nothing is ragged; training steps over the next texts of an epoch, all layers
learning; prediction without PyTorch, from ids, and from the text itself, its n-grams as well. Medians over the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kernel_cases.core import core, module
from kernel_cases.layers import Shape, operations, training
from kernel_cases.timing import Plan, Sample, in_turn, sampler
from record import write_result

from tidegate import native
from tidegate.config import DataConfig, ModelConfig, TrainingConfig
from tidegate.folder.label_folder import ClassifierFolder
from tidegate.folder.model_folder import ModelFolder
from tidegate.labelling import LabelConfig
from tidegate.runtime.classifier import Classifier
from tidegate.runtime.encoder import Encoder, text_ids
from tidegate.training.calibration import fitted_ngrams
from tidegate.training.classify_task import ClassifyTask, read_split
from tidegate.training.optimize import train_step
from tidegate.tuning import TuningConfig

LANES, WINDOW = 32, 64
"""of training's batches, and the steps of the layers by themselves"""
STEPS, TEXTS = 16, 1024
"""training steps, and predicted texts, of one sample"""


def work(model: ModelConfig, tokens: int, passes: int) -> int:
    """Count the operations of the cells' products over tokens."""
    return model.layers * operations(model.cell, Shape(1, tokens, model.hidden_size, model.hidden_size), passes)


def timed(operation: Callable[[], object]) -> float:
    began = time.perf_counter()
    operation()
    return time.perf_counter() - began


def training_sample(task: ClassifyTask, base: ModelFolder, threads: int) -> Sample:
    """Make the sampler of seconds an operation in training steps, each over the epoch's next texts."""
    config = TrainingConfig(lanes=LANES, dropout=0.3, output_dropout=0.3, threads=threads)
    feed, state = task.begin(base.model, [base], config, TuningConfig(model="", task="classify"))

    def sample() -> float:
        before = state.progress.tokens

        def steps() -> None:
            for _ in range(STEPS):
                train_step(state, feed.read(state.progress.cursor), config, 1e-3, objective=task.objective)

        seconds = timed(steps)
        return seconds / work(base.model, state.progress.tokens - before, 3)

    return sample


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Take all samples in turn."""
    plan = Plan(rounds=arguments.rounds, threads=arguments.threads)
    base, labels = ModelFolder.read(arguments.base), LabelConfig(label_column=arguments.label_column)
    split = read_split(DataConfig(data=(arguments.data,)), labels, 0)
    task, model = ClassifyTask(split, base.tokenizer, "forward", labels), base.model
    head = {
        "head.weight": np.zeros((len(split.names), 3 * model.hidden_size), np.float32),
        "head.bias": np.zeros(len(split.names), np.float32),
    }
    ngrams = fitted_ngrams(split.train.texts, task.train.targets, len(split.names), "none")
    assert ngrams is not None
    tensors = {**base.tensors, **head, **ngrams.tensors()}
    running = Classifier(ClassifierFolder(model, base.tokenizer, split.names, False, 1.0, False, tensors, ngrams.unit))
    texts = [split.train.texts[i] for i in np.random.default_rng(0).permutation(len(split.train))[:TEXTS]]
    ids = [text_ids(base.tokenizer, text) for text in texts]
    tokens = sum(map(len, ids))
    encoder = Encoder(model, base.tensors)

    layer = module(model.cell)(model.hidden_size, model.hidden_size)
    shape = Shape(LANES, WINDOW, model.hidden_size, model.hidden_size)
    x, d_y = (torch.randn(WINDOW, LANES, model.hidden_size) for _ in range(2))
    alone = sampler(training(layer, x, d_y), plan)
    samples: dict[str, Sample] = {
        "peak": lambda: 1 / core().peak_flops(plan.peak_seconds, plan.threads),
        "layers alone, training": lambda: alone() / operations(model.cell, shape, 3),
        "training": training_sample(task, base, plan.threads),
        "prediction from ids": lambda: timed(lambda: encoder.pooled(ids)) / work(model, tokens, 1),
        "prediction": lambda: timed(lambda: running.probabilities(texts)) / work(model, tokens, 1),
    }
    rounds = in_turn(samples, plan)
    seconds = {name: statistics.median(found) for name, found in rounds.seconds.items()}
    shares = {name: rounds.ratio("peak", name) for name in samples if name != "peak"}
    for name, share in shares.items():
        print(f"{name}: {share:.1%} of the peak", flush=True)
    of_kernels = rounds.ratio("layers alone, training", "training")
    texts_a_second = len(texts) / (seconds["prediction"] * work(model, tokens, 1))
    print(f"training: {of_kernels:.2f} of what the layers reach alone")
    print(f"prediction: {texts_a_second:.0f} texts a second, {tokens / len(texts):.0f} tokens in the mean")
    return {
        "peak_gflops": 1e-9 / seconds["peak"],
        "share_of_peak": shares,
        "training_of_layers_alone": of_kernels,
        "texts_a_second": texts_a_second,
        "tokens_a_text": tokens / len(texts),
        "gflops": {name: 1e-9 / value for name, value in seconds.items()},
    }


def main() -> None:
    """Measure, print, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="labelled texts: a table, .jsonl, or a folder of folders")
    parser.add_argument("--base", required=True, help="the model's folder, or the name of one that comes along")
    parser.add_argument("--label-column", default="label")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="where the result is written instead of results/")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    torch.set_num_threads(arguments.threads)
    native.use_threads(arguments.threads, exact=True)
    figures = measure(arguments)
    settings = {name: value for name, value in vars(arguments).items() if name not in ("json", "data")}
    print("written:", write_result("reading", str(__doc__), {"settings": settings, **figures}, arguments.json))


if __name__ == "__main__":
    main()
