"""How fast text is prepared, and in how little memory: `./run bench preparing`.

Text is generated from phrases of the embedded corpora, so that no two documents are equal and nothing has to be
fetched: English from Shakespeare as .txt files of 64 MB, Chinese from the Tang poems as .jsonl of short documents.
Speeds are bytes on the disk a second of `tidegate prepare` from a cold cache, start and all; memory is the sum of
RssAnon over the program and its processes, seen every 50 ms.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from record import write_result

from tidegate.text.corpus import read_pieces
from tidegate.text.embedded_corpora import embedded_corpus
from tidegate.text.sources import find_sources

MEGABYTE = 10**6
GOALS = {"bytes": 20.0, "characters": 20.0, "bpe": 5.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speed-megabytes", type=int, default=200, help="text for each speed")
    parser.add_argument("--memory-megabytes", type=int, default=2000, help="text for the memory, half in each language")
    parser.add_argument("--files", type=int, default=10_000, help="number of small files")
    parser.add_argument("--train-seconds", type=int, default=60)
    parser.add_argument("--folder", type=Path, help="where the text is written; by default a temporary folder")
    parser.add_argument("--only", choices=["speeds", "small_files", "memory"])
    parser.add_argument("--json", type=Path, help="where the result is written instead of results/")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="preparing-", dir=arguments.folder))
    try:
        measures = {
            "speeds": lambda: speeds(folder, arguments.speed_megabytes),
            "small_files": lambda: small_files(folder, arguments.files),
            "memory": lambda: memory(folder, arguments.memory_megabytes, arguments.train_seconds),
        }
        results = {name: measure() for name, measure in measures.items() if arguments.only in (None, name)}
        print(write_result("preparing", __doc__ or "", results, arguments.json))
    finally:
        shutil.rmtree(folder)


def speeds(folder: Path, megabytes: int) -> dict[str, Any]:
    """Prepare the same text by each tokenizer."""
    results = {}
    for language in ("english", "chinese"):
        write_text(folder / language, language, megabytes)
        size = sum(path.stat().st_size for path in (folder / language).iterdir())
        for kind, goal in GOALS.items():
            found = watched([*prepare_command(folder, language, kind)])
            shutil.rmtree(folder / "cache")
            rate = size / MEGABYTE / found["seconds"]
            results[f"{language}, {kind}"] = {**found, "megabytes_a_second": round(rate, 1), "goal": goal}
            mib = found["rss_anon_mib"]
            print(f"{language:8} {kind:11} {rate:6.1f} MB/s (goal {goal:g}), RssAnon {mib:,} MiB", flush=True)
        shutil.rmtree(folder / language)
    return results


def small_files(folder: Path, files: int) -> dict[str, Any]:
    """Prepare many files of a kilobyte."""
    texts = phrases("english", 0)
    (folder / "small").mkdir()
    for number in range(files):
        (folder / "small" / f"{number:06}.txt").write_text(next(texts)[:1000], encoding="utf-8")
    found = watched(prepare_command(folder, "small", "characters"))
    shutil.rmtree(folder / "cache")
    print(f"{files:,} files of 1 KB: {found['seconds']:.1f} s (goal 10)", flush=True)
    return {"files": files, **found}


def memory(folder: Path, megabytes: int, seconds: int) -> dict[str, Any]:
    """Prepare a large text of both languages, and train on it for a while."""
    write_text(folder / "large", "english", megabytes // 2)
    write_text(folder / "large", "chinese", megabytes // 2)
    cache = ["--cache", str(folder / "cache")]
    # of a tenth, 200 MB, the loss at the end would take an hour
    held_out = ["--validation", "0.002"]
    prepared = watched([*prepare_command(folder, "large", "bpe"), *held_out])
    mib = prepared["rss_anon_mib"]
    print(f"{megabytes:,} MB by bpe: {prepared['seconds']:.0f} s, RssAnon {mib:,} MiB (goal 1,000)", flush=True)
    model = ["--hidden-size", "512", "--minutes", str(seconds / 60), "--evaluations", "1", "--out", str(folder / "run")]
    trained = watched(
        [
            sys.executable,
            "-m",
            "tidegate",
            "train",
            str(folder / "large"),
            "--tokenizer",
            "bpe",
            *cache,
            *held_out,
            *model,
        ]
    )
    print(f"training on it: {trained['seconds']:.0f} s, RssAnon {trained['rss_anon_mib']:,} MiB", flush=True)
    return {"megabytes": megabytes, "prepare": prepared, "train": trained}


def prepare_command(folder: Path, name: str, kind: str) -> list[str]:
    command = [sys.executable, "-m", "tidegate", "prepare", str(folder / name), "--tokenizer", kind, "--json"]
    return [*command, "--cache", str(folder / "cache")]


def watched(command: list[str]) -> dict[str, Any]:
    """Run a command; return its seconds and the most anonymous memory that it and its processes held at a time."""
    began, most = time.monotonic(), 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        most = max(most, sum(map(rss_anon, family(process.pid))))
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with code {process.returncode}")
    return {"seconds": round(time.monotonic() - began, 2), "rss_anon_mib": most // 2**10}


def family(pid: int) -> Iterator[int]:
    """Yield a process and all below it, whichever of its threads started them."""
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = path.read_text().split()
        except OSError:  # the thread has ended
            continue
        for child in children:
            yield from family(int(child))


def rss_anon(pid: int) -> int:
    """Return a process's anonymous resident memory in KiB; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def write_text(folder: Path, language: str, megabytes: int) -> None:
    """Write about so much generated text into a folder."""
    folder.mkdir(exist_ok=True)
    texts = phrases(language, 1)
    number, left = 0, megabytes * MEGABYTE
    while left > 0:
        name = f"{language}-{number:04}" + (".txt" if language == "english" else ".jsonl")
        with open(folder / name, "wb") as file:
            while left > 0 and file.tell() < 64 * MEGABYTE:
                text = next(texts)
                line = text if language == "english" else json.dumps({"text": text}, ensure_ascii=False) + "\n"
                left -= file.write(line.encode("utf-8"))
        number += 1


def phrases(language: str, seed: int) -> Iterator[str]:
    """Yield texts of some kilobytes, of short phrases from all over an embedded corpus."""
    corpus = "shakespeare" if language == "english" else "tang-poems"
    whole = "".join(piece.text for piece in read_pieces(find_sources([embedded_corpus(corpus)])))
    draw = random.Random(seed)
    if language == "english":
        words = whole.split(" ")
        while True:
            starts = [draw.randrange(len(words) - 8) for _ in range(150)]
            yield " ".join(" ".join(words[start : start + draw.randrange(2, 8)]) for start in starts) + "\n"
    clauses = [clause for line in whole.split("\n") for clause in line.replace("。", "，").split("，") if clause]
    while True:
        yield "，".join(draw.choice(clauses)[draw.randrange(3) :] for _ in range(120)) + "。\n"


if __name__ == "__main__":
    main()
