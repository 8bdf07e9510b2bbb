"""Templates: what they make of a conversation, which part of it is learnt, and what none may do."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.errors import TidegateError
from tidegate.text.chat_template import LONGEST_TEMPLATE, TEMPLATES, ChatTemplate, Segment
from tidegate.text.conversations.message import Message, message
from tidegate.text.dialogue_store import encoded
from tidegate.text.tokenizer import train

CONTENTS = st.text(min_size=1, max_size=30).map(lambda text: message("user", text).content).filter(bool)
DIALOGUES = st.lists(st.tuples(CONTENTS, CONTENTS), min_size=1, max_size=4).map(
    lambda pairs: tuple(Message(*turn) for q, a in pairs for turn in (("user", q), ("assistant", a)))
)

COUNTED = "{% for m in messages %}{% if m.role == 'user' %}{{ loop.index }}{% endif %}{{ m.content }}!{% endfor %}"


@pytest.mark.parametrize("name", TEMPLATES)
@settings(max_examples=40, deadline=None)
@given(turns=DIALOGUES, system=st.none() | CONTENTS)
def test_answers_alone_are_learnt(name, turns, system):
    """Turn by turn: what is learnt is the answer and the mark of its end, nothing of any question."""
    template = ChatTemplate.of(name)
    whole = (Message("system", system), *turns) if system else turns
    segments = template.segments(whole)
    assert [segment.learnt for segment in segments] == [False, True] * (len(turns) // 2)
    assert "".join(segment.text for segment in segments) == template.render(whole)
    for segment, turn in zip(segments[1::2], turns[1::2], strict=True):
        said = turn.content if name == "turns" else turn.content.replace("\n", " ")
        assert segment.text == said + template.end
    assert segments[0].text == template.first_turn(turns[0].content, system)
    for segment, turn in zip(segments[2::2], turns[2::2], strict=True):
        assert segment.text == template.next_turn(turn.content)


@pytest.mark.parametrize("kind", ["bytes", "characters", "bpe"])
def test_marks_fall_on_the_answers_tokens(kind):
    """Canary: the very ids, turn by turn; a mask off by one would learn the question's last or forget the end."""
    turns = (Message("user", "潮?"), Message("assistant", "汐"), Message("user", "a"), Message("assistant", "bc"))
    segments = ChatTemplate.of("turns").segments(turns)
    tokenizer = train(kind, ["".join(segment.text for segment in segments)], {"bpe": 260}.get(kind))
    V, ids = tokenizer.vocabulary_size, encoded(segments, tokenizer).ids
    learnt, parts = ids >= V, []
    for begin in np.flatnonzero(np.diff(np.concatenate([[False], learnt, [False]]).astype(int)) == 1):
        end = begin + int(np.argmin(np.append(learnt[begin:], False)))
        parts.append(tokenizer.decode(ids[begin:end] - V))
    assert parts == ["汐\x04", "bc\x04"]
    assert ids[0] == tokenizer.document_id
    assert tokenizer.decode(ids[1:] - V * learnt[1:]) == "\x05潮?\x06汐\x04\x05a\x06bc\x04"


def test_the_first_template_costs_a_token_a_mark():
    assert ChatTemplate.of("turns").segments([Message("user", "q"), Message("assistant", "a")]) == [
        Segment("\x05q\x06", False),
        Segment("a\x04", True),
    ]


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("{% if %}", "does not compile"),
        ("{% for m in messages %}", "does not compile"),
        ("{{ messages | tojson }}", "the filter 'tojson'"),
        ("{% for m in messages %}{{ m.content | replace('a', 'aa') }}{% endfor %}", "the filter 'replace'"),
        ("{% for m in messages %}{{ m.content | replace('', 'a') }}{% endfor %}", "the filter 'replace'"),
        ("{% for m in messages %}{{ m.content | trim(chars) }}{% endfor %}", "the filter 'trim'"),
        ("{% for m in messages %}{% for n in messages %}{% endfor %}{% endfor %}", "a loop within a loop"),
        ("{% for i in range(10) %}{% endfor %}", "not over messages"),
        ("{% for m in messages recursive %}{{ loop(messages) }}{% endfor %}", "not over messages|Call"),
        ("{{ messages.__class__.__mro__ }}", "an attribute or a subscript"),
        ("{{ messages['__class__'] }}", "an attribute or a subscript"),
        ("{{ messages.index }}", "an attribute or a subscript"),
        ("{% for lipsum in messages %}{{ lipsum }}{% endfor %}", "a loop's name 'lipsum'"),
        ("{% for m in messages %}{% if m.role == 1e999 %}{% endif %}{% endfor %}", "such a number"),
        (
            "{% for m in messages %}{% if m.role == " + "9" * 5000 + " %}{% endif %}{% endfor %}",
            "compile|such a number",
        ),
        ("{% if add_generation_prompt %}" * 110 + "{% endif %}" * 110, "nested deeper than"),
        ("{{ messages[0].content.format(1) }}", "Call|an attribute"),
        ("{{ self }}", "the name 'self'"),
        ("{{ lipsum.__globals__.os }}", "an attribute|the name"),
        ("{% set x = messages %}", "Assign"),
        ("{% macro x() %}{% endmacro %}", "Macro"),
        ("{% include 'x' %}", "Include"),
        ("{% import 'os' as os %}", "Import"),
        ("{{ 'a' * 1000000000 }}", "Mul"),
        ("{{ 2 ** 99999999 }}", "Pow"),
        ("{{ 'a' ~ 'b' }}", "Concat"),
        ("{{ %s1%s }}" % ("(" * 500, ")" * 500), "compile|nested"),  # noqa: UP031
        ("no messages at all", "marks no end"),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "marks no end"),
        (
            "{% for m in messages %}{% if m.role == 'user' %}{{ loop.index }}{% endif %}{{ m.content }}!{% endfor %}",
            "later turn otherwise",
        ),
        ("x" * (LONGEST_TEMPLATE + 1), "are the limit"),
        ("{{ messages[0].content" + " | trim" * 2000 + " }}", "nested deeper than"),
        ("{{ messages" + "[0]" * 10_000 + " }}", "nested deeper than"),
        ("{% if messages" + " or messages" * 5000 + " %}{% endif %}", "nested deeper than"),
        ("{% if " + "not " * 5000 + "messages %}{% endif %}", "does not compile"),
        ("{{ " + "messages if messages else " * 2400 + "messages }}", "does not compile"),
        ("{{ messages[0].content | trim }}" * 500, "more than 100 filters"),
        ("{{ messages }}" * 4500, "more than 4,000"),
        ("{% if messages %}{% elif messages %}" + "{% elif messages %}" * 3300 + "{% endif %}", "more than 4,000"),
    ],
    ids=lambda value: value[:40],
)
def test_what_no_template_may_do(source, complaint):
    began = time.monotonic()
    with pytest.raises(TidegateError, match=complaint):
        ChatTemplate(source)
    assert time.monotonic() - began < 5


def test_a_template_of_ones_own():
    template = ChatTemplate(
        "{% for m in messages %}<{{ m['role'] }}>{{ m.content | trim }}</>\n{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    assert template.end == "</>\n"
    assert template.first_turn("q") == "<user>q</>\n<assistant>"


def test_no_such_template():
    with pytest.raises(TidegateError, match="did you mean 'turns'"):
        ChatTemplate.of("turn")


PIECES = [
    *"{{ }} {% %} messages message.content endfor if endif 'a' 1e9 range(9) * ( ) .__class__ |upper loop.index".split(),
    *("for m in messages", "{% for m in messages %}", "{{ m.content }}", "{% endfor %}", "set x =", "潮", "\0", "~"),
]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map(" ".join))
def test_whatever_a_template_is_it_gives_a_text_or_a_sentence(source):
    conversation = (
        Message("user", "a?"),
        Message("assistant", "b."),
        Message("user", "c?"),
        Message("assistant", "d."),
    )
    try:
        found = "".join(segment.text for segment in ChatTemplate(source).segments(conversation))
    except TidegateError as error:
        found = str(error)
    assert 0 < len(found) < 600
