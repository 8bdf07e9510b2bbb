import json
import tracemalloc
from pathlib import Path

import pytest

from tidegate.errors import TidegateError
from tidegate.text import encodings, formats
from tidegate.text.blocks import BLOCK_CHARACTERS
from tidegate.text.corpus import Piece, read_pieces
from tidegate.text.embedded_corpora import embedded_corpus
from tidegate.text.sources import find_sources


def pieces_of(path: Path, limit: int = BLOCK_CHARACTERS) -> list[Piece]:
    return list(read_pieces(find_sources([path]), limit=limit))


def message(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(TidegateError) as error:
        pieces_of(path)
    assert str(path) in str(error.value)
    return str(error.value)


def test_a_text_file_is_one_document_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "第一行\r\n第二行\rcafe\u0301\n".encode())
    assert pieces_of(path) == [Piece("第一行\n第二行\ncafé\n", True)]
    assert pieces_of(path, limit=8) == [Piece("第一行\n", True), Piece("第二行\ncaf", False), Piece("é\n", False)]
    path.write_bytes("a\ufeffb".encode())
    assert pieces_of(path) == [Piece("a\ufeffb", True)], "only a mark at the start is dropped"


def test_blocks_may_end_within_characters_and_line_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "汉e\u0301😀\r\nx\r\n" * 5
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    whole = pieces_of(tmp_path / "a.txt")
    for size in (3, 4, 5, 7):
        monkeypatch.setattr(encodings, "BLOCK_BYTES", size)
        monkeypatch.setattr(encodings, "SAMPLE_BYTES", size + 1)
        assert pieces_of(tmp_path / "a.txt") == whole


def test_jsonl_has_one_document_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [
        json.dumps({"text": "床前明月光\r\n疑是"}, ensure_ascii=False),
        "",
        '{"id": 1, "text": "\\ud83d\\ude00 two"}',
        '{"text": ""}',
    ]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    assert pieces_of(path) == [Piece("床前明月光\n疑是", True), Piece("😀 two", True)]
    assert pieces_of(path, limit=7) == [Piece("床前明月光\n", True), Piece("疑是", False), Piece("😀 two", True)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"text": "a"', "line 2, is no JSON"),
        (b"[1]", "line 2, is no JSON object but a list"),
        (b'{"texts": "a"}', r"line 2, has no field 'text' (did you mean 'texts'?); its fields: 'texts'"),
        (b"{}", "its fields: none"),
        (b'{"text": 5}', "line 2, has a number in its field 'text': a string is wanted"),
        (b'{"text": null}', "has null in its field"),
        (b'{"text": "a\\ud83d"}', "line 2 has the lone surrogate U+D83D at character 1"),
        (b"[" * 100_000, "line 2, is no JSON"),
        (b"1" * 5000, "line 2, is no JSON"),
        (b'{"text": "\xe6\xb1"}', "the byte 0xe6 at offset 27 does not fit"),
        (b'   {"text": "\xff"}', "the byte 0xff at offset 30 does not fit"),
    ],
)
def test_a_bad_jsonl_line_is_named(tmp_path: Path, line: bytes, said: str) -> None:
    assert said in message(tmp_path / "a.jsonl", b'{"text": "good"}\n' + line + b"\n")


def test_too_long_a_jsonl_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "LINE_BYTES", 20)
    assert "line 2, is longer than 20 bytes" in message(tmp_path / "a.jsonl", b'{"text": "1"}\n{"text": "012345678"}\n')


def test_a_wrong_encoding_names_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = b"ascii first\n"
    gb = start + "床前明月光，疑是地上霜。举头望明月，低头思故乡。".encode("gb18030")
    said = message(tmp_path / "a.txt", gb)
    assert f"the byte 0xb4 at offset {len(start)} does not fit" in said
    assert "It looks like gb18030: give --encoding gb18030, or auto where files differ." in said
    assert "offset 3 does not" in message(tmp_path / "b.txt", b"abc\xe6\xb1"), "a character cut off by the file's end"
    assert "offset 5 does not" in message(tmp_path / "c.txt", b"\xef\xbb\xbfab\xff")
    monkeypatch.setattr(encodings, "BLOCK_BYTES", 4)
    monkeypatch.setattr(encodings, "SAMPLE_BYTES", 4)
    for path, offset in (("a.txt", len(start)), ("b.txt", 3), ("c.txt", 5)):
        with pytest.raises(TidegateError, match=f"offset {offset} "):
            pieces_of(tmp_path / path)


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    assert "a PNG image: omit this file" in message(tmp_path / "a.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    assert "a binary file" in message(tmp_path / "a.jsonl", b"\0")


def test_an_unreadable_embedded_text_is_an_error_of_the_user(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x")
    (source,) = find_sources([path])
    path.unlink()
    with pytest.raises(TidegateError, match="could not be read: No such file"):
        list(read_pieces([source]))


@pytest.mark.parametrize(
    ("name", "characters", "distinct"), [("shakespeare", 5052271, 84), ("tang-poems", 3542261, 8256)]
)
def test_the_embedded_corpora_are_what_their_provenance_says(name: str, characters: int, distinct: int) -> None:
    text = "".join(piece.text for piece in read_pieces(find_sources([embedded_corpus(name)])))
    assert (len(text), len(set(text))) == (characters, distinct)


def test_reports_rise_to_the_size_on_disk(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("line\n" * 200_000)
    (tmp_path / "b.jsonl").write_text('{"text": "line"}\n' * 10)
    reported: list[int] = []
    list(read_pieces(find_sources([tmp_path]), limit=2**15, report=reported.append))
    assert reported == sorted(reported)
    assert reported[-1] == 1_000_170
    assert len(set(reported)) > 2


def test_a_large_file_is_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    with path.open("w", encoding="utf-8") as file:
        for _ in range(10):
            file.write("没有换行" * 250_000)
    tracemalloc.start()
    try:
        characters = sum(len(piece.text) for piece in read_pieces(find_sources([path])))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert characters == 10_000_000
    assert peak < 60e6  # a block of two million characters, as read, as joined and as normalised
