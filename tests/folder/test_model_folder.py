"""A model folder is read whole or refused with a sentence that helps."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass

import numpy as np
import pytest

import tidegate.folder.model_folder as model_folder
from tests.edited_json import edit_json, make_older
from tests.runtime.small_models import KINDS, TEXT, random_tensors, tokenizer_of, write_folder
from tidegate.config import ModelConfig
from tidegate.errors import TidegateError
from tidegate.folder.model_folder import ModelFolder, write_config, write_weights
from tidegate.folder.tensors import write_tensors
from tidegate.text.digested import with_digest, without_digest
from tidegate.text.tokenizer import train


@pytest.fixture
def path(tmp_path):
    return write_folder(tmp_path / "模型")


def edit(path, **changes):
    """Change fields of config.json; those of the model by their own name."""
    file = path / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    for name, value in changes.items():
        (config["model"] if name in config["model"] or name in ("hiden_size", "dropout") else config)[name] = value
    edit_json(file, **config)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read(tmp_path, kind):
    config = ModelConfig(cell="gru", hidden_size=4, embedding_size=3, tied=True)
    path = write_folder(tmp_path / kind, kind, config)
    folder = ModelFolder.read(path)
    assert folder.model == config
    assert folder.tokenizer.digest == tokenizer_of(kind).digest
    assert np.array_equal(folder.tokenizer.encode(TEXT), tokenizer_of(kind).encode(TEXT))
    assert folder.metadata["tokenizer_digest"] == folder.tokenizer.digest
    written = random_tensors(config, folder.tokenizer.vocabulary_size)
    assert all(np.array_equal(folder.tensors[name], written[name]) for name in written)


def test_the_folder_is_enough_by_itself_in_any_place(path, tmp_path):
    shutil.move(path, tmp_path / "elsewhere")
    assert ModelFolder.read(str(tmp_path / "elsewhere")).model.hidden_size == 8


def test_weights_are_written_anew_in_place(path):
    tokenizer = tokenizer_of()
    tensors = random_tensors(ModelConfig(hidden_size=8), tokenizer.vocabulary_size, seed=5)
    write_weights(path, tensors, tokenizer)
    assert np.array_equal(ModelFolder.read(path).tensors["output.bias"], tensors["output.bias"])
    assert sorted(p.name for p in path.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]


def test_config_is_readable_json(path):
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    assert (config["format"], config["format_version"]) == ("tidegate-model", 3)
    assert config["model"]["hidden_size"] == 8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format_version": 4}, "format_version 4, but this Tidegate reads 3: use the version"),
        ({"format_version": 0}, "format_version 0"),
        ({"format_version": True}, "format_version True"),
        ({"format_version": "1"}, "format_version '1'"),
        ({"format": "other"}, "format 'other', but 'tidegate-model' was wanted"),
        ({"vocabulary_sise": 3}, r"unknown field 'vocabulary_sise' \(did you mean 'vocabulary_size'\?\)"),
        ({"hiden_size": 8}, r"unknown field 'hiden_size' \(did you mean 'hidden_size'\?\)"),
        ({"hidden_size": 9}, r"embedding.weight has the shape \(\d+, 8\), but \(\d+, 9\) was wanted"),
        ({"hidden_size": 10**9}, "config.json: hidden_size is 1000000000, but it must be from 1 to 16384"),
        ({"hidden_size": "8"}, 'hidden_size is "8", but int was wanted'),
        ({"hidden_size": 8.0}, "hidden_size is 8.0, but int was wanted"),
        ({"layers": True}, "layers is true, but int was wanted"),
        ({"tied": 1}, "tied is 1, but bool was wanted"),
        ({"cell": "lstn"}, r"cell is 'lstn'.*did you mean 'lstm'"),
        ({"cell": ["lstm"]}, r"cell is \[\"lstm\"\]"),
        ({"layers": 3}, "lacks the tensor blocks.2"),
        ({"layers": 1}, "holds the tensor blocks.1"),
        ({"block": "plain"}, "norm.weight"),
        ({"dropout": 0.5}, "unknown field 'dropout'"),
        ({"model": 3}, "model is 3, but a dict was wanted"),
        ({"vocabulary_size": 3}, "vocabulary_size 3, but tokenizer.json has"),
        ({"vocabulary_size": None}, "vocabulary_size is null"),
        ({"tokenizer_digest": "0" * 64}, "belongs to the tokenizer 000000000000"),
    ],
)
def test_a_changed_config_is_refused(path, changes, words):
    edit(path, **changes)
    with pytest.raises(TidegateError, match=words):
        ModelFolder.read(path)


def test_two_grus_of_the_same_shapes_are_told_apart(tmp_path):
    path = write_folder(tmp_path / "gru", config=ModelConfig(cell="gru", hidden_size=4))
    edit(path, cell="gru_reset_before")
    with pytest.raises(TidegateError, match="was written for the settings"):
        ModelFolder.read(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xfe", b"3", b'{"format": NaN}', b"[" * 100_000, b'{"format": "' + b"x" * 2**20 + b'"}'],
    ids=["empty", "torn", "list", "binary", "number", "NaN", "deep", "large"],
)
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_broken_json_file_is_refused(path, name, content):
    (path / name).write_bytes(content)
    with pytest.raises(TidegateError) as raised:
        ModelFolder.read(path)
    assert str(path / name) in str(raised.value)
    assert len(str(raised.value)) < 1000


def test_an_older_version_is_migrated_step_by_step(path, monkeypatch):
    def from_minus_one(config):
        return {**{k: v for k, v in config.items() if k != "words"}, "vocabulary_size": config["words"]}

    edit(path, format_version=-1)
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    config["words"] = config.pop("vocabulary_size")
    (path / "config.json").write_text(json.dumps(with_digest(without_digest(config))), encoding="utf-8")
    others = {version: lambda config: config for version in (0, 1, 2)}
    monkeypatch.setattr(model_folder, "MIGRATIONS", {-1: from_minus_one, **others})
    assert ModelFolder.read(path).model.hidden_size == 8


def test_a_vocabulary_of_the_same_size_in_another_order_is_refused(path):
    """torch-rnn issue 147: the text would come out as a cipher."""
    mine = tokenizer_of()
    other = train("characters", [TEXT.replace("R", "Q")])
    assert mine.vocabulary_size == other.vocabulary_size
    (path / "tokenizer.json").write_text(json.dumps(other.to_json()), encoding="utf-8")
    with pytest.raises(TidegateError, match="they are of two models"):
        ModelFolder.read(path)
    edit(path, tokenizer_digest=other.digest)  # even where the config was made to fit, the weights tell
    with pytest.raises(TidegateError, match=r"model\.safetensors belongs to the tokenizer"):
        ModelFolder.read(path)
    with pytest.raises(TidegateError, match="they are of two models"):
        write_weights(path, ModelFolder.read(write_folder(path.parent / "b")).tensors, mine)


def test_weights_of_another_model_are_not_written(path):
    tokenizer = tokenizer_of()
    before = (path / "model.safetensors").read_bytes()
    with pytest.raises(TidegateError, match="shape"):
        write_weights(path, random_tensors(ModelConfig(hidden_size=9), tokenizer.vocabulary_size), tokenizer)
    assert (path / "model.safetensors").read_bytes() == before


def test_what_is_no_model_folder_is_told_so(path, tmp_path):
    with pytest.raises(
        TidegateError, match=r"There is no folder .*nowhere: give a model folder, which holds config\.json"
    ):
        ModelFolder.read(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TidegateError, match=r"is no model folder: it lacks config\.json and tokenizer\.json"):
        ModelFolder.read(tmp_path / "empty")
    with pytest.raises(TidegateError, match="is a file, but a model folder was wanted"):
        ModelFolder.read(path / "config.json")


def test_a_run_stopped_before_its_first_save_is_told_so(tmp_path):
    write_config(tmp_path / "run", ModelConfig(), tokenizer_of())
    with pytest.raises(TidegateError, match=r"stopped before it first saved; resume it with tidegate train --resume"):
        ModelFolder.read(tmp_path / "run")


def test_a_place_where_no_folder_can_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(TidegateError, match="could not be made"):
        write_config(tmp_path / "file" / "run", ModelConfig(), tokenizer_of())


def test_a_folder_of_version_one_is_read(path):
    """It had dropout among the model's settings, in config.json and in the weights' file."""
    settings = {**json.loads((path / "config.json").read_text(encoding="utf-8"))["model"], "dropout": 0.25}
    tokenizer = tokenizer_of()

    @dataclass(frozen=True)
    class OldConfig(ModelConfig):
        dropout: float = 0.25

    old = OldConfig(**settings)
    tensors = random_tensors(old, tokenizer.vocabulary_size)
    write_tensors(path / "model.safetensors", tensors, old, tokenizer.vocabulary_size, tokenizer.digest)
    make_older(path / "config.json", 1, model=settings)
    folder = ModelFolder.read(path)
    assert folder.model == ModelConfig(hidden_size=8)
    assert '"dropout":0.25' in folder.metadata["model"].replace(" ", "")
