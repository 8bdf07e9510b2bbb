"""The model card is right Markdown whatever the model wrote."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.config import ModelConfig
from tidegate.folder.card import Card, fenced, render_card, write_card

CARD = Card(
    title="唐詩 2×256 lstm",
    model=ModelConfig(cell="gru_reset_before", hidden_size=384, embedding_size=128, tied=True),
    parameters=1_234_567,
    data=[("text", "唐詩/三百首.txt"), ("digest", "ab12")],
    training=[("steps", "100")],
    results=[("carried, nats/token", "1.4523"), ("window256 | bits/byte", "2.1")],
    samples=["春眠不覺曉，\n處處聞啼鳥。", "a ```` fence"],
    command="tidegate train 唐詩 --minutes 3",
    versions=[("numpy", "2.4")],
)


def test_it_holds_what_it_was_given(tmp_path):
    write_card(tmp_path, CARD)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# 唐詩 2×256 lstm\n")
    for part in (
        "1,234,567",
        "| text | 唐詩/三百首.txt |",
        "| carried, nats/token | 1.4523 |",
        "春眠不覺曉，\n處處聞啼鳥。",
    ):
        assert part in text
    for part in (
        "tidegate train 唐詩 --minutes 3",
        f"tidegate generate {tmp_path.name}",
        "tidegate.load(",
        "| numpy | 2.4 |",
    ):
        assert part in text
    assert "gru_reset_before" in text
    assert r"window256 \| bits/byte" in text
    assert text.endswith(".\n")


def test_it_says_what_of_a_sample_was_copied():
    card = replace(CARD, copied=["處處聞啼鳥", ""])
    text = render_card(card, "x")
    assert "has 5 of its 13 characters (38.5%):\n\n```text\n處處聞啼鳥\n```" in text
    assert text.count("Nothing of it stands in the training text.") == 1
    assert "training text" not in render_card(CARD, "x")


def test_it_is_a_pure_function_of_the_card():
    assert render_card(CARD, "x") == render_card(CARD, "x")
    assert render_card(CARD, "x") != render_card(CARD, "y")


def test_parts_that_are_empty_have_no_heading():
    text = render_card(Card("t", ModelConfig(), 1), "my model")
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## Use", "## Model"]
    assert "tidegate generate 'my model'" in text


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.sampled_from("`~ab\n \t"), max_size=40))
def test_no_text_escapes_its_fence(text):
    """A closing fence is a line of at least as many backticks as the opening one, indented by at most 3 spaces."""
    lines = fenced(text, "text").split("\n")
    ticks = re.match(r"`+", lines[0])
    assert ticks is not None
    closing = [i for i, line in enumerate(lines[1:], 1) if re.fullmatch(rf" {{0,3}}`{{{len(ticks[0])},}}[ \t]*", line)]
    assert closing == [len(lines) - 1]
    assert "\n".join(lines[1:-1]) == text


@pytest.mark.parametrize("wild", ["\x00\x1b[31m\x7f\x85", "a\rb"])
def test_control_characters_do_not_reach_the_card(wild):
    card = Card(wild, ModelConfig(), 1, samples=[wild], data=[(wild, wild)], command=wild)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", render_card(card, "x"))


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=20))
def test_a_cell_of_a_table_stays_one(value):
    rows = render_card(Card("t", ModelConfig(), 1, data=[("what", value)]), "x").splitlines()
    row = next(line for line in rows if line.startswith("| what | ") and line != "| what | value |")
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 3
    assert len(re.split("[\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", row)) == 1


@pytest.mark.parametrize("is_adapter", [False, True])
def test_a_model_that_answers_is_talked_with(is_adapter):
    text = render_card(replace(CARD, verb="chat", base="base-en", is_adapter=is_adapter), "talks")
    assert ("tidegate chat base-en --adapter talks" if is_adapter else "tidegate chat talks") in text
    model = "'base-en', ['talks']" if is_adapter else "'talks'"
    assert f"model = tidegate.load({model})\nprint(model.chat('Hello'))" in text
    assert "It learned to answer, from conversations." in text
    assert "generate" not in text
