"""Standard input is kept as a file, whole or not at all."""

from __future__ import annotations

import gzip
import io
import lzma

import pytest

from tidegate.errors import TidegateError
from tidegate.text.corpus import read_pieces
from tidegate.text.sources import find_sources
from tidegate.text.standard_input import keep_input


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_what_came_is_read_as_a_file(tmp_path, pack):
    data = pack("潮起潮落\n".encode() * 500_000)  # of several blocks
    path = keep_input(io.BytesIO(data), tmp_path / "new" / "cache")
    assert path.read_bytes() == data
    assert "".join(piece.text for piece in read_pieces(find_sources([path]))) == "潮起潮落\n" * 500_000
    assert keep_input(io.BytesIO(data), tmp_path / "new" / "cache") == path, "the same again is the same file"
    assert len(list((tmp_path / "new" / "cache").iterdir())) == 1


def test_nothing_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(TidegateError, match="Standard input is empty"):
        keep_input(io.BytesIO(b""), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TidegateError, match=r"could not be kept in .*file"):
        keep_input(io.BytesIO(b"text"), tmp_path / "file" / "cache")
