"""model.safetensors: what it must hold, and that no change of it goes unnoticed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime.small_models import FORMS, random_tensors
from tidegate.config import ModelConfig
from tidegate.errors import TidegateError
from tidegate.folder.tensor_file import content_digest
from tidegate.folder.tensors import expected_shapes, read_tensors, write_tensors

CONFIG, V = ModelConfig(cell="gru", hidden_size=3, layers=1, embedding_size=2), 5


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "model.safetensors"
    write_tensors(path, random_tensors(CONFIG, V), CONFIG, V, "d" * 64)
    return path


def test_the_table_of_a_tied_model_whose_sizes_differ():
    assert expected_shapes(ModelConfig(cell="lstm", layers=1, hidden_size=3, embedding_size=2, tied=True), 5) == {
        "embedding.weight": (5, 2),
        "embedding_projection.weight": (3, 2),
        "blocks.0.norm.weight": (3,),
        "blocks.0.cell.weight_ih_l0": (12, 3),
        "blocks.0.cell.weight_hh_l0": (12, 3),
        "blocks.0.cell.bias_ih_l0": (12,),
        "blocks.0.cell.bias_hh_l0": (12,),
        "final_norm.weight": (3,),
        "output_projection.weight": (2, 3),
        "output.bias": (5,),
    }


def test_the_table_of_a_free_plain_model():
    assert expected_shapes(ModelConfig(cell="rnn", layers=1, hidden_size=3, block="plain"), 5) == {
        "embedding.weight": (5, 3),
        "blocks.0.cell.weight_ih_l0": (3, 3),
        "blocks.0.cell.weight_hh_l0": (3, 3),
        "blocks.0.cell.bias_ih_l0": (3,),
        "blocks.0.cell.bias_hh_l0": (3,),
        "output.weight": (5, 3),
        "output.bias": (5,),
    }


@pytest.mark.parametrize("config", FORMS[::5], ids=str)
def test_what_is_written_is_read(tmp_path, config):
    written = random_tensors(config, V)
    write_tensors(tmp_path / "w", written, config, V, "abc")
    read, metadata = read_tensors(tmp_path / "w", config, V)
    assert read.keys() == written.keys()
    assert all(np.array_equal(read[name], written[name]) and read[name].dtype == np.float32 for name in written)
    assert metadata["tokenizer_digest"] == "abc"
    assert metadata["format_version"] == "1"
    assert metadata["weights_digest"] == content_digest(read, metadata)


def test_the_digest_sees_names_shapes_bytes_and_metadata_but_no_order():
    a, b = np.ones((2, 3), np.float32), np.zeros(2, np.float32)
    digest = content_digest({"a": a, "b": b}, {"k": "v"})
    assert digest == content_digest({"b": b, "a": np.asfortranarray(a)}, {"k": "v"})
    others = [
        content_digest({"a": a, "c": b}, {"k": "v"}),
        content_digest({"a": a.reshape(3, 2), "b": b}, {"k": "v"}),
        content_digest({"a": a * 2, "b": b}, {"k": "v"}),
        content_digest({"a": a, "b": -b}, {"k": "v"}),  # -0.0 is another value
        content_digest({"a": a, "b": b}, {"k": "w"}),
    ]
    assert len({digest, *others}) == 6


def test_tensors_that_are_not_contiguous_are_written_right(tmp_path):
    tensors = {name: np.asfortranarray(t) for name, t in random_tensors(CONFIG, V).items()}
    write_tensors(tmp_path / "w", tensors, CONFIG, V, "abc")
    read, _ = read_tensors(tmp_path / "w", CONFIG, V)
    assert all(np.array_equal(read[name], tensors[name]) for name in tensors)


@settings(max_examples=80, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_changed_byte_anywhere_is_refused(tmp_path_factory, place, flip):
    path = tmp_path_factory.mktemp("changed") / "w"
    write_tensors(path, random_tensors(CONFIG, V), CONFIG, V, "d" * 64)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= flip
    path.write_bytes(content)
    with pytest.raises(TidegateError, match=str(path)):
        read_tensors(path, CONFIG, V)


def test_the_header_and_its_padding_are_guarded(weights):
    content = weights.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    padding = range(len(content[:end].rstrip(b" ")), end)
    flips = [(at, 1 << at % 8) for at in range(0, end, 5)] + [(at, 0x29) for at in padding]  # 0x29: a space to a tab
    for at, flip in flips:
        changed = bytearray(content)
        changed[at] ^= flip
        weights.write_bytes(changed)
        with pytest.raises(TidegateError):
            read_tensors(weights, CONFIG, V)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(weights, share):
    content = weights.read_bytes()
    weights.write_bytes(content[: int(share * len(content))])
    with pytest.raises(TidegateError, match=r"no whole safetensors file.*restore the file"):
        read_tensors(weights, CONFIG, V)


def test_more_bytes_than_written_are_refused(weights):
    weights.write_bytes(weights.read_bytes() + b"\0")
    with pytest.raises(TidegateError):
        read_tensors(weights, CONFIG, V)


def rewritten(path, change):
    """Write the file again with changed tensors or metadata and a fitting digest, as a careful forger would."""
    tensors = safetensors.numpy.load_file(path)
    with safetensors.safe_open(path, framework="np") as file:
        metadata = dict(file.metadata())
    change(tensors, metadata)
    if all(t.dtype == np.float32 for t in tensors.values()):
        metadata["weights_digest"] = content_digest(tensors, metadata)
    safetensors.numpy.save_file(tensors, path, metadata)


def put(name, value):
    return lambda tensors, metadata: tensors.__setitem__(name, value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t, m: t.pop("output.bias"), r"lacks the tensor output.bias \(5,\)"),
        (put("extra.weight", np.zeros(2, np.float32)), r"holds the tensor extra.weight \(2,\)"),
        (put("output.bias", np.zeros(6, np.float32)), r"output.bias has the shape \(6,\), but \(5,\) was wanted"),
        (put("output.bias", np.zeros(5, np.float64)), r"output.bias is of dtype F64, but F32"),
        (put("output.bias", np.zeros(5, np.float16)), r"output.bias is of dtype F16, but F32"),
        (
            put("output.bias", np.array([0, 1, np.nan, 0, 0], np.float32)),
            r"output.bias holds numbers that are not finite",
        ),
        (
            put("output.bias", np.array([0, 1, np.inf, 0, 0], np.float32)),
            r"output.bias holds numbers that are not finite",
        ),
        (
            lambda t, m: m.__setitem__("format_version", "2"),
            r"version '2', but 'tidegate-model', version 1, was wanted",
        ),
        (lambda t, m: m.__setitem__("format", "pt"), r"format 'pt'"),
        (lambda t, m: m.__setitem__("note", "x"), r"metadata .*note"),
        (lambda t, m: m.pop("model"), r"metadata"),
    ],
)
def test_what_is_not_the_models_is_named(weights, change, words):
    rewritten(weights, change)
    with pytest.raises(TidegateError, match=words):
        read_tensors(weights, CONFIG, V)


def test_a_file_of_another_program_is_refused(tmp_path):
    safetensors.numpy.save_file(random_tensors(CONFIG, V), tmp_path / "w")
    with pytest.raises(TidegateError, match="format None"):
        read_tensors(tmp_path / "w", CONFIG, V)


def test_nothing_that_could_not_be_read_is_written(tmp_path):
    tensors = random_tensors(CONFIG, V)
    tensors["output.bias"][2] = np.nan
    with pytest.raises(TidegateError, match="not finite"):
        write_tensors(tmp_path / "w", tensors, CONFIG, V, "abc")
    assert not list(tmp_path.iterdir())


def test_the_settings_stand_in_the_metadata(weights):
    _, metadata = read_tensors(weights, CONFIG, V)
    assert json.loads(metadata["model"])["cell"] == "gru"


def test_the_documentation_names_every_tensor():
    """docs/formats.md and the table in the code are one."""
    text = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    every = {name.replace("blocks.0.", "blocks.{i}.") for form in FORMS for name in expected_shapes(form, V)}
    every = {name for name in every if not name.startswith("blocks.1.")}
    assert set(re.findall(r"^\| `([\w.{}]+\.(?:weight|bias|\w+_l0))` \|", text, re.MULTILINE)) == every


@pytest.mark.parametrize("config", FORMS, ids=str)
def test_int8_is_off_by_half_a_step_at_most(tmp_path, config):
    """Each row of a matrix is rounded to whole parts of its own largest number; vectors are as they were."""
    path, tensors = tmp_path / "model.safetensors", random_tensors(config, V)
    write_tensors(path, tensors, config, V, "d" * 64, int8=True)
    found, metadata = read_tensors(path, config, V)
    assert metadata["storage"] == "int8"
    for name, tensor in tensors.items():
        assert found[name].dtype == np.float32
        if tensor.ndim < 2:
            np.testing.assert_array_equal(found[name], tensor)
            continue
        step = np.abs(tensor).max(axis=1, keepdims=True) / 127
        assert np.all(np.abs(found[name] - tensor) <= step * (0.5 + 1e-4))
    again = tmp_path / "again.safetensors"
    write_tensors(again, found, config, V, "d" * 64, int8=True)  # what is rounded stays as it is
    for name, tensor in read_tensors(again, config, V)[0].items():
        np.testing.assert_allclose(tensor, found[name], rtol=1e-6)


def test_no_byte_of_an_int8_file_changes_unnoticed(tmp_path):
    path = tmp_path / "model.safetensors"
    write_tensors(path, random_tensors(CONFIG, V), CONFIG, V, "d" * 64, int8=True)
    whole = path.read_bytes()
    assert len(whole) < 8 * 1024
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(TidegateError):
            read_tensors(path, CONFIG, V)


def test_a_row_of_zeros_stays(tmp_path):
    path, tensors = tmp_path / "model.safetensors", random_tensors(CONFIG, V)
    tensors["embedding.weight"][2] = 0.0
    write_tensors(path, tensors, CONFIG, V, "d" * 64, int8=True)
    assert not read_tensors(path, CONFIG, V)[0]["embedding.weight"][2].any()
