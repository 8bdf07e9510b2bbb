"""Characters a second from a 2×256 LSTM, beside the same model stepped by torch.nn.LSTM; its memory over a long text.

The rate: one process, the two in turn, medians of the rounds. The memory: a process of its own without PyTorch, its
resident size read as it writes. Random weights: neither the rate nor the memory depends on them.
    python benchmarks/generation.py
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from record import write_result
from rich.console import Console

import tidegate
from tidegate.config import ModelConfig
from tidegate.folder.model_folder import write_config, write_weights
from tidegate.models.language_model import LanguageModel
from tidegate.runtime.sampling import Sampling
from tidegate.text.tokenizer import train as learn_tokenizer

MEMORY = """
import re, sys, tidegate
from tidegate.runtime.sampling import Sampling
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1])
pieces = tidegate.load(sys.argv[1]).stream(max_tokens=int(sys.argv[2]), end_at_document=False)
for count, _ in enumerate(pieces, 1):
    if count % 1000 == 0:
        print(count, resident(), "torch" in sys.modules)
"""


def make_folder(folder: Path) -> LanguageModel:
    """Write a model folder of random weights over 65 characters."""
    tokenizer = learn_tokenizer("characters", ["".join(chr(65 + i) for i in range(63))])
    torch.manual_seed(0)
    model = LanguageModel(ModelConfig(layers=2, hidden_size=256), tokenizer.vocabulary_size)
    write_config(folder, model.config, tokenizer)
    write_weights(folder, model.tensors(), tokenizer)
    return model


@torch.no_grad()
def write_with_torch(model: LanguageModel, count: int) -> None:
    """Sample from the training half, one token at a time, as one does without a running half."""
    token, state = torch.zeros(1, 1, dtype=torch.int64), None
    for _ in range(count):
        logits, state = model(token, state)
        token = torch.multinomial(torch.softmax(logits[0] / 0.8, -1), 1)


def rate(write: Callable[[], object], count: int) -> float:
    """Return characters a second."""
    began = time.perf_counter()
    write()
    return count / (time.perf_counter() - began)


def main() -> None:
    """Measure both, print, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=2000, help="characters a round")
    parser.add_argument("--long", type=int, default=100_000, help="characters over which the memory is watched")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        model = make_folder(Path(name))
        runner, count = tidegate.load(name), arguments.count
        mine: list[float] = []
        theirs: list[float] = []
        for seed in range(arguments.rounds):
            sampling = Sampling(seed=seed)
            options = {"sampling": sampling, "max_tokens": count, "end_at_document": False}
            mine.append(rate(lambda options=options: runner.generate(**options), count))  # type: ignore[misc]
            theirs.append(rate(lambda: write_with_torch(model, count), count))
        words = [sys.executable, "-c", MEMORY, name, str(arguments.long)]
        lines = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split("\n")
    memory = [
        (int(count), int(kib), torch_there) for count, kib, torch_there in (line.split() for line in lines if line)
    ]
    figures = {
        "characters_a_second": statistics.median(mine),
        "peer_characters_a_second": statistics.median(theirs),
        "ratio": statistics.median(a / b for a, b in zip(mine, theirs, strict=True)),
        "rounds": arguments.rounds,
        "resident_mib_after_1000": memory[0][1] / 1024,
        "resident_mib_at_the_end": memory[-1][1] / 1024,
        "resident_mib_highest": max(kib for _, kib, _ in memory) / 1024,
        "characters": memory[-1][0],
        "torch_imported": any(there == "True" for *_, there in memory),
    }
    console = Console()
    console.print(figures)
    console.print(f"written: {write_result('generation', __doc__ or '', figures)}")


if __name__ == "__main__":
    main()
