import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tidegate.errors import TidegateError
from tidegate.text.embedded_corpora import embedded_corpus
from tidegate.text.prepare import Prepared, prepare
from tidegate.text.store import TokenStore
from tidegate.text.tokenizer import KINDS, train

ENGLISH = "First Citizen:\nBefore we proceed any further, hear me speak.\n\n" * 40
CHINESE = "床前明月光，疑是地上霜。\r\n举头望明月，低头思故乡。\r\n" * 30


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8"))
    return path


def text_of(prepared: Prepared, store: TokenStore | None) -> str:
    assert store is not None
    return prepared.tokenizer.decode(store.read(0, len(store)))


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder of five documents, Chinese and English."""
    folder = tmp_path / "mixed"
    write(folder / "a.txt", ENGLISH)
    write(folder / "b" / "静夜思.md", CHINESE)
    lines = [{"text": "今天天气很好。"}, {"text": "It rains. 🌧"}, {"text": ""}, {"text": "终"}]
    write(folder / "c.jsonl", "\n".join(json.dumps(line) for line in lines))
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_mixed_folder_comes_out_whole(tmp_path: Path, mixed: Path, kind: str) -> None:
    vocabulary = 300 if kind == "bpe" else None
    prepared = prepare([mixed], cache=tmp_path / "c", kind=kind, vocabulary=vocabulary, validation=0)
    whole = ENGLISH + "今天天气很好。It rains. 🌧终" + CHINESE.replace("\r", "")
    assert text_of(prepared, prepared.train) == whole
    assert prepared.validation is None
    assert len(prepared.train.document_starts) == 5
    assert prepared.train.byte_count == len(whole.encode())
    assert prepared.train.character_count == len(whole)
    documents = prepared.train.read(0, len(prepared.train)) == prepared.tokenizer.document_id
    np.testing.assert_array_equal(np.flatnonzero(documents), prepared.train.document_starts)


@pytest.mark.parametrize("length", [10, 999, 11154])
def test_the_first_nine_tenths_are_trained_exactly(tmp_path: Path, length: int) -> None:
    text = (ENGLISH * 5)[:length]
    prepared = prepare([write(tmp_path / "a.txt", text)], cache=tmp_path / "c")
    assert text_of(prepared, prepared.train) == text[: int(0.9 * length)]
    assert text_of(prepared, prepared.validation) == text[int(0.9 * length) :]
    assert prepared.validation is not None
    assert prepared.validation.document_starts.tolist() == []


def test_a_document_at_the_split_starts_in_the_validation_part(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps({"text": text}) for text in ("123456789", "x"))
    prepared = prepare([write(tmp_path / "a.jsonl", lines)], cache=tmp_path / "c", kind="bytes")
    assert prepared.validation is not None
    assert prepared.validation.read(0, 2).tolist() == [256, ord("x")]


def test_the_tokenizer_learns_from_the_training_part_alone(tmp_path: Path) -> None:
    prepared = prepare([write(tmp_path / "a.txt", "abc" * 30 + "z" * 10)], cache=tmp_path / "c")
    assert prepared.tokenizer.missing("abcz") == ["z"]
    assert prepared.validation is not None
    assert (prepared.train.unknown_count, prepared.validation.unknown_count) == (0, 10)


def test_words_are_counted_over_all_of_a_standard_set(tmp_path: Path) -> None:
    """WikiText-2 has 11 MB: a sample of 8 would lack 645 of its 33,277 words, and count them as unknown."""
    words = [f"word{number}" for number in range(30_000)]
    text = "\n".join(f"{word} {'and so on ' * 36}" for word in words)
    prepared = prepare([write(tmp_path / "a.txt", text)], cache=tmp_path / "c", kind="whitespace", validation=0)
    assert len(text) > 10_000_000
    assert prepared.train.unknown_count == 0


def test_named_validation_files_are_held_out(tmp_path: Path, mixed: Path) -> None:
    prepared = prepare([mixed], cache=tmp_path / "c", kind="bytes", validation_data=[mixed / "b"])
    assert text_of(prepared, prepared.validation) == CHINESE.replace("\r", "")
    assert "床" not in text_of(prepared, prepared.train)
    assert prepared.validation is not None
    assert prepared.validation.document_starts.tolist() == [0]
    with pytest.raises(TidegateError, match="besides the validation text"):
        prepare([mixed], cache=tmp_path / "c", validation_data=[mixed])


def test_the_same_content_is_reused_wherever_it_lies(tmp_path: Path) -> None:
    cache = tmp_path / "c"
    first = prepare([write(tmp_path / "a.txt", CHINESE)], cache=cache)
    again = prepare([write(tmp_path / "b.md", CHINESE.replace("\r\n", "\r"))], cache=cache)
    given = prepare([tmp_path / "a.txt"], cache=cache, tokenizer=first.tokenizer)
    assert [p.reused for p in (first, again, given)] == [False, True, True]
    assert first.digest == again.digest == given.digest
    np.testing.assert_array_equal(again.train.read(0, len(again.train)), first.train.read(0, len(first.train)))


def test_whatever_matters_makes_another_store(tmp_path: Path) -> None:
    cache = tmp_path / "c"
    a, b = write(tmp_path / "a.txt", ENGLISH), write(tmp_path / "b.txt", ENGLISH[:-1] + "?")
    two = write(tmp_path / "two.jsonl", "\n".join(json.dumps({"text": text}) for text in (ENGLISH[:9], ENGLISH[9:])))
    results = [
        prepare([a], cache=cache),
        prepare([b], cache=cache),
        prepare([two], cache=cache),
        prepare([a], cache=cache, validation=0.2),
        prepare([a], cache=cache, validation=0),
        prepare([a], cache=cache, validation_data=[b]),
        prepare([a], cache=cache, kind="bytes"),
        prepare([a], cache=cache, kind="bpe", vocabulary=270),
        prepare([a], cache=cache, kind="bpe", vocabulary=280),
        prepare([a], cache=cache, tokenizer=train("characters", [ENGLISH + "ü"])),
    ]
    assert not any(result.reused for result in results)
    assert len({result.digest for result in results}) == len(results)


def test_a_damaged_cache_is_made_anew(tmp_path: Path) -> None:
    path, cache = write(tmp_path / "a.txt", ENGLISH), tmp_path / "c"
    first = prepare([path], cache=cache)
    expected = first.train.read(0, len(first.train))
    for file in cache.rglob("*"):
        if file.is_file():
            os.truncate(file, file.stat().st_size // 2)
    again = prepare([path], cache=cache)
    assert not again.reused
    assert again.digest == first.digest
    np.testing.assert_array_equal(again.train.read(0, len(again.train)), expected)
    assert prepare([path], cache=cache).reused


PROGRAM = """
import os, sys
from pathlib import Path
from tidegate.text.prepare import prepare
def progress(label, done, total):
    if label == sys.argv[3] and done:  # the text is read, its ids are not written
        os._exit(9)
print(prepare([sys.argv[1]], cache=Path(sys.argv[2]), progress=progress, shard_tokens=1000).digest)
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, text=True)


def test_a_killed_preparation_leaves_nothing_that_is_used(tmp_path: Path) -> None:
    path, cache = write(tmp_path / "a.txt", ENGLISH), tmp_path / "c"
    for label in ("Learning the tokenizer", "Encoding the text"):
        process = start(str(path), str(cache), label)
        process.communicate()
        assert process.returncode == 9
    assert list(cache.glob("*.partial/train/ids-*")), "it was killed half-way"
    prepared = prepare([path], cache=cache)
    assert not prepared.reused
    assert text_of(prepared, prepared.train) + text_of(prepared, prepared.validation) == ENGLISH
    assert not list(cache.glob("*.partial"))


def test_two_processes_prepare_the_same_text_at_once(tmp_path: Path) -> None:
    path, cache = write(tmp_path / "a.txt", ENGLISH), tmp_path / "c"
    processes = [start(str(path), str(cache), "") for _ in range(2)]
    digests = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert digests == {prepare([path], cache=cache).digest + "\n"}


@pytest.mark.parametrize("when", ["Learning the tokenizer", "Encoding the text"])
def test_a_text_that_changes_meanwhile_is_refused(tmp_path: Path, when: str) -> None:
    path, cache = write(tmp_path / "a.txt", ENGLISH), tmp_path / "c"

    def progress(label: str, done: int, total: int) -> None:
        if label == when:
            write(path, ENGLISH[::-1])

    with pytest.raises(TidegateError, match="changed while it was read"):
        prepare([path], cache=cache, progress=progress)
    assert not list(cache.glob("*.partial"))
    assert len(list(cache.glob("tokenizer-*"))) == (when == "Encoding the text")


def test_empty_text_is_refused(tmp_path: Path) -> None:
    empty, cache = write(tmp_path / "a.txt", ""), tmp_path / "c"
    with pytest.raises(TidegateError, match=r"a\.txt is empty: give a file"):
        prepare([empty], cache=cache)
    write(tmp_path / "b.txt", "\ufeff")
    with pytest.raises(TidegateError, match=r"a\.txt is empty \(and so is the other file\)"):
        prepare([tmp_path], cache=cache)
    text = write(tmp_path / "x" / "c.txt", ENGLISH)
    with pytest.raises(TidegateError, match=r"a\.txt is empty"):
        prepare([text], cache=cache, validation_data=[empty])
    with pytest.raises(TidegateError, match="No training text is named"):
        prepare([], cache=cache)
    assert prepare([empty, text], cache=cache).train.document_starts.tolist() == [0]


@pytest.mark.parametrize(("text", "validation"), [("a", 0.1), ("a", 0.9), ("汉", 0.5)])
def test_too_short_a_text_to_hold_out_some_is_refused(tmp_path: Path, text: str, validation: float) -> None:
    path = write(tmp_path / "a.txt", text)
    with pytest.raises(TidegateError, match="too short to hold out"):
        prepare([path], cache=tmp_path / "c", validation=validation)
    assert len(prepare([path], cache=tmp_path / "c", validation=0).train) == 2


def test_bad_input_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(("text " * 10).encode() + "床前明月光".encode("gb18030"))
    with pytest.raises(TidegateError, match="0xb4 at offset 50"):
        prepare([path], cache=tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", ENGLISH)
    with pytest.raises(TidegateError, match=r"could not be written to .*a\.txt"):
        prepare([path], cache=path / "cache")


def test_progress_rises_to_the_whole(tmp_path: Path, mixed: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    prepare([mixed], cache=tmp_path / "c", kind="words", progress=lambda *call: calls.append(call))
    assert list(dict.fromkeys(label for label, _, _ in calls)) == [
        "Reading the text",
        "Learning the tokenizer",
        "Encoding the text",
    ]
    size = sum(path.stat().st_size for path in mixed.rglob("*.*"))
    assert {total for _, _, total in calls} == {size}
    assert calls[-1] == ("Encoding the text", size, size)


def test_a_large_file_is_prepared_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    with path.open("w", encoding="utf-8") as file:
        for _ in range(4):
            file.write((ENGLISH + CHINESE) * 200 + "没有换行" * 100_000)
    tracemalloc.start()
    try:
        prepared = prepare([path], cache=tmp_path / "c")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 8e6
    assert len(prepared.train) > 3e6
    assert peak < 90e6  # of a block of two million characters: as read, normalised, encoded, and its ids


def test_the_embedded_shakespeare_is_prepared(tmp_path: Path) -> None:
    prepared = prepare([embedded_corpus("shakespeare")], cache=tmp_path / "c")
    assert prepared.validation is not None
    assert prepared.train.character_count == int(0.9 * 5052271)
    assert prepared.train.character_count + prepared.validation.character_count == 5052271
    assert prepared.validation.unknown_count == 0


def test_a_damaged_store_is_written_anew_and_said_so(tmp_path):
    (tmp_path / "a.txt").write_text("the tide 潮\n" * 50, encoding="utf-8")
    first = prepare([tmp_path / "a.txt"], cache=tmp_path / "c")
    ids = first.train.read(0, len(first.train))
    for name in ("ids-00000.bin", "document_starts.bin", "meta.json"):
        (file,) = (tmp_path / "c").glob(f"*/train/{name}")
        file.write_bytes(file.read_bytes()[:-1] + b"\x01")
        again = prepare([tmp_path / "a.txt"], cache=tmp_path / "c")
        assert not again.reused
        assert "preparing the text again writes it anew" in again.damage
        assert again.digest == first.digest
        assert again.train.read(0, len(again.train)).tolist() == ids.tolist()
    assert prepare([tmp_path / "a.txt"], cache=tmp_path / "c").damage == ""
