"""The adapter's files: what was written comes back; what is damaged, or of another model, is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tests.edited_json import edit_json, make_older
from tidegate.config import ModelConfig
from tidegate.errors import TidegateError
from tidegate.folder import adapter as adapter_file
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
        {"rank": 0}, {"rank": 3}, {"rank": True}, {"alpha": 0.0}, {"alpha": "4"}, {"alpha": 5.0},
        {"format_version": 1}, {"format_version": 3}, {"format": "tidegate-model"}, {"more": 1}, {"base_digest": None},
        {"tensors_digest": "0" * 64},
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_do_not_fit(folder, change):
    edit_json(folder / SETTINGS, **change)
    with pytest.raises(TidegateError, match=r"cannot be read|not the file|not those of such|belongs to another"):
        read_adapter(folder, CONFIG, V, DIGEST)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b" " * (2 << 20)], ids=len)
def test_settings_that_are_no_json(folder, content):
    (folder / SETTINGS).write_bytes(content)
    with pytest.raises(TidegateError, match="cannot be read as an adapter's settings"):
        read_adapter(folder, CONFIG, V, DIGEST)


def test_no_changed_byte_goes_unnoticed(folder):
    whole = (folder / WEIGHTS).read_bytes()
    for at in range(len(whole)):
        (folder / WEIGHTS).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(TidegateError):
            read_adapter(folder, CONFIG, V, DIGEST)


def test_tensors_of_another_shape(folder):
    other = ModelConfig("gru", 1, 8, 4)
    with pytest.raises(TidegateError, match="not those of such a model's adapter"):
        read_adapter(folder, other, V, DIGEST)


def test_tensors_that_are_missing(folder):
    (folder / WEIGHTS).unlink()
    with pytest.raises(TidegateError, match="is missing"):
        read_adapter(folder, CONFIG, V, DIGEST)


def test_numbers_that_are_not_finite(tmp_path):
    adapter = make()
    adapter.tensors["embedding.weight.A"][0, 0] = np.nan
    write_adapter(tmp_path, adapter)
    with pytest.raises(TidegateError, match="not finite"):
        read_adapter(tmp_path, CONFIG, V, DIGEST)


def test_an_adapter_of_version_one_is_read(folder):
    """Its tensors' digest stood in the settings, which had none."""
    adapter = make()
    make_older(folder / SETTINGS, 1, tensors_digest=adapter.digest)
    assert read_adapter(folder, CONFIG, V, DIGEST).alpha == 4.0
    make_older(folder / SETTINGS, 1, tensors_digest="0" * 64)
    with pytest.raises(TidegateError, match="not the file"):
        read_adapter(folder, CONFIG, V, DIGEST)


def test_killed_between_its_writes_it_is_the_old_one(folder, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    new = make()
    new.tensors["embedding.weight.A"][0, 0] = 5
    for write in ("write_json", "write_tensor_file"):
        with monkeypatch.context() as patch:
            patch.setattr(adapter_file, write, killed)
            with pytest.raises(KeyboardInterrupt):
                write_adapter(folder, new)
        assert read_adapter(folder, CONFIG, V, DIGEST).digest == make().digest
