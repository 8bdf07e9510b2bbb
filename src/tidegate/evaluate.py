"""``tidegate evaluate``: measure a model on a text, under protocols that stand in the metrics' names."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from rich.table import Table
from rich.text import Text

from tidegate.config import DataConfig
from tidegate.errors import TidegateError
from tidegate.evaluation_config import EvaluateConfig
from tidegate.folder.adapter import merged, read_adapter
from tidegate.folder.model_folder import ModelFolder
from tidegate.folder.presence import is_file
from tidegate.models.language_model import LanguageModel
from tidegate.nn.sequence import kernels_line
from tidegate.nn.threads import use_threads
from tidegate.text.console import Console
from tidegate.text.messages import show_json
from tidegate.text.prepare import Prepared
from tidegate.text.store import TokenStore
from tidegate.training.adaptive import (
    DECAYS,
    RATES,
    SHARPNESSES,
    WEIGHTS,
    measure_cache,
    measure_dynamic,
    tuned_cache,
    tuned_dynamic,
)
from tidegate.training.measure import LossSum, Protocol, measure
from tidegate.training.record import read_record
from tidegate.training.run_folder import RunFolder
from tidegate.training.waiting import prepare_text, waiting, with_standard_input


def evaluate(config: EvaluateConfig) -> int:
    """Measure and print; returns the exit code."""
    console = Console(file=sys.stderr if config.json else sys.stdout)
    folder = ModelFolder.read(Path(config.model))
    use_threads(config.threads)
    store, what = _text(config, folder, console)
    if _chooses(config):  # before the long work
        _tuning_text(config, folder, console)
    model = LanguageModel(folder.model, folder.tokenizer.vocabulary_size)
    digest, V = folder.metadata["weights_digest"], folder.tokenizer.vocabulary_size
    adapters = [read_adapter(path, folder.model, V, digest) for path in config.adapter]
    model.load_tensors(merged(folder.tensors, adapters))
    console.print(Text(kernels_line()), soft_wrap=True)
    results: dict[str, LossSum] = {}
    for protocol in (Protocol(lanes=config.lanes), Protocol(window=config.window)):
        with waiting(console, f"measuring, {protocol.name}") as progress:
            results[protocol.name] = measure(model, store, folder.tokenizer, protocol, progress)
    results |= _adaptive(config, folder, model, store, console)
    if config.json:
        found = {
            f"{name}/{figure}": value for name, loss in results.items() for figure, value in loss.figures().items()
        }
        show_json({"text": what, "tokens": len(store) - 1, "unknown": store.unknown_count, **found})
    else:
        _print_table(console, what, store, results)
    return 0


def _adaptive(
    config: EvaluateConfig, folder: ModelFolder, model: LanguageModel, store: TokenStore, console: Console
) -> dict[str, LossSum]:
    """Measure as asked with a model that goes on learning as it reads."""
    results: dict[str, LossSum] = {}
    carried, lanes, tokenizer = Protocol(lanes=config.lanes).name, config.lanes, folder.tokenizer
    if config.neural_cache is not None:
        weights = WEIGHTS if config.cache_weight is None else (config.cache_weight,)
        sharpnesses = SHARPNESSES if config.cache_sharpness is None else (config.cache_sharpness,)
        tuned_on = _tuning_text(config, folder, console) if len(weights) * len(sharpnesses) > 1 else store
        with waiting(console, "choosing the cache's settings") as progress:
            cache = tuned_cache(model, tuned_on, tokenizer, lanes, config.neural_cache, weights, sharpnesses, progress)
        with waiting(console, f"measuring, {cache.name}") as progress:
            results[f"{carried}_{cache.name}"] = measure_cache(model, store, tokenizer, lanes, [cache], progress)[0]
    if config.dynamic:
        rates = RATES if config.dynamic_rate is None else (config.dynamic_rate,)
        decays = DECAYS if config.dynamic_decay is None else (config.dynamic_decay,)
        tuned_on = _tuning_text(config, folder, console) if len(rates) * len(decays) > 1 else store
        with waiting(console, "choosing the settings of dynamic evaluation") as progress:
            dynamic = tuned_dynamic(model, tuned_on, tokenizer, lanes, rates, decays, progress)
        with waiting(console, f"measuring, {dynamic.name}") as progress:
            results[f"{carried}_{dynamic.name}"] = measure_dynamic(model, store, tokenizer, lanes, dynamic, progress)
    return results


def _chooses(config: EvaluateConfig) -> bool:
    """Whether a setting is left to be chosen."""
    cache = config.neural_cache is not None and None in (config.cache_weight, config.cache_sharpness)
    return cache or (config.dynamic and None in (config.dynamic_rate, config.dynamic_decay))


def _tuning_text(config: EvaluateConfig, folder: ModelFolder, console: Console) -> TokenStore:
    """Return the validation text of the training, on which settings are chosen, never on the text that is measured."""
    if config.data is None:
        raise TidegateError(
            "Settings cannot be chosen on the text that they are measured on: name another text by --data, or give "
            "--cache-weight and --cache-sharpness, or --dynamic-rate and --dynamic-decay."
        )
    return _text(dataclasses.replace(config, data=None), folder, console)[0]


def _text(config: EvaluateConfig, folder: ModelFolder, console: Console) -> tuple[TokenStore, str]:
    """Return the tokens to measure on, and what they are."""
    direction = folder.model.direction
    if config.data is not None:
        data = DataConfig(
            data=(config.data,),
            validation=0,
            encoding=config.encoding,
            columns=config.columns,
            keep_duplicates=True,  # what is named is measured, all of it
        )
        data = with_standard_input(data, config.cache, console)
        return prepare_text(data, config.cache, console, folder.tokenizer).read_as(direction).train, config.data
    run = RunFolder(folder.path)
    if not is_file(run.record):
        raise TidegateError(f"{folder.path} does not say what it was trained on: name a text with --data.")
    record = read_record(run.record)
    if record.tuning is not None and record.tuning.task != "lm":
        raise TidegateError(
            f"{folder.path} was trained on conversations, and the loss of their answers is in its card: name a text to "
            "measure by --data."
        )
    prepared: Prepared = prepare_text(record.data, config.cache, console, folder.tokenizer).read_as(direction)
    if prepared.digest != record.data_digest:
        raise TidegateError(f"The text that {folder.path} was trained on has changed since: name one with --data.")
    if prepared.validation is None:
        raise TidegateError(f"{folder.path} was trained without a validation text: name a text with --data.")
    return prepared.validation, "the validation text of the training"


def _print_table(console: Console, what: str, store: TokenStore, results: dict[str, LossSum]) -> None:
    console.print(
        Text(
            f"{what}: {len(store) - 1:,} tokens predicted, {store.byte_count:,} bytes, "
            f"{store.character_count:,} characters"
        ),
        soft_wrap=True,
    )
    if store.unknown_count:
        share = store.unknown_count / len(store)
        console.print(
            Text(
                f"{store.unknown_count:,} tokens ({share:.2%}) are unknown to the vocabulary, predicted as such.",
                "yellow",
            )
        )
    table = Table()
    table.add_column("protocol", overflow="fold")
    for figure in ("nats/token", "perplexity", "bits/byte", "bits/character"):
        table.add_column(figure)
    for name, loss in results.items():
        table.add_row(name, *(f"{value:.4f}" for value in loss.figures().values()))
    console.print(table)
