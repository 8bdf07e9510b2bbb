"""Runs compare on one validation text alone, and across tokenizers in bits/byte alone."""

from __future__ import annotations

import math

import pytest

from tests.training.run_folders import write_run
from tidegate.training.comparison import BITS, _letter, groups_of
from tidegate.training.comparison_picture import draw_comparison
from tidegate.training.events import NATS
from tidegate.training.summary import summarize

PNG = b"\x89PNG"


@pytest.fixture
def run(tmp_path):
    return lambda name, *losses, **options: summarize(write_run(tmp_path / name, losses, **options))


def test_one_text_and_tokenizer_compares_in_nats(run):
    a, b, c = run("a", 3.0, final=2.5), run("b", 2.0, 2.2), run("c")
    [group] = groups_of([a, b, c])
    assert (group.letter, group.unit, group.text) == ("A", NATS, "a.txt")
    assert (group.loss(a), group.loss(b), group.loss(c)) == (2.5, 2.0, None)  # the end's, or else the lowest
    assert group.best is b


def test_another_text_is_another_group(run):
    runs = [run("a", 3.0, text="one"), run("b", 1.0, text="two"), run("c", 2.0, text="two"), run("d", text="three")]
    groups = groups_of(runs)
    assert [(g.letter, [r.path.name for r in g.runs]) for g in groups] == [
        ("A", ["b", "c"]),
        ("B", ["a"]),
        ("C", ["d"]),
    ]
    assert groups[0].best is runs[1]
    assert groups[1].best is None  # nothing to compare it with


def test_other_tokenizers_compare_in_bits_a_byte(run):
    characters = run("c", 1.5, final=1.4, tokenizer="characters", bytes_a_token=1.0)
    going = run("c2", 1.2, tokenizer="characters")
    pairs = run("p", 3.3, final=3.1, tokenizer="bpe", bytes_a_token=3.0)
    words = run("w", 5.0, tokenizer="words")
    [group] = groups_of([characters, going, pairs, words])
    assert group.unit == BITS
    assert group.loss(characters) == pytest.approx(1.4 / math.log(2))
    assert group.loss(pairs) == pytest.approx(3.1 / math.log(2) / 3)
    assert group.loss(going) == pytest.approx(1.2 / math.log(2))  # by the bytes a token of the run that has ended
    assert group.loss(words) is None  # nobody knows how many bytes its tokens have
    assert group.best is pairs  # though its nats/token are the highest


def test_an_older_run_joins_those_of_its_text_and_tokenizer(run):
    new, old, other = run("new", 2.0), run("old", 2.0, text=""), run("other", 2.0, text="")
    object.__setattr__(old, "data_digest", new.data_digest)
    assert [[r.path.name for r in g.runs] for g in groups_of([new, old, other])] == [["new", "old"], ["other"]]


def test_broken_runs_are_in_no_group(run):
    broken = run("a", 1.0)
    object.__setattr__(broken, "state", "broken")
    assert groups_of([broken]) == []


def test_letters_never_run_out():
    assert [_letter(n) for n in (0, 25, 26, 27, 701, 702)] == ["A", "Z", "AA", "AB", "ZZ", "AAA"]


def draw(tmp_path, *runs):
    names = {r.path: r.path.name for r in runs}
    numbers = {r.path: number for number, r in enumerate(runs, 1)}
    return draw_comparison(tmp_path / "c.png", groups_of(runs), names, numbers)


def test_a_picture_of_all_that_compare(run, tmp_path):
    """Warnings are errors here, so a character that no font has would be one."""
    runs = [run("唐诗 $x", 3.0, 2.0), run("_b", 3.0, 2.5, final=2.4, bytes_a_token=2.0), run("c")]
    runs += [run("p", 5.0, tokenizer="bpe", final=4.0), run("w", 5.0, tokenizer="words"), run("d", 2.0, text="别的")]
    runs += [run(f"x{n}", *([2.0] * n), text="x") for n in range(1, 26)]
    assert draw(tmp_path, *runs) == 4 + 25  # without c, which has no evaluation, and w, whose bytes are not known
    assert (tmp_path / "c.png").read_bytes().startswith(PNG)


def test_nothing_to_draw_is_no_picture(run, tmp_path):
    assert draw(tmp_path, run("c")) == 0
    assert not (tmp_path / "c.png").exists()
