"""What the classifiers and taggers reach on sets that others know, each beside TF-IDF and a logistic regression.

    python benchmarks/understanding.py texts DATA --work FOLDER
    python benchmarks/understanding.py hotels DATA --base base-zh
    python benchmarks/understanding.py few DATA --base base-zh --labels 100 1000
    python benchmarks/understanding.py topics DATA --base base-zh
    python benchmarks/understanding.py sst DATA --base base-en
    python benchmarks/understanding.py films DATA --base base-en
    python benchmarks/understanding.py chunks DATA --base base-en
    python benchmarks/understanding.py weibo DATA --base base-zh
    python benchmarks/understanding.py ewt DATA --base base-en

DATA is the folder of the sets. texts writes reviews, of goods that are no hotels, and of films, with the
training sentences of sst, from which recipes/reviews-zh.yaml, goods-zh.yaml and films-en.yaml learn. Protocols. hotels:
ChnSentiCorp_htl_all, exact duplicates dropped, ten stratified folds, seed 0; accuracy, and the interval of 95% of its
difference to the peer's, fold by fold (Student's t). few: the first --draws of these folds; of the training part so
many texts have labels, drawn anew each time, and the others are text without labels (recipe ulmfit; direct and scratch
have the labels alone). topics: online_shopping_10_cats by its ten categories, 80/10/10, each topic alike, seed 0. sst:
stsa.binary, the given split. films: ten folds by the hundreds of cv numbers. chunks: conll2000, the last 1,000
sentences of the training part are validation. weibo: weiboNER_2nd, given split. ewt: UPOS, given split. --seeds says
which seeds; folds are run once, with the first of them. The validation part chooses the step, the temperature and the
weight of n-grams; nothing is chosen on a test part. --flags are given to tidegate finetune; the peer's settings are
those of every report. --work keeps what is done and each fold's language model in a folder: a measurement that was
stopped goes on, and hotels and few share the language models, which read the same text whatever part of it has labels.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from record import write_result
from scipy.stats import t as student

from tidegate.text.labelled import LabelReading, read_labelled, stratified

Rows = list[tuple[str, str]]
"""label, text"""


def run(arguments: argparse.Namespace, name: str, task: str, train: Path, *more: str, seed: int = 0) -> Any:
    """Fine-tune into the folder of a name; return what the report says of the test, and the seconds of all."""
    out = train.parent / name
    shutil.rmtree(out, ignore_errors=True)  # of a measurement that was stopped; its language model is gone on with
    words = ["finetune", arguments.base, str(train), "--task", task, "--seed", str(seed), "--out", str(out)]
    words += [*more, "--cache", str(train.parent / "cache"), *shlex.split(arguments.flags)]
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "tidegate", *words], check=True, stdout=subprocess.DEVNULL)
    found = json.loads((out / "report.json").read_text(encoding="utf-8"))["test"]
    shutil.rmtree(out)
    return {**found, "seconds": time.monotonic() - began}


def write(path: Path, rows: Rows) -> Path:
    lines = (json.dumps({"label": label, "text": text}, ensure_ascii=False) + "\n" for label, text in rows)
    path.write_text("".join(lines), encoding="utf-8")
    return path


def once(
    arguments: argparse.Namespace, place: str, name: str, measured: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Measure, or return what was measured before under this name with the same model and flags."""
    folder = arguments.work / place
    folder.mkdir(parents=True, exist_ok=True)
    known, settings = folder / f"{name}.json", {"base": arguments.base, "flags": arguments.flags}
    if not known.exists():
        known.write_text(json.dumps(settings | measured()), encoding="utf-8")
    found: dict[str, Any] = json.loads(known.read_text(encoding="utf-8"))
    if any(found.pop(key, None) != value for key, value in settings.items()):
        raise SystemExit(f"{known} was measured with another --base or other --flags: choose another --work.")
    return found


def classify(
    arguments: argparse.Namespace, place: str, train: Rows, test: Rows, *more: str, name: str = "out", seed: int = 0
) -> dict[str, Any]:
    """Learn from rows and test on others; the peer on the same."""

    def measured() -> dict[str, Any]:
        paths = write(folder / f"{name}-train.jsonl", train), write(folder / f"{name}-test.jsonl", test)
        found = run(arguments, "out", "classify", paths[0], "--test-data", str(paths[1]), *more, seed=seed)
        return {
            "accuracy": found["accuracy"],
            "macro_f1": found["macro_f1"],
            "alone": found.get("without_ngrams", found)["accuracy"],
            "peer": found["peer"]["accuracy"],
            "peer_macro_f1": found["peer"]["macro_f1"],
            "texts": found["texts"],
            "seconds": found["seconds"],
        }

    folder = arguments.work / place
    folder.mkdir(parents=True, exist_ok=True)
    return once(arguments, place, name, measured)


def told(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Print and return means, and the interval of the paired difference."""
    accuracies, peers = ([row[name] for row in rows] for name in ("accuracy", "peer"))
    differences = [a - b for a, b in zip(accuracies, peers, strict=True)]
    found: dict[str, Any] = {
        "accuracy": statistics.mean(accuracies),
        "without n-grams": statistics.mean(row["alone"] for row in rows),
        "peer": statistics.mean(peers),
    }
    if len(rows) > 1:
        spread = statistics.stdev(differences) / math.sqrt(len(rows)) * float(student.ppf(0.975, len(rows) - 1))
        middle = statistics.mean(differences)
        found |= {"deviation": statistics.stdev(accuracies), "interval": [middle - spread, middle + spread]}
    print(", ".join(f"{name} {_percent(value)}" for name, value in found.items()), flush=True)
    return {"runs": rows, **found}


def _percent(value: Any) -> str:
    return " to ".join(f"{one:+.2%}" for one in value) if isinstance(value, list) else f"{value:.2%}"


def shown(what: str, row: dict[str, Any]) -> dict[str, Any]:
    print(f"{what}: {row['accuracy']:.2%}, without n-grams {row['alone']:.2%}, the peer {row['peer']:.2%}", flush=True)
    return row


def hotel_rows(data: Path) -> Rows:
    texts = read_labelled([str(data / "zh-sentiment/ChnSentiCorp_htl_all.csv")], LabelReading())
    return [(label, text) for (label,), text in zip(texts.labels, texts.texts, strict=True)]


def folds(rows: Rows, count: int) -> Iterator[tuple[Rows, Rows]]:
    """Yield stratified folds, seed 0: training part and test part."""
    rng, part = np.random.default_rng(0), np.zeros(len(rows), np.int64)
    for label in sorted({label for label, _ in rows}):
        places = rng.permutation([i for i, row in enumerate(rows) if row[0] == label])
        part[places] = np.arange(len(places)) % count
    for fold in range(count):
        yield (
            [row for row, k in zip(rows, part, strict=True) if k != fold],
            [row for row, k in zip(rows, part, strict=True) if k == fold],
        )


def unlabelled(arguments: argparse.Namespace, name: str, rows: Rows) -> tuple[str, ...]:
    """Return the flags that give rows as text without labels to read."""
    path = write(arguments.work / f"{name}.jsonl", [("", text) for _, text in rows])
    return "--unlabelled", str(path)


def learnt(arguments: argparse.Namespace, recipe: str, fold: int, train: Rows) -> tuple[str, ...]:
    """Return the flags of a recipe; ulmfit also reads the whole training part, without labels: the same text, and so
    the same language model, whatever part of it has labels."""
    text = unlabelled(arguments, f"fold-{fold}", train) if recipe == "ulmfit" else ()
    return "--recipe", recipe, *text


def hotels(arguments: argparse.Namespace) -> dict[str, Any]:
    found = {}
    for recipe in arguments.recipes or ["ulmfit"]:
        rows = []
        for fold, (train, test) in enumerate(folds(hotel_rows(arguments.data), 10)):
            if arguments.folds is None or fold in arguments.folds:
                more, name = learnt(arguments, recipe, fold, train), f"hotels-{recipe}"
                row = classify(arguments, f"fold-{fold}", train, test, *more, name=name, seed=arguments.seeds[0])
                rows.append({"fold": fold, **shown(f"{recipe}, fold {fold}", row)})
        found[recipe] = told(rows)
    return found


def few(arguments: argparse.Namespace) -> dict[str, Any]:
    found = {}
    parts = list(folds(hotel_rows(arguments.data), 10))[: arguments.draws]
    for count in arguments.labels:
        for recipe in arguments.recipes or ["ulmfit", "direct", "scratch"]:
            rows = []
            for fold, (train, test) in enumerate(parts):
                if arguments.folds is None or fold in arguments.folds:
                    _, known = stratified([(label,) for label, _ in train], count / len(train), fold)
                    more, name = learnt(arguments, recipe, fold, train), f"{count}-{recipe}"
                    labelled = [train[i] for i in known]
                    row = classify(arguments, f"fold-{fold}", labelled, test, *more, name=name, seed=arguments.seeds[0])
                    rows.append({"fold": fold, **shown(f"{count} labels, {recipe}, fold {fold}", row)})
            found[f"{count} {recipe}"] = told(rows)
    return found


def shopping_rows(data: Path) -> list[dict[str, str]]:
    with zipfile.ZipFile(data / "zh-sentiment/online_shopping_10_cats.zip") as archive:
        content = archive.read("online_shopping_10_cats.csv").decode("utf-8-sig")
    return [row for row in csv.DictReader(io.StringIO(content)) if row["review"].strip()]


def film_rows(data: Path) -> list[tuple[int, str, str]]:
    """Return fold, label and text of each review."""
    rows = []
    with zipfile.ZipFile(data / "nltk-movie-reviews/movie_reviews.zip") as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".txt") and "/cv" in name:
                path = Path(name)
                rows.append((int(path.name[2]), path.parent.name, archive.read(name).decode("latin-1")))
    return rows


def _plain(texts: list[str]) -> Rows:
    return [("", text) for text in texts]


def texts(arguments: argparse.Namespace) -> None:
    """Write the texts from which language models learn how reviews are written; those of goods have their labels,
    good or bad, for a classifier that hotels may start from."""
    hotels = {text.strip() for _, text in hotel_rows(arguments.data)}
    labels: dict[str, str] = {}
    for row in shopping_rows(arguments.data):
        if row["cat"] != "酒店":
            labels.setdefault(row["review"].strip(), row["label"])
    goods = [(label, text) for text, label in labels.items() if text not in hotels]
    goods = [goods[i] for i in np.random.default_rng(0).permutation(len(goods))]  # they lie by kind
    films = [text for _, _, text in film_rows(arguments.data)]
    sentences = [text for _, text in sst_rows(arguments.data, "train")]
    for name, found in (("reviews-zh", goods), ("films-en", _plain(films)), ("sentences-en", _plain(sentences))):
        path = write(arguments.work / f"{name}.jsonl", found)
        print(f"{len(found):,} texts: {path}")


def topics(arguments: argparse.Namespace) -> dict[str, Any]:
    rows = [(row["cat"], row["review"]) for row in shopping_rows(arguments.data)]
    rows = list({text: (label, text) for label, text in reversed(rows)}.values())[::-1]
    rest, test = stratified([(label,) for label, _ in rows], 0.1, 0)
    parts = [[rows[i] for i in places] for places in (rest, test)]
    share = ["--validation", str(1 / 9)]
    found = [classify(arguments, f"topics-{seed}", parts[0], parts[1], *share, seed=seed) for seed in arguments.seeds]
    return told([shown(f"seed {seed}", row) for seed, row in zip(arguments.seeds, found, strict=True)])


def sst_rows(data: Path, part: str) -> Rows:
    lines = (data / f"sst/stsa.binary.{part}").read_text(encoding="utf-8").splitlines()
    return [(line[0], line[2:]) for line in lines]


def sst(arguments: argparse.Namespace) -> dict[str, Any]:
    parts, rows = {part: sst_rows(arguments.data, part) for part in ("train", "dev", "test")}, []
    for seed in arguments.seeds:
        held_out = write(arguments.work / "sst-dev.jsonl", parts["dev"])
        given = ("--validation-data", str(held_out), "--keep-duplicates")
        row = classify(arguments, f"sst-{seed}", parts["train"], parts["test"], *given, seed=seed)
        rows.append(shown(f"seed {seed}", row))
    return told(rows)


def films(arguments: argparse.Namespace) -> dict[str, Any]:
    rows, found = film_rows(arguments.data), []
    for fold in range(10):
        if arguments.folds is None or fold in arguments.folds:
            train, test = ([(label, text) for k, label, text in rows if (k == fold) == held] for held in (False, True))
            row = classify(arguments, f"films-{fold}", train, test, seed=arguments.seeds[0])
            found.append({"fold": fold, **shown(f"fold {fold}", row)})
    return told(found)


def tagging(arguments: argparse.Namespace, figure: str, *more: str) -> dict[str, Any]:
    """Tag a given split; `more` are the flags that name it."""
    rows = []
    for seed in arguments.seeds:
        given = Path(more[0])
        train = arguments.work / given.name  # the run's folders stand beside its text
        train.write_bytes(given.read_bytes())

        def measured(train: Path = train, seed: int = seed) -> dict[str, Any]:
            return run(arguments, f"out-{seed}", "tag", train, *more[1:], seed=seed)

        found = once(arguments, ".", f"{arguments.what}-{seed}", measured)
        rows.append({"seed": seed, **{k: v for k, v in found.items() if isinstance(v, float)}})
        print(f"seed {seed}: {figure} {found[figure]:.2%}", flush=True)
    values = [row[figure] for row in rows]
    print(f"{figure} {statistics.mean(values):.2%}, from {min(values):.2%} to {max(values):.2%}", flush=True)
    return {"runs": rows, figure: statistics.mean(values)}


def chunks(arguments: argparse.Namespace) -> dict[str, Any]:
    sentences = (arguments.data / "conll2000/train.txt").read_text(encoding="utf-8").strip().split("\n\n")
    with tempfile.TemporaryDirectory() as name:
        train, held_out = Path(name) / "train.txt", Path(name) / "held_out.txt"
        train.write_text("\n\n".join(sentences[:-1000]) + "\n", encoding="utf-8")
        held_out.write_text("\n\n".join(sentences[-1000:]) + "\n", encoding="utf-8")
        test = ["--test-data", str(arguments.data / "conll2000/test.txt")]
        return tagging(arguments, "f1", str(train), "--validation-data", str(held_out), *test)


def weibo(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        paths = {}
        for part in ("train", "dev", "test"):
            lines = (arguments.data / f"weibo-ner/weiboNER_2nd_conll.{part}").read_text(encoding="utf-8").split("\n")
            # the digit after each character is its place in the word
            rows = [f"{cells[0][:1]}\t{cells[1]}" if len(cells := line.split("\t")) == 2 else "" for line in lines]
            paths[part] = Path(name) / f"{part}.txt"
            paths[part].write_text("\n".join(rows) + "\n", encoding="utf-8")
        given = ["--validation-data", str(paths["dev"]), "--test-data", str(paths["test"])]
        return tagging(arguments, "f1", str(paths["train"]), *given)


def ewt(arguments: argparse.Namespace) -> dict[str, Any]:
    train, held_out, test = (
        str(arguments.data / f"ud-english-ewt/en_ewt-ud-{part}.conllu.gz") for part in ("train", "dev", "test")
    )
    return tagging(arguments, "accuracy", train, "--validation-data", held_out, "--test-data", test)


def main() -> None:
    """Run one of them, print, write the result."""
    kinds = {f.__name__: f for f in (hotels, few, topics, sst, films, chunks, weibo, ewt)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["texts", *kinds])
    parser.add_argument("data", type=Path)
    parser.add_argument("--base", default="", help="the model to start from")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folds", type=int, nargs="+", help="of hotels, few and films, these alone")
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--recipes", nargs="+", help="of hotels, ulmfit by default, and of few, all but fast")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--work", type=Path, help="a folder that keeps what is done; by default one for the moment")
    parser.add_argument("--flags", default="", help="more flags of tidegate finetune")
    parser.add_argument("--json", type=Path, help="where the result is written instead of results/")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        arguments.work = arguments.work or Path(temporary)
        arguments.work.mkdir(parents=True, exist_ok=True)
        if arguments.what == "texts":
            return texts(arguments)
        figures = kinds[arguments.what](arguments)
    settings = {name: value for name, value in vars(arguments).items() if name not in ("json", "data", "work")}
    settings["base"] = Path(arguments.base).name
    print(
        "written:",
        write_result(
            f"understanding-{arguments.what}", str(__doc__), {"settings": settings, **figures}, arguments.json
        ),
    )


if __name__ == "__main__":
    main()
