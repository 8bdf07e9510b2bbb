"""Writing safetensors tensor by tensor: the library reads what was written, whatever the tensors and the metadata."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tidegate.errors import TidegateError
from tidegate.folder.tensor_file import DIGEST, content_digest, write_tensor_file

NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8).filter(
    lambda name: name != "__metadata__"
)
TENSORS = arrays.arrays("<f4", arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tensors=st.dictionaries(NAMES, TENSORS, max_size=5), metadata=st.dictionaries(NAMES, NAMES, max_size=3))
def test_the_library_reads_what_was_written(tmp_path, tensors, metadata):
    path = tmp_path / "tensors.safetensors"
    write_tensor_file(path, tensors, metadata)
    with safetensors.safe_open(path, framework="np") as file:
        assert file.metadata() == metadata | {DIGEST: content_digest(tensors, metadata)}
    found = safetensors.numpy.load_file(path)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].tobytes() == tensor.tobytes()
        assert found[name].shape == tensor.shape


def test_views_are_written_in_row_major_order(tmp_path):
    path, square = tmp_path / "tensors.safetensors", np.arange(12, dtype=np.float32).reshape(3, 4)
    write_tensor_file(path, {"a": square.T, "b": square[:, ::2], "c": square.astype(">f4")}, {})
    found = safetensors.numpy.load_file(path)
    np.testing.assert_array_equal(found["a"], square.T)
    np.testing.assert_array_equal(found["b"], square[:, ::2])
    np.testing.assert_array_equal(found["c"], square)


def test_no_second_copy_is_made(tmp_path, monkeypatch):
    """Each tensor goes to the file from its own memory."""
    written = []
    monkeypatch.setattr(
        "tidegate.folder.tensor_file.write_atomically",
        lambda path, write: write(type("File", (), {"write": lambda self, data: written.append(data)})()),
    )
    tensor = np.ones((4, 5), np.float32)
    write_tensor_file(tmp_path / "t", {"t": tensor}, {})
    assert np.shares_memory(np.frombuffer(written[-1], np.float32), tensor)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(TidegateError, match="could not be written"):
        write_tensor_file(tmp_path / "no" / "t", {}, {})
