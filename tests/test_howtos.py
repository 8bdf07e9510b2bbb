"""The how-tos do what they say: their commands run, on tiny texts, and the two languages give the same ones.

Every plain ``sh`` block of a page is run in order in one folder; a block of another kind (``console``, ``text``) is
only to be read. What is smaller than on the page: the texts, which `TEXTS` makes up; the embedded corpus, of which two
poems are left; and training, to which `SMALL` is added in place of its horizon. Nothing else is replaced.
"""

from __future__ import annotations

import contextlib
import csv
import json
import lzma
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.page_pairs import commands, differences, sections
from tidegate.cli import main
from tidegate.text.embedded_corpora import EmbeddedCorpus

FOLDER = Path(__file__).parents[1] / "docs/howto"
PAGES = sorted(FOLDER.glob("*.md"))
ENGLISH = [page for page in PAGES if not page.name.endswith(".zh-CN.md")]

SMALL_TUNED = "--steps 4 --lanes 4 --window 8 --evaluations 1 --threads 1".split()
SMALL = {"train": [*SMALL_TUNED, "--hidden-size", "8"], "finetune": SMALL_TUNED}
REPLACED = ("--minutes", "--epochs", "--steps", "--tokens", "--hidden-size")

STORY = "It was late. The tide came in, and the keeper lit the lamp.\n“Who is there?” she said; nobody answered.\n" * 30
CHINESE_STORY = "却说那天夜里，潮水涨了上来，守灯人点起了灯。\n“谁在那里？”她问道，却没有人回答。\n" * 60
POEMS = "春望\n杜甫\n国破山河在，城春草木深。\n感时花溅泪，恨别鸟惊心。\n\n静夜思\n李白\n床前明月光，疑是地上霜。\n\n"
CODE = "import json\n\n\ndef read(path):\n    # 读文件\n    with open(path) as file:\n        return json.load(file)\n"


def _novel(folder: Path) -> None:
    (folder / "my-novel.txt").write_bytes(STORY.encode("cp1252"))
    (folder / "我的小说.txt").write_bytes(CHINESE_STORY.encode("gb18030"))


def _poems(folder: Path) -> None:
    (folder / "song.txt").write_text(POEMS, encoding="utf-8")


def _code(folder: Path) -> None:
    for number in range(3):
        path = folder / f"src/package{number}/module.py"
        path.parent.mkdir(parents=True)
        path.write_text(CODE * 20 + f"\n\nNUMBER = {number}\n\n\n", encoding="utf-8")
    (folder / "unfinished.py").write_text(CODE + "def ", encoding="utf-8")


def _table(folder: Path) -> None:
    summaries = [f"A client for the tide service, number {number}." for number in range(80)]
    comments = [f"房间干净，早餐一般，第{number}次来住。" for number in range(80)]
    for name, columns, texts, encoding in (
        ("packages.csv", ("name", "version", "summary"), summaries, "utf-8"),
        ("评论.csv", ("编号", "评分", "评论"), comments, "gb18030"),
    ):
        with open(folder / name, "w", encoding=encoding, newline="") as file:
            csv.writer(file).writerows([columns, *(("x", "1", text) for text in [*texts, texts[0]])])


def _moved(folder: Path) -> None:
    for name, text in (("my-novel.txt", STORY), ("我的小说.txt", CHINESE_STORY)):
        for path in (folder / name, folder / "texts" / name):  # the second as on the other machine
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")


def _answers(folder: Path) -> None:
    for name, question, answer in (
        ("my-answers.jsonl", "Is anyone there?", "Nobody but the keeper."),
        ("我的回答.jsonl", "有人吗？", "只有守灯人。"),
    ):
        said = {"role": "assistant", "content": answer}
        turns = ([{"role": "user", "content": f"{question} {number}"}, said] for number in range(40))
        lines = [json.dumps({"messages": messages}, ensure_ascii=False) for messages in turns]
        (folder / name).write_text("\n".join(lines), encoding="utf-8")
    for name, columns in (("my-answers.csv", ("customer", "reply")), ("客服.csv", ("客户", "回复"))):
        _written(folder / name, columns, [(f"Is anyone there? 有人吗？{n}", "Nobody. 没有。") for n in range(40)])
    senders = [("Ann", "Hello?"), ("Ben", "Yes."), ("阿莉", "在吗？"), ("小安", "在。")] * 20
    said = [
        {"id": n, "type": "message", "date": "2026-01-01T00:00:00", "from": name, "text": text}
        for n, (name, text) in enumerate(senders)
    ]
    (folder / "result.json").write_text(json.dumps({"messages": said}, ensure_ascii=False), encoding="utf-8")


def _old_and_new(folder: Path) -> None:
    _novel(folder)
    for name, text in (("old.txt", STORY[:2000]), ("旧文.txt", CHINESE_STORY[:1000])):
        (folder / name).write_text(text, encoding="utf-8")


def _customers(folder: Path) -> None:
    for name in ("customer-a", "customer-b", "客户甲", "客户乙"):
        (folder / f"{name}.txt").write_text(STORY if name.isascii() else CHINESE_STORY, encoding="utf-8")


def _written(path: Path, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def _reviews(folder: Path) -> None:
    for mine, new, more, good, bad in (
        ("my-reviews", "new-reviews", "more-reviews", "A quiet room,", "A loud room,"),
        ("我的评论", "新评论", "更多评论", "房间安静，", "房间很吵，"),
    ):
        rows = [("good" if n % 2 else "bad", f"{good if n % 2 else bad} {n}") for n in range(40)]
        _written(folder / f"{mine}.csv", ("label", "review"), rows)
        for name in (new, more):
            _written(folder / f"{name}.csv", ("review",), [(review,) for _, review in rows])


def _tagged(folder: Path) -> None:
    for name, columns, tokens in (
        ("ner.csv", ("id", "Word", "Tag"), ["Zoë", "sails{}", "."]),
        ("实体.csv", ("句", "字", "标签"), ["安", "去{}", "。"]),
    ):
        tags = ["B-A", "O", "O"]
        rows = [(n, token.format(n), tag) for n in range(30) for token, tag in zip(tokens, tags, strict=True)]
        with open(folder / name, "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([columns, *rows])
    for name, rows, text in (
        ("my-entities.txt", "Anna B-PERSON\nBell I-PERSON\nsails O\n{} O\n. O\n\n", "letters.txt"),
        ("我的实体.txt", "安 B-人\n娜 I-人\n去 O\n杭 B-地\n州 I-地\n{} O\n。 O\n\n", "书信.txt"),
    ):
        (folder / name).write_text("".join(rows.format(n) for n in range(30)), encoding="utf-8")
        (folder / text).write_text(STORY if name.isascii() else CHINESE_STORY, encoding="utf-8")


def _letters(folder: Path) -> None:
    for few, rest, several, column, text in (
        ("labelled", "letters", "several", "letter", "Where is room"),
        ("已标", "来信", "几个标签", "来信", "请问几点开门"),
    ):
        rows = [(f"label {n % 3}", f"{text} {n % 3} {n}?") for n in range(30)]
        _written(folder / f"{few}.csv", ("label", column), rows)
        _written(folder / f"{several}.csv", ("label", column), [(f"{a}|label 1", b) for a, b in rows])
        _written(folder / f"{rest}.csv", (column,), [(f"{text} {n}?",) for n in range(60)])


def _notes(folder: Path) -> None:
    _written(folder / "notes.csv", ("note",), [(f"The ferry leaves at {n} o'clock.",) for n in range(40)])
    _written(folder / "笔记.csv", ("笔记",), [(f"渡船{n}点开，别忘了带伞。",) for n in range(40)])


TEXTS: dict[str, Callable[[Path], None]] = {
    "my-own-novel": _novel,
    "tang-poems": _poems,
    "code-completer": _code,
    "from-a-csv": _table,
    "resume-and-move": _moved,
    "my-own-chatbot": _answers,
    "adapt-to-a-novel": _old_and_new,
    "adapter-a-customer": _customers,
    "sentiment-classifier": _reviews,
    "entity-tagger": _tagged,
    "hundred-labels": _letters,
    "nearest-texts": _notes,
}


def lines_to_run(page: Path) -> list[str]:
    """Return the lines of a page's ``sh`` blocks, comments apart."""
    shell = [b for section in sections(page.read_text(encoding="utf-8")) for b in section.blocks if b.language == "sh"]
    return [_spelled(words) for block in shell for words in commands(block)]


def _spelled(words: list[str]) -> str:
    return " ".join(word if word in ("|", "<", ">") else shlex.quote(word) for word in words)


def made_small(words: list[str]) -> list[str]:
    """Return the words of a command of tidegate; `SMALL` takes the place of what a training's size was."""
    if words[0] not in SMALL or "--help" in words:
        return words
    kept = [
        word
        for place, word in enumerate(words)
        if word not in REPLACED and (place == 0 or words[place - 1] not in REPLACED)
    ]
    # labels and tags are learnt from whole texts: they know no window
    labels = {"classify", "tag"} & set(words)
    small = [word for word in SMALL[words[0]] if not labels or word not in ("--window", "8")]
    return [*kept, *small]


def run_lines(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run lines of a shell in the current folder, one after another."""
    for line in lines:
        run_line(line, monkeypatch)


def run_line(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one line of a shell in the current folder: a pipe's parts one after another, those of tidegate in here."""
    parts = [shlex.split(part) for part in re.split(r" \| ", line)]
    came = Path("/dev/null")
    for number, words in enumerate(parts):
        goes = Path(f".part{number}")
        if ">" in words:
            goes = Path(words[-1])
            words = words[: words.index(">")]
        if "<" in words:
            came = Path(words[-1])
            words = words[: words.index("<")]
        with open(came, encoding="utf-8") as given, open(goes, "w", encoding="utf-8") as taken:
            if words[0] == "tidegate":
                monkeypatch.setattr(sys, "stdin", given)
                with contextlib.redirect_stdout(taken):
                    assert main(made_small(words[1:])) == 0, line
            else:
                subprocess.run(words, stdin=given, stdout=taken, check=True)
        came = goes


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    corpus = tmp_path / "poems.txt.xz"
    corpus.write_bytes(lzma.compress((POEMS * 40).encode()))
    monkeypatch.setattr(EmbeddedCorpus, "resource", corpus)
    monkeypatch.chdir(folder)
    return folder


def test_every_page_has_its_texts_and_both_languages():
    assert {page.stem for page in ENGLISH} == set(TEXTS)
    assert {page.name for page in PAGES} == {f"{name}{end}" for name in TEXTS for end in (".md", ".zh-CN.md")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_run(page, here, monkeypatch):
    TEXTS[page.name.split(".")[0]](here)
    lines = lines_to_run(page)
    assert sum("tidegate " in line for line in lines) >= 4
    run_lines(lines, monkeypatch)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_short(page):
    assert 40 <= len(page.read_text(encoding="utf-8").splitlines()) <= 110


@pytest.mark.parametrize("page", ENGLISH, ids=lambda page: page.name)
def test_both_languages_give_the_same_commands(page):
    chinese = page.with_name(f"{page.stem}.zh-CN.md")
    found = differences(page.read_text(encoding="utf-8"), chinese.read_text(encoding="utf-8"), same_texts=False)
    assert not found, f"{page.name} and {chinese.name} differ:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("was", "now"), [("--minutes", "--minuets"), ("我的小说.txt", "我的小说.text"), ("runs/我的小说", "runs/小说")]
)
def test_canary_a_slip_in_a_command_fails(was, now, here, monkeypatch):
    page = FOLDER / "my-own-novel.zh-CN.md"
    _novel(here)
    lines = lines_to_run(page)
    assert was in "".join(lines)
    with pytest.raises(AssertionError):
        run_lines([line.replace(was, now) for line in lines], monkeypatch)


@pytest.mark.parametrize(
    ("was", "now"), [("--minutes 10", "--minutes 11"), ("tidegate runs", "tidegate doctor"), ("\n## ", "\n### ")]
)
def test_canary_a_command_in_one_language_alone_is_found(was, now):
    english = (FOLDER / "my-own-novel.md").read_text(encoding="utf-8")
    chinese = (FOLDER / "my-own-novel.zh-CN.md").read_text(encoding="utf-8")
    assert was in chinese
    assert differences(english, chinese.replace(was, now, 1), same_texts=False)
