"""A run in a few figures, from its folder: whatever state it is in, and whatever is wrong with it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from tests.training.run_folders import PROTOCOL, write_run
from tidegate.config import DataConfig, ModelConfig
from tidegate.errors import TidegateError
from tidegate.models.language_model import LanguageModel
from tidegate.text.digested import without_digest
from tidegate.training.events import read_log, read_milestones
from tidegate.training.run_folder import RunFolder
from tidegate.training.summary import Evaluation, find_runs, summarize


def test_a_finished_run(tmp_path):
    data = DataConfig(data=("/texts/唐诗.txt", "/texts/b.md"), tokenizer="characters")
    run = summarize(write_run(tmp_path / "诗", (3.5, 2.5), data=data, final=2.6, bytes_a_token=3.0))
    assert (run.state, run.problem) == ("finished", None)
    assert (run.model, run.tokenizer, run.text) == ("2×8 lstm", "characters, 11", "唐诗.txt, b.md")
    assert (run.step, run.tokens, run.seconds, run.progress, run.tokens_a_second) == (20, 2000, 120.0, 0.2, 200.0)
    assert run.evaluations == [Evaluation(1000, 60.0, 3.5), Evaluation(2000, 120.0, 2.5)]
    assert (run.best_evaluation, run.final_nats, run.protocol) == (2.5, 2.6, PROTOCOL)
    assert run.final_bits == pytest.approx(2.6 / 0.693147 / 3, rel=1e-5)
    assert run.started == "2026-11-01T10:20:30+00:00"


def test_a_loss_of_a_part_of_the_validation_text(tmp_path):
    run = summarize(write_run(tmp_path / "run", final=2.6, bytes_a_token=3.0, final_part="_first_5000000"))
    assert run.final_nats == 2.6
    assert run.final_bits == pytest.approx(2.6 / 0.693147 / 3, rel=1e-5)


@pytest.mark.parametrize("config", [ModelConfig(hidden_size=8), ModelConfig("gru", 1, 6, 4, "plain", tied=True)])
def test_parameters_are_those_of_the_model(tmp_path, config):
    run = summarize(write_run(tmp_path / "run", model=config))
    assert run.parameters == sum(p.numel() for p in LanguageModel(config, 11).parameters())


def test_parameters_of_a_classifier_are_those_of_its_file(tmp_path):
    path = write_run(tmp_path / "run")
    (path / "config.json").unlink()
    assert summarize(path).parameters is None  # before it first saved
    save_file({"embedding.weight": np.zeros((11, 4), np.float32), "head.bias": np.zeros(3, np.float32)},
              path / "classifier.safetensors")  # fmt: skip
    run = summarize(path)
    assert (run.tokenizer, run.parameters) == ("characters, 11", 47)
    (path / "classifier.safetensors").write_bytes(b"torn")
    assert "no whole safetensors file" in str(summarize(path).problem)


def test_the_embedded_corpus_has_a_name(tmp_path):
    run = summarize(write_run(tmp_path / "run", data=DataConfig(corpus="tang-poems", tokenizer="bpe")))
    assert (run.text, run.tokenizer) == ("embedded corpus tang-poems", "bpe, 11")


def test_states(tmp_path):
    stop = {"event": "early_stop", "step": 20, "message": "no better"}
    assert summarize(write_run(tmp_path / "a")).state == "stopped"
    assert summarize(write_run(tmp_path / "b", final=2.0, more=(stop,))).state == "stopped early"
    folder = RunFolder(write_run(tmp_path / "c"))
    with folder.locked():
        assert summarize(folder.path).state == "running"
        assert folder.is_locked()
    assert summarize(folder.path).state == "stopped"
    assert not folder.is_locked()


def test_asking_whether_a_run_is_locked_leaves_no_lock(tmp_path):
    folder = RunFolder(write_run(tmp_path / "a"))
    assert not folder.is_locked()
    assert not (folder.training / "lock").exists()


def test_a_run_that_has_just_begun(tmp_path):
    path = write_run(tmp_path / "run", ())
    for name in ("training/log.jsonl", "config.json", "tokenizer.json"):
        (path / name).unlink()
    run = summarize(path)
    assert (run.state, run.progress, run.tokens, run.parameters) == ("stopped", 0, 0, None)
    assert (run.best_evaluation, run.final_nats, run.final_bits, run.tokens_a_second) == (None, None, None, None)


def test_a_loss_that_is_not_finite_is_none(tmp_path):
    run = summarize(write_run(tmp_path / "run", (float("nan"), 2.0, float("inf"))))
    assert [evaluation.nats for evaluation in run.evaluations] == [2.0]


def test_a_record_of_an_older_version_is_read(tmp_path):
    path = write_run(tmp_path / "run")
    record = without_digest(json.loads((path / "training/run.json").read_text(encoding="utf-8")))
    del record["text_digest"], record["started"]
    record["format_version"] = 4
    (path / "training/run.json").write_text(json.dumps(record), encoding="utf-8")
    run = summarize(path)
    assert (run.state, run.text_digest, run.started) == ("stopped", "", "")


DAMAGES = [
    ("training/run.json", None, "no training/run.json"),
    ("training/run.json", b'{"format": ', "cannot be read as the record"),
    ("training/run.json", b"\xff\xfe", "cannot be read as the record"),
    ("training/run.json", b"[" * 100_000, ""),
    ("config.json", b"{}", "config.json"),
    ("training/log.jsonl", b'{"event": "evaluation", "step": 1, "validation": "low"}\n', "unexpected value"),
    ("training/log.jsonl", b'{"event": "evaluation", "step": 1, "validation": 2.0}\n', "unexpected value"),
    ("training/log.jsonl", b'{"event": "evaluation", "step": 1, "tokens": 1e999}\n', "unexpected value"),
]


@pytest.mark.parametrize(("name", "content", "said"), DAMAGES)
def test_a_broken_run_says_why(tmp_path, name, content, said):
    path = write_run(tmp_path / "run")
    if content is None:
        (path / name).unlink()
    else:
        (path / name).write_bytes(content)
    run = summarize(path)
    assert run.state == "broken"
    assert run.problem is not None
    assert said in run.problem


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=60)
    | st.from_regex(rb'\{"event": "(step|evaluation|end)", "step": [0-9]+.{0,30}', fullmatch=True)
)
def test_no_log_raises(tmp_path_factory, line):
    path = write_run(tmp_path_factory.mktemp("runs") / "run")
    with open(path / "training/log.jsonl", "ab") as file:
        file.write(line)
    assert summarize(path).state in ("stopped", "finished", "broken")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["step", "evaluation", "rollback", "end"]), max_size=12))
def test_milestones_are_the_log_without_its_steps_but_the_last(tmp_path_factory, kinds):
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    events = [{"event": kind, "step": number, "sample": "潮\u2028"} for number, kind in enumerate(kinds)]
    torn = b'{"event": "step", "step": 99, "los'
    path.write_bytes("".join(json.dumps(e, ensure_ascii=False) + "\n" for e in events).encode() + torn)
    steps = [event for event in events if event["event"] == "step"]
    assert read_log(path) == events
    assert read_milestones(path) == [event for event in events if event not in steps[:-1]]


def test_runs_are_found_at_any_level(tmp_path):
    for name in ("b", "sweep/x/1", "a", ".hidden/c"):
        write_run(tmp_path / name)
    (tmp_path / "model").mkdir()
    assert [str(path.relative_to(tmp_path)) for path in find_runs(tmp_path)] == ["a", "b", "sweep/x/1"]
    assert find_runs(tmp_path / "a") == [tmp_path / "a"]


@pytest.mark.parametrize(("name", "said"), [("nowhere", "is no folder"), ("empty", "has no runs in it")])
def test_where_there_are_no_runs_it_says_so(tmp_path, name, said):
    (tmp_path / "empty").mkdir()
    with pytest.raises(TidegateError, match=said):
        find_runs(tmp_path / name)
