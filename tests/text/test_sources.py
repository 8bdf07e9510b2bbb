import os
from pathlib import Path

import pytest

from tidegate.errors import TidegateError
from tidegate.text.embedded_corpora import embedded_corpus
from tidegate.text.sources import find_sources, without


def write(path: Path, text: str = "text\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def names(folder: Path, *arguments: str | Path) -> list[str]:
    return [os.path.relpath(source.name, folder) for source in find_sources(arguments)]


def test_a_folder_is_searched_in_sorted_order_without_hidden_and_other_files(tmp_path: Path) -> None:
    for name in (
        "b.txt",
        "a.md",
        "z/c.JSONL",
        "a/d.txt",
        "诗/李白.txt",
        ".hidden.txt",
        ".git/x.txt",
        "picture.png",
        "no",
    ):
        write(tmp_path / name)
    assert names(tmp_path, tmp_path) == ["a.md", "b.txt", "a/d.txt", "z/c.JSONL", "诗/李白.txt"]
    assert [source.format for source in find_sources([tmp_path])] == ["text", "text", "text", "jsonl", "text"]


def test_a_named_file_may_have_any_suffix(tmp_path: Path) -> None:
    path = write(tmp_path / "module.py")
    assert find_sources([path])[0].format == "text"
    assert find_sources([path])[0].size == 5


def test_globs_are_sorted_and_each_file_comes_once(tmp_path: Path) -> None:
    for name in ("b.py", "a.py", "deep/er/c.py", "d.txt", "[x].txt"):
        write(tmp_path / name)
    assert names(tmp_path, f"{tmp_path}/**/*.py") == ["a.py", "b.py", "deep/er/c.py"]
    assert names(tmp_path, tmp_path / "b.py", f"{tmp_path}/?.py", tmp_path / "deep/../b.py") == ["b.py", "a.py"]
    assert names(tmp_path, tmp_path / "[x].txt") == ["[x].txt"], "a name that exists is no glob"
    with pytest.raises(TidegateError, match=r"No text matches .*\*\.tex"):
        find_sources([f"{tmp_path}/*.tex"])


def test_loops_of_links_do_no_harm(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b.txt")
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self.txt").symlink_to(tmp_path / "self.txt")
    (tmp_path / "same.txt").symlink_to(tmp_path / "a" / "b.txt")
    assert names(tmp_path, tmp_path) == ["same.txt"], "the same text twice is read once"
    with pytest.raises(TidegateError, match="no file or folder"):
        find_sources([tmp_path / "self.txt"])


def test_a_missing_path_names_the_nearest_that_is_there(tmp_path: Path) -> None:
    write(tmp_path / "poems" / "tang.txt")
    with pytest.raises(TidegateError, match=r"no file or folder .*did you mean 'tang\.txt'"):
        find_sources([tmp_path / "poems" / "tan.txt"])
    with pytest.raises(TidegateError, match="did you mean 'poems'"):
        find_sources([tmp_path / "poem" / "tang.txt"])
    with pytest.raises(TidegateError, match="no file or folder"):
        find_sources(["x" * 5000 if os.name == "nt" else "\0"])


def test_a_folder_without_text_says_what_was_there(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.py", "d"):
        write(tmp_path / name)
    with pytest.raises(TidegateError, match=r"looked for \.txt, .*\.parquet and \.zip, but found 2 × \.png, 1 × \.py"):
        find_sources([tmp_path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(TidegateError, match="no visible files"):
        find_sources([tmp_path / "empty"])


def test_a_pipe_or_too_long_a_name_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TidegateError, match="neither a file nor a folder"):
        find_sources([tmp_path / "pipe"])
    with pytest.raises(TidegateError, match="could not be read: File name too long"):
        find_sources(["x" * 5000])


def test_without_leaves_out_the_same_files(tmp_path: Path) -> None:
    write(tmp_path / "a.txt")
    write(tmp_path / "b.txt")
    kept = without(find_sources([tmp_path]), find_sources([f"{tmp_path}/./a.txt"]))
    assert [Path(source.name).name for source in kept] == ["b.txt"]


def test_the_embedded_corpora_are_sources(tmp_path: Path) -> None:
    sources = find_sources(
        [embedded_corpus("shakespeare"), embedded_corpus("tang-poems"), embedded_corpus("shakespeare")]
    )
    assert [source.name for source in sources] == ["embedded corpus shakespeare", "embedded corpus tang-poems"]
    assert [source.size for source in sources] == [1575268, 3914808]
    with pytest.raises(TidegateError, match="did you mean 'tang-poems'"):
        embedded_corpus("tang_poems")


def test_a_model_folder_within_the_text_is_left_out(tmp_path: Path) -> None:
    """A run that was trained in the folder of its text must not read its own card and log as text."""
    (tmp_path / "text.txt").write_text("text")
    model = tmp_path / "runs" / "text"
    (model / "training").mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "README.md", "training/log.jsonl"):
        (model / name).write_text("{}")
    assert [Path(source.name).name for source in find_sources([str(tmp_path)])] == ["text.txt"]
