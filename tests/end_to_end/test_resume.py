"""A training process is killed at random moments, and resumed until it ends: not one bit of the outcome may differ."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.numpy

from ..conftest import subprocess_environment

SETTINGS = [
    *"--hidden-size 24 --lanes 4 --window 16 --dropout 0.1 --threads 2".split(),
    *"--steps 800 --evaluations 6 --patience 0 --log-every 1 --save-seconds 0.2".split(),
]


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "tidegate", "train", *words]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    random.seed(0)
    words = ["潮", "起", "潮落", "the", "tide", "comes", "and", "goes，春去秋来", "again"]
    file.write_text(" ".join(random.choices(words, k=4000)), encoding="utf-8")
    return file


def outcome(folder: Path) -> tuple[dict[int, float], dict[int, float], dict[str, bytes]]:
    """Every loss, every validation loss, the weights."""
    events = [json.loads(line) for line in (folder / "training/log.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = {e["step"]: e["loss"] for e in events if e["event"] == "step"}
    validations = {e["step"]: e["validation"] for e in events if e["event"] == "evaluation"}
    assert len(losses) == sum(e["event"] == "step" for e in events), "a step stands twice in the log"
    # the order of the header's fields is the library's and changes from process to process: the tensors are compared
    weights = safetensors.numpy.load_file(folder / "model.safetensors")
    return losses, validations, {name: tensor.tobytes() for name, tensor in weights.items()}


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_killed_at_random_moments_and_resumed(tmp_path, text, cell):
    environment = subprocess_environment(tmp_path)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    settings = [*SETTINGS, "--cell", cell]
    subprocess.run(command(str(text), "--out", str(whole), *settings), check=True, env=environment, capture_output=True)

    dice, kills = random.Random(cell), 0
    arguments = [str(text), "--out", str(killed), *settings]
    while True:
        process = subprocess.Popen(
            command(*arguments), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        log = killed / "training/log.jsonl"
        before = log.stat().st_size if log.exists() else 0
        while process.poll() is None and (not log.exists() or log.stat().st_size <= before):
            time.sleep(0.01)  # until it trains: what is killed before has nothing to lose
        try:
            process.wait(timeout=dice.uniform(0.05, 0.8) if kills < 3 else 120)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        else:
            assert process.returncode == 0, process.stderr.read().decode() if process.stderr else ""
            break
        finally:
            if process.stderr:
                process.stderr.close()
        arguments = ["--resume", str(killed)]
    assert kills >= 1
    assert outcome(killed) == outcome(whole)


def test_ctrl_c_keeps_all_and_says_how_to_go_on(tmp_path, text):
    environment = subprocess_environment(tmp_path)
    folder = tmp_path / "run"
    process = subprocess.Popen(
        command(str(text), "--out", str(folder), *SETTINGS, "--steps", "1000000"),
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (folder / "training/checkpoint.safetensors").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"tidegate train --resume {folder}" in said
    assert (folder / "model.safetensors").exists()
    written = subprocess.run(
        [sys.executable, "-m", "tidegate", "generate", str(folder), "--max-tokens", "20"],
        env=environment, capture_output=True, check=True,
    )  # fmt: skip
    written.stdout.decode("utf-8")


def test_looking_changes_nothing(tmp_path, text):
    """Evaluations, samples and checkpoints leave no trace: no state and no random number leaks from them."""
    environment = subprocess_environment(tmp_path)
    found = []
    for often in ("1", "7"):
        folder = tmp_path / often
        settings = [*SETTINGS, "--steps", "200", "--evaluations", often]
        subprocess.run(
            command(str(text), "--out", str(folder), *settings), check=True, env=environment, capture_output=True
        )
        found.append(outcome(folder)[0])
    assert found[0] == found[1]
