"""What is read without the parser library is what the library reads."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate import cli
from tidegate.errors import TidegateError
from tidegate.quick_flags import quick_parse

QUICK = [
    name for name, v in cli.VERBS.items()
    if not (v.texts or v.hidden or v.exclusive or v.chooser or v.defaults)
]  # fmt: skip
VALUES = (
    "0", "1", "7", "-3", "007", "1_000", "1e3", "0.5", ".5", "1.", "-0", "-0.0", "0x10", "1:30", "nan", "inf", "null",
    "~", "true", "True", "false", "yes", "off", "", " ", "--", "-", "a", "a b", "ab: c", "[a, b]", "{a: 1}", "*x", "&x",
    "!x", "%x", "a#b", "a #b", "'a'", '"a"', "2020-01-01", "base-en", "runs/x", "./x.txt", "~/x", "春", "a\nb", "utf-8",
    "gb18030", "mean", "json", "123abc", "1e5", "12e03", "=", "a=b", "@x", "`x`", "|", ">", "?", ",", "x,y", "1,2",
    "null.txt", "é",
)  # fmt: skip


def quick(name, words):
    verb = cli.VERBS[name]
    return quick_parse([cli._resolve(home) for home in verb.settings], verb.positional, words)


def full(name, words, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(cli, "quick_parse", lambda *given: None)
        return cli.parse(name, words)


def said(parse):
    """Settings, or what is wrong."""
    try:
        return parse()
    except TidegateError as error:
        return str(error)


def fields(name):
    kinds = [cli._resolve(home) for home in cli.VERBS[name].settings]
    return [field for kind in kinds for field in dataclasses.fields(kind)]


def same(name, words, monkeypatch):
    found = said(lambda: quick(name, words))
    if found is not None:
        expected = said(lambda: full(name, words, monkeypatch))
        assert found == expected
        assert repr(found) == repr(expected)  # 1 == 1.0 == True


def one_of_each_type():
    """Return a command and a flag of each type that a flag has."""
    found = {str(field.type): (name, field.name) for name in QUICK for field in fields(name)}
    return sorted(found.values())


@pytest.mark.parametrize(("name", "field"), one_of_each_type())
def test_every_type_with_every_value(name, field, monkeypatch):
    """The library is slow: of the values that are not taken here it is not asked."""
    begin = ["model"] if cli.VERBS[name].positional else []
    for value in VALUES:
        same(name, [*begin, f"--{field.replace('_', '-')}={value}"], monkeypatch)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_any_words(data):
    name = data.draw(st.sampled_from(QUICK))
    flags = st.sampled_from(
        [f"--{field.name.replace('_', '-')}" for field in fields(name)] + ["--nothing", "-h", "model"]
    )
    words = data.draw(st.lists(flags | st.sampled_from(VALUES) | st.text(max_size=5), max_size=6))
    with pytest.MonkeyPatch.context() as monkeypatch:
        same(name, words, monkeypatch)


@pytest.mark.parametrize(
    "words",
    [
        ["base-en", "--prompt", "The tide", "--max-tokens", "50", "--seed", "1"],
        ["base-en", "--temperature=0.5", "--echo", "false", "--stop", "a", "--stop", "b"],
        ["--top-k", "5", "runs/x"],
    ],
)
def test_common_words_are_read_quickly(words, monkeypatch):
    assert quick("generate", words) == full("generate", words, monkeypatch)
