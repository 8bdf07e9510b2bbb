"""What the first reading finds: duplicates, lines, scripts; its place in the cache; and work in several processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.text.test_prepare import text_of, write
from tidegate.errors import TidegateError
from tidegate.text import blocks, measured, processes
from tidegate.text import prepare as preparation
from tidegate.text.blocks import Block
from tidegate.text.prepare import prepare
from tidegate.text.tokenizer import KINDS


def jsonl(path: Path, *texts: str) -> Path:
    return write(path, "".join(json.dumps({"text": text}) + "\n" for text in texts))


def test_a_document_whose_text_came_before_is_left_out(tmp_path):
    write(tmp_path / "t" / "a.txt", "once\r\n")
    write(tmp_path / "t" / "b.md", "once\n")
    jsonl(tmp_path / "t" / "c.jsonl", "twice", "once\n", "twice", "", "café", "cafe\u0301")
    prepared = prepare([tmp_path / "t"], cache=tmp_path / "c", kind="bytes", validation=0)
    assert text_of(prepared, prepared.train) == "once\ntwicecafé"
    found = prepared.found
    assert (found.files, found.documents, found.duplicates, found.empty) == (3, 3, 4, 1)
    assert (found.character_count, found.byte_count) == (14, 15)
    kept = prepare([tmp_path / "t"], cache=tmp_path / "c", kind="bytes", validation=0, keep_duplicates=True)
    assert text_of(kept, kept.train) == "once\nonce\ntwiceonce\ntwicecafécafé"


def test_a_named_validation_text_is_kept_whole_and_what_it_shares_is_counted(tmp_path):
    train = jsonl(tmp_path / "train.jsonl", "one", "two", "two")
    held_out = jsonl(tmp_path / "held.jsonl", "two", "three", "three")
    prepared = prepare([train], cache=tmp_path / "c", kind="bytes", validation_data=[held_out])
    assert text_of(prepared, prepared.train) == "onetwo"
    assert text_of(prepared, prepared.validation) == "twothreethree"
    assert (prepared.found.duplicates, prepared.found.shared) == (1, 1)


def test_lines_scripts_and_what_was_left_out_are_told(tmp_path, monkeypatch):
    write(tmp_path / "t" / "a.txt", "short\n" + "长" * 30 + "\nend\n")
    write(tmp_path / "t" / "b.txt", "Ωмир かな 12")
    write(tmp_path / "t" / "c.png", "x")
    for limit in (2**21, 8):  # a line may lie in several blocks
        monkeypatch.setattr(blocks, "BLOCK_CHARACTERS", limit)
        monkeypatch.setattr(blocks.read_blocks, "__kwdefaults__", {"limit": limit})
        found = prepare([tmp_path / "t"], cache=tmp_path / f"c{limit}", validation=0).found
        assert found.longest_line == 30
        assert found.longest_line_in.endswith("a.txt")
        assert found.scripts == {
            "Han": 30, "Latin": 8, "spaces": 5, "Cyrillic": 3, "Hiragana": 2, "digits": 2, "Greek": 1,
        }  # fmt: skip
        assert found.left_out == {".png": 1}


def test_the_same_files_are_not_read_again(tmp_path, monkeypatch):
    path, cache = write(tmp_path / "a.txt", "the text\n" * 50), tmp_path / "c"
    os.utime(path, (1e9, 1e9))
    first = prepare([path], cache=cache)
    monkeypatch.setattr(measured, "work_on", None)  # a second reading would call it
    again = prepare([path], cache=cache)
    assert again.reused
    assert (again.digest, again.found) == (first.digest, first.found)
    np.testing.assert_array_equal(again.train.read(0, 9), first.train.read(0, 9))
    with pytest.raises(TypeError):
        prepare([write(path, "other text\n" * 50)], cache=cache)


def test_a_file_that_was_just_changed_is_read_again(tmp_path):
    path, cache = write(tmp_path / "a.txt", "the text\n" * 50), tmp_path / "c"
    prepare([path], cache=cache)
    assert not list(cache.glob("read-*"))


@pytest.mark.parametrize("damage", ["torn", "empty", "other"])
def test_a_damaged_reading_is_made_anew(tmp_path, damage):
    path, cache = write(tmp_path / "a.txt", "the text\n" * 50), tmp_path / "c"
    os.utime(path, (1e9, 1e9))
    first = prepare([path], cache=cache)
    (reading,) = cache.glob("read-*.npz")
    content = reading.read_bytes()
    reading.write_bytes({"torn": content[: len(content) // 2], "empty": b"", "other": b"x" * 300}[damage])
    assert prepare([path], cache=cache).digest == first.digest


def test_a_cached_reading_still_gives_every_tokenizer(tmp_path):
    """The characters come from the first reading, or from another one where that lies in the cache."""
    path, cache = write(tmp_path / "a.txt", "the text, 文本\n" * 50 + "é"), tmp_path / "c"
    os.utime(path, (1e9, 1e9))
    fresh = {kind: prepare([path], cache=tmp_path / kind, kind=kind).digest for kind in KINDS}
    assert {kind: prepare([path], cache=cache, kind=kind).digest for kind in KINDS} == fresh
    characters = prepare([path], cache=cache, kind="characters").tokenizer
    assert characters.missing("文é") == ["é"], "what the validation part alone has is not learnt"


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocks.read_blocks, "__kwdefaults__", {"limit": 200})


@pytest.fixture
def folder(tmp_path):
    for number in range(12):
        write(tmp_path / "t" / f"{number}.txt", f"Document {number}, 第{number}篇。\n" * (number * 5 + 1))
    jsonl(tmp_path / "t" / "x.jsonl", *(f"line {n % 7}" for n in range(20)))
    return tmp_path / "t"


@pytest.mark.parametrize("kind", KINDS)
def test_the_result_does_not_depend_on_the_number_of_processes(tmp_path, folder, small_blocks, kind):
    one = prepare([folder], cache=tmp_path / "one", kind=kind, processes=1, shard_tokens=777)
    many = prepare([folder], cache=tmp_path / "many", kind=kind, processes=3, shard_tokens=777)
    assert one.digest == many.digest
    assert one.found == many.found
    for a, b in ((one.train, many.train), (one.validation, many.validation)):
        np.testing.assert_array_equal(a.read(0, len(a)), b.read(0, len(b)))
        np.testing.assert_array_equal(a.document_starts, b.document_starts)
        assert (a.byte_count, a.character_count, a.unknown_count) == (b.byte_count, b.character_count, b.unknown_count)


@pytest.mark.parametrize("kind", ["bytes", "characters"])
def test_the_tokens_do_not_depend_on_the_blocks(tmp_path, folder, monkeypatch, kind):
    results = []
    for limit in (50, 333, 2**21):
        monkeypatch.setattr(blocks.read_blocks, "__kwdefaults__", {"limit": limit})
        results.append(prepare([folder], cache=tmp_path / f"c{limit}", kind=kind))
    for other in results[1:]:
        for a, b in ((results[0].train, other.train), (results[0].validation, other.validation)):
            np.testing.assert_array_equal(a.read(0, len(a)), b.read(0, len(b)))
            np.testing.assert_array_equal(a.document_starts, b.document_starts)


def test_an_error_in_another_process_is_that_of_the_user(tmp_path):
    page = Block(["\ud800 text"], [True], sources=["a.jsonl"])
    with pytest.raises(TidegateError, match="lone surrogate"):
        list(processes.work_on([page], lambda index: ({"job": "count"}, []), 2))


def test_a_process_that_dies_is_an_error_of_the_user(monkeypatch):
    asked = processes._Process.ask

    def killed(process, *arguments):
        process._process.kill()
        process._process.wait()
        return asked(process, *arguments)

    monkeypatch.setattr(processes._Process, "ask", killed)
    with pytest.raises(TidegateError, match=r"A process that prepared a\.txt ended with code -9.*--processes 1"):
        list(processes.work_on([Block(["text"], [True], sources=["a.txt"])], lambda i: ({"job": "count"}, []), 2))


def test_a_reader_that_stops_early_leaves_no_process(tmp_path):
    many = (Block([f"text {n}"], [True]) for n in range(1000))
    work = processes.work_on(many, lambda index: ({"job": "count"}, []), 2)
    next(work)
    work.close()
    assert sum(1 for _ in many) > 900, "few blocks were read ahead"


PROGRAM = """
import os, sys
from pathlib import Path
from tidegate.text import blocks, prepare
blocks.read_blocks.__kwdefaults__ = {"limit": 200}
prepare.SYNC_SECONDS = 0.0
seen = 0
def progress(label, done, total):
    global seen
    seen += label == "Encoding the text"
    if seen == int(sys.argv[3]):
        os._exit(9)
prepare.prepare([sys.argv[1]], cache=Path(sys.argv[2]), kind="bpe", vocabulary=300, progress=progress, shard_tokens=100)
"""


@pytest.mark.parametrize("after", [2, 5, 9])
def test_a_killed_preparation_goes_on_where_it_was(tmp_path, folder, small_blocks, monkeypatch, after):
    cache = tmp_path / "c"
    code = subprocess.run([sys.executable, "-c", PROGRAM, str(folder), str(cache), str(after)]).returncode
    assert code == 9
    (noted,) = cache.glob("*.partial/progress.json")
    blocks_done = json.loads(noted.read_text())["blocks"]
    assert blocks_done >= after - 2
    encoded = []
    right = preparation.ids_of
    monkeypatch.setattr(preparation, "ids_of", lambda answer: encoded.append(1) or right(answer))
    settings = {"kind": "bpe", "vocabulary": 300, "shard_tokens": 100}
    prepared = prepare([folder], cache=cache, **settings)
    resumed = len(encoded)
    whole = prepare([folder], cache=tmp_path / "whole", **settings)
    assert blocks_done + resumed == len(encoded) - resumed, "each block once, before the kill or after it"
    assert prepared.digest == whole.digest
    np.testing.assert_array_equal(prepared.train.read(0, len(prepared.train)), whole.train.read(0, len(whole.train)))
    np.testing.assert_array_equal(prepared.train.document_starts, whole.train.document_starts)
    assert not list(cache.glob("*.partial"))


def test_a_damaged_progress_begins_anew(tmp_path, folder, small_blocks):
    cache = tmp_path / "c"
    subprocess.run([sys.executable, "-c", PROGRAM, str(folder), str(cache), "6"])
    (noted,) = cache.glob("*.partial/progress.json")
    noted.write_text('{"blocks": 3}')
    settings = {"kind": "bpe", "vocabulary": 300, "shard_tokens": 100}
    assert prepare([folder], cache=cache, **settings).digest


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_ends_all_processes(tmp_path):
    """It reaches the caller alone, who ends the others; no traceback of theirs comes up."""
    path = write(tmp_path / "a.txt", "Some words of a text, 和一些中文。\n" * 400_000)
    process = subprocess.Popen(
        [sys.executable, "-m", "tidegate", "prepare", str(path), "--tokenizer", "bpe", "--processes", "2",
         "--cache", str(tmp_path / "c")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a background job ignores it
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list((tmp_path / "c").glob("tokenizer-*")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in said


def test_what_was_left_out_is_told_as_it_is_now(tmp_path):
    path = write(tmp_path / "t" / "a.txt", "the text\n" * 50)
    os.utime(path, (1e9, 1e9))
    assert prepare([tmp_path / "t"], cache=tmp_path / "c").found.left_out == {}
    write(tmp_path / "t" / "b.png", "x")
    assert prepare([tmp_path / "t"], cache=tmp_path / "c").found.left_out == {".png": 1}
