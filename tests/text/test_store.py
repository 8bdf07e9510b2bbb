import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.edited_json import edit_json
from tidegate.errors import TidegateError
from tidegate.text.block_work import Ids, divided, encode
from tidegate.text.blocks import Block
from tidegate.text.corpus import Piece
from tidegate.text.store import ReversedStore, StoreWriter, TokenStore, id_dtype
from tidegate.text.tokenizer import Tokenizer, from_json, train

PIECES = [Piece("床前明月光\n", True), Piece("moon", False), Piece("疑是地上霜", True), Piece("?", True)]


def ids_of(piece: Piece, tokenizer: Tokenizer) -> Ids:
    block = Block([piece.text], [piece.starts_document])
    return encode(divided(block, np.ones(1, bool), 10**9).trained, tokenizer, id_dtype(tokenizer))


def written(folder: Path, tokenizer: Tokenizer, shard_tokens: int = 5, pieces: list[Piece] = PIECES) -> TokenStore:
    with StoreWriter(folder, tokenizer, shard_tokens) as writer:
        for piece in pieces:
            writer.write(ids_of(piece, tokenizer))
        writer.finish()
    return TokenStore(folder, tokenizer.digest)


def test_the_ids_are_documents_and_their_tokens(tmp_path: Path) -> None:
    tokenizer = train("bytes", [])
    store = written(tmp_path / "s", tokenizer)
    first, rest, second, third = (tokenizer.encode(piece.text).tolist() for piece in PIECES)
    expected = [256, *first, *rest, 256, *second, 256, *third]
    assert store.read(0, len(store)).tolist() == expected
    assert store.read(0, len(store)).dtype == np.int64
    assert store.document_starts.tolist() == [0, 1 + len(first + rest), 2 + len(first + rest + second)]
    assert [expected[start] for start in store.document_starts] == [256, 256, 256]
    assert store.byte_count == len(expected) - 3
    assert store.character_count == sum(len(piece.text) for piece in PIECES)
    assert store.unknown_count == 0


DOCUMENTS = st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=6)


@given(documents=DOCUMENTS, cut=st.booleans(), start=st.integers(0, 50), stop=st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_read_from_the_end_each_document_follows_its_token(documents, cut, start, stop) -> None:
    """`cut`: the text begins amid a document, as a validation part may."""
    assume(documents[0] or not cut)
    parts = [[] if cut and not place else [256] for place in range(len(documents))]
    ids = [token for head, document in zip(parts, documents, strict=True) for token in [*head, *document]]
    expected = [token for document in documents[::-1] for token in [256, *document[::-1]]]
    store = object.__new__(TokenStore)
    shard = SimpleNamespace(read=lambda start, stop: np.array(ids, np.int64)[start:stop])
    store._shards, store._shard_tokens, store._tokens = [shard], max(1, len(ids)), len(ids)
    store._marks_from, store.is_marked = None, False
    store.document_starts = np.flatnonzero(np.array(ids) == 256).astype(np.int64)
    store.byte_count = store.character_count = store.unknown_count = 0
    store.tokenizer_digest = ""
    turned = ReversedStore(store, 256)
    assert len(turned) == len(expected)
    assert turned.read(0, len(turned)).tolist() == expected
    assert turned.document_starts.tolist() == [i for i, token in enumerate(expected) if token == 256]
    start, stop = sorted((min(start, len(turned)), min(stop, len(turned))))
    assert turned.read(start, stop).tolist() == expected[start:stop]
    assert turned.read_marked(start, stop)[1].all()
    with pytest.raises(IndexError):
        turned.read(0, len(turned) + 1)


def test_unknown_tokens_are_counted(tmp_path: Path) -> None:
    store = written(tmp_path / "s", train("characters", ["床前明月光\n"]))
    assert store.unknown_count == len("moon" + "疑是地上霜" + "?")


@given(start=st.integers(0, 33), count=st.integers(0, 33), shard_tokens=st.integers(1, 40))
@settings(max_examples=15, deadline=None)
def test_many_shards_read_as_one(
    tmp_path_factory: pytest.TempPathFactory, start: int, count: int, shard_tokens: int
) -> None:
    folder = tmp_path_factory.mktemp("store")
    tokenizer = train("characters", ["床前明月光疑是地上霜"])
    one = written(folder / "one", tokenizer, 10**6)
    many = written(folder / "many", tokenizer, shard_tokens)
    stop = min(start + count, len(one))
    start = min(start, stop)
    np.testing.assert_array_equal(many.read(start, stop), one.read(start, stop))
    np.testing.assert_array_equal(many.document_starts, one.document_starts)
    assert len(list((folder / "many").glob("ids-*"))) == -(-len(one) // shard_tokens)


def test_reading_outside_is_an_index_error(tmp_path: Path) -> None:
    store = written(tmp_path / "s", train("bytes", []))
    for start, stop in ((-1, 2), (3, 2), (0, len(store) + 1)):
        with pytest.raises(IndexError):
            store.read(start, stop)


@pytest.mark.parametrize(("characters", "dtype"), [(2**16 - 2, "uint16"), (2**16 - 1, "uint32")])
def test_the_ids_take_two_bytes_where_they_fit(tmp_path: Path, characters: int, dtype: str) -> None:
    vocabulary = "".join(chr(code) for code in range(0x20000, 0x20000 + characters))
    store = written(tmp_path / "s", train("characters", [vocabulary]), 10**6, [Piece(vocabulary[-3:] + "?", True)])
    assert json.loads((tmp_path / "s" / "meta.json").read_text())["dtype"] == dtype
    document, unknown = characters, characters + 1
    assert store.read(0, 5).tolist() == [document, characters - 3, characters - 2, characters - 1, unknown]


def test_a_part_may_have_no_document_start(tmp_path: Path) -> None:
    store = written(tmp_path / "s", train("bytes", []), 5, [Piece("ab", False)])
    assert store.document_starts.shape == (0,)
    assert store.read(0, 2).tolist() == [97, 98]


def test_a_vocabulary_in_another_order_is_refused(tmp_path: Path) -> None:
    tokenizer = train("words", [" the the of of a"])
    written(tmp_path / "s", tokenizer)
    data = tokenizer.to_json()
    turned = from_json({**data, "words": data["words"][::-1]})
    assert turned.vocabulary_size == tokenizer.vocabulary_size
    with pytest.raises(TidegateError, match=f"{tokenizer.digest[:12]}…, but {turned.digest[:12]}… is wanted"):
        TokenStore(tmp_path / "s", turned.digest)


def test_an_unfinished_store_is_none(tmp_path: Path) -> None:
    tokenizer = train("bytes", [])
    with StoreWriter(tmp_path / "s", tokenizer) as writer:
        writer.write(ids_of(PIECES[0], tokenizer))
    with pytest.raises(TidegateError, match="no token store"):
        TokenStore(tmp_path / "s", tokenizer.digest)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("format_version", 1, "has version 1, 2 is wanted"),
        ("format", "x", "2 is wanted"),
        ("dtype", "float64", "wrong field"),
        ("token_count", -1, "wrong field"),
        ("token_count", 10**15, "bytes are|are wanted"),
        ("token_count", "9", "wrong field"),
        ("shard_tokens", 0, "wrong field"),
        ("byte_count", None, "wrong field"),
        ("document_count", 2, r"document_starts\.bin has 24 bytes, 16 are wanted"),
        ("tokenizer_digest", 5, "wrong field"),
    ],
)
def test_a_wrong_meta_is_refused(tmp_path: Path, field: str, value: object, said: str) -> None:
    tokenizer = train("bytes", [])
    written(tmp_path / "s", tokenizer, 10**6)
    edit_json(tmp_path / "s" / "meta.json", **{field: value})
    with pytest.raises(TidegateError, match=said):
        TokenStore(tmp_path / "s", tokenizer.digest)


def test_truncated_or_missing_files_are_refused(tmp_path: Path) -> None:
    tokenizer = train("bytes", [])
    written(tmp_path / "s", tokenizer, 10)
    shard = tmp_path / "s" / "ids-00001.bin"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(TidegateError, match=r"ids-00001\.bin has 19 bytes, 20 are wanted"):
        TokenStore(tmp_path / "s", tokenizer.digest)
    shard.unlink()
    with pytest.raises(TidegateError, match=r"ids-00001\.bin is missing"):
        TokenStore(tmp_path / "s", tokenizer.digest)
    (tmp_path / "s" / "meta.json").write_bytes(b"\xff")
    with pytest.raises(TidegateError, match="no token store"):
        TokenStore(tmp_path / "s", tokenizer.digest)


@given(before=st.integers(0, 4), shard_tokens=st.integers(1, 20))
@settings(max_examples=30, deadline=None)
def test_a_store_goes_on_after_what_was_synced(
    tmp_path_factory: pytest.TempPathFactory, before: int, shard_tokens: int
) -> None:
    """What was written after the last sync, here all of it once more, is cut off."""
    folder, tokenizer = tmp_path_factory.mktemp("store"), train("characters", ["床前明月光疑是地上霜moon?\n"])
    whole = written(folder / "whole", tokenizer, shard_tokens)
    with StoreWriter(folder / "s", tokenizer, shard_tokens) as writer:
        for piece in PIECES[:before]:
            writer.write(ids_of(piece, tokenizer))
        writer.sync()
        counts = writer.counts
        for piece in PIECES:
            writer.write(ids_of(piece, tokenizer))
    with StoreWriter(folder / "s", tokenizer, shard_tokens, resumed=counts) as writer:
        for piece in PIECES[before:]:
            writer.write(ids_of(piece, tokenizer))
        writer.finish()
    again = TokenStore(folder / "s", tokenizer.digest)
    np.testing.assert_array_equal(again.read(0, len(again)), whole.read(0, len(whole)))
    np.testing.assert_array_equal(again.document_starts, whole.document_starts)


def test_a_store_shorter_than_its_counts_cannot_go_on(tmp_path: Path) -> None:
    tokenizer = train("bytes", [])
    with StoreWriter(tmp_path / "s", tokenizer, 100) as writer:
        writer.write(ids_of(PIECES[0], tokenizer))
        counts = writer.counts
    (tmp_path / "s" / "ids-00000.bin").write_bytes(b"")
    with pytest.raises(TidegateError, match="shorter than it was"):
        StoreWriter(tmp_path / "s", tokenizer, 100, resumed=counts)


@pytest.mark.parametrize("name", ["ids-00000.bin", "ids-00001.bin", "document_starts.bin", "meta.json"])
def test_a_changed_file_is_refused_when_it_is_opened(tmp_path: Path, name: str) -> None:
    """Such as ids that no token has, or starts of documents that do not ascend."""
    tokenizer = train("bytes", [])
    written(tmp_path / "s", tokenizer, 30)
    content = bytearray((tmp_path / "s" / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "s" / name).write_bytes(content)
    with pytest.raises(TidegateError, match=rf"{name}|no token store"):
        TokenStore(tmp_path / "s", tokenizer.digest)


def test_a_file_that_is_cut_off_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    """Through a memory map it would end the process (SIGBUS)."""
    store = written(tmp_path / "s", train("bytes", []), 10**6)
    with open(tmp_path / "s" / "ids-00000.bin", "r+b") as file:
        file.truncate(8)
    assert len(store.read(0, 4)) == 4
    with pytest.raises(TidegateError, match=r"ids-00000\.bin was cut off while it was read"):
        store.read(0, 5)


def test_what_was_changed_since_the_last_sync_is_not_gone_on_with(tmp_path: Path) -> None:
    tokenizer = train("bytes", [])
    with StoreWriter(tmp_path / "s", tokenizer, 10) as writer:
        for piece in PIECES:
            writer.write(ids_of(piece, tokenizer))
        writer.sync()
        counts = writer.counts
    shards = sorted(file.name for file in (tmp_path / "s").glob("ids-*"))
    for name in (shards[0], shards[-1], "document_starts.bin"):
        file = tmp_path / "s" / name
        whole = file.read_bytes()
        file.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        with pytest.raises(TidegateError, match=f"{name} was changed"):
            StoreWriter(tmp_path / "s", tokenizer, 10, resumed=counts)
        file.write_bytes(whole)
    StoreWriter(tmp_path / "s", tokenizer, 10, resumed=counts).__exit__()
