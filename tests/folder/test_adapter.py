"""The adapter's files: what was written comes back; what is damaged, or of another model, is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tidegate.config import ModelConfig
from tidegate.errors import TidegateError
from tidegate.folder.adapter import SETTINGS, WEIGHTS, Adapter, adapted_names, read_adapter, write_adapter
from tidegate.folder.tensors import expected_shapes

CONFIG, V, DIGEST = ModelConfig("gru", 1, 6, 4), 7, "d" * 64


def make(rank=2, alpha=4.0, parts=("weight_hh", "embedding")):
    draw, shapes = np.random.default_rng(3), expected_shapes(CONFIG, V)
    tensors = {}
    for name in adapted_names(CONFIG, V, parts):
        tensors[f"{name}.A"] = draw.normal(size=(rank, shapes[name][1])).astype(np.float32)
        tensors[f"{name}.B"] = draw.normal(size=(shapes[name][0], rank)).astype(np.float32)
    return Adapter("base", DIGEST, rank, alpha, tensors)


@pytest.fixture
def folder(tmp_path):
    write_adapter(tmp_path, make())
    return tmp_path


def test_what_was_written_comes_back(folder):
    found, wanted = read_adapter(folder, CONFIG, V, DIGEST), make()
    assert (found.base, found.base_digest, found.rank, found.alpha) == ("base", DIGEST, 2, 4.0)
    assert found.scale == 2.0
    assert found.changed == ["blocks.0.cell.weight_hh_l0", "embedding.weight"]
    assert found.tensors.keys() == wanted.tensors.keys()
    for name, tensor in wanted.tensors.items():
        np.testing.assert_array_equal(found.tensors[name], tensor)


def test_another_model_is_refused(folder):
    with pytest.raises(TidegateError, match="belongs to another model"):
        read_adapter(folder, CONFIG, V, "e" * 64)


def test_a_folder_without_one(tmp_path):
    with pytest.raises(TidegateError, match="is no adapter"):
        read_adapter(tmp_path, CONFIG, V, DIGEST)


@pytest.mark.parametrize(
    "change",
    [
        {"rank": 0}, {"rank": 3}, {"rank": True}, {"alpha": 0.0}, {"alpha": "4"}, {"format_version": 2},
        {"format": "tidegate-model"}, {"more": 1}, {"base_digest": None}, {"tensors_digest": "0" * 64},
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_do_not_fit(folder, change):
    settings = json.loads((folder / SETTINGS).read_text())
    (folder / SETTINGS).write_text(json.dumps(settings | change))
    with pytest.raises(TidegateError, match=r"cannot be read|not the file|not those of such|belongs to another"):
        read_adapter(folder, CONFIG, V, DIGEST)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b" " * (2 << 20)], ids=len)
def test_settings_that_are_no_json(folder, content):
    (folder / SETTINGS).write_bytes(content)
    with pytest.raises(TidegateError, match="cannot be read as an adapter's settings"):
        read_adapter(folder, CONFIG, V, DIGEST)


def test_no_changed_byte_goes_unnoticed(folder):
    """Every byte of the tensors, and of the header every tenth."""
    whole = (folder / WEIGHTS).read_bytes()
    size = 8 + int.from_bytes(whole[:8], "little")
    for at in [*range(0, size, 10), *range(size, len(whole))]:
        (folder / WEIGHTS).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            found = read_adapter(folder, CONFIG, V, DIGEST)
        except TidegateError:
            continue
        for name, tensor in make().tensors.items():  # a byte of white space, or of what nobody reads
            np.testing.assert_array_equal(found.tensors[name], tensor)


def test_tensors_of_another_shape(folder):
    other = ModelConfig("gru", 1, 8, 4)
    with pytest.raises(TidegateError, match="not those of such a model's adapter"):
        read_adapter(folder, other, V, DIGEST)


def test_tensors_that_are_missing(folder):
    (folder / WEIGHTS).unlink()
    with pytest.raises(TidegateError, match="no whole safetensors file"):
        read_adapter(folder, CONFIG, V, DIGEST)


def test_numbers_that_are_not_finite(tmp_path):
    adapter = make()
    adapter.tensors["embedding.weight.A"][0, 0] = np.nan
    write_adapter(tmp_path, adapter)
    with pytest.raises(TidegateError, match="not finite"):
        read_adapter(tmp_path, CONFIG, V, DIGEST)
