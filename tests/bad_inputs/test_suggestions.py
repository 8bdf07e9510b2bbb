"""A flag that there is not: the one that is meant is named, whatever it begins with or is called elsewhere."""

from __future__ import annotations

import dataclasses
import re

import pytest

from tidegate.cli import VERBS, _resolve, parse
from tidegate.errors import TidegateError, nearest
from tidegate.flags import SYNONYMS

FLAGS = {
    verb: [
        "--" + field.name.replace("_", "-")
        for home in spec.settings
        for field in dataclasses.fields(_resolve(home))
        if field.name not in (spec.positional, *spec.hidden) and field.metadata.get("flag", True)
    ]
    for verb, spec in VERBS.items()
}


def suggested(verb: str, flag: str) -> str | None:
    with pytest.raises(TidegateError, match="Unknown") as raised:
        parse(verb, [*(["folder"] if VERBS[verb].positional else []), f"{flag}=1"])
    found = re.search(r"did you mean '([^']+)'", str(raised.value))
    return found[1] if found else None


@pytest.mark.parametrize("verb", ["train", "generate", "chat", "finetune"])
def test_of_a_beginning_the_whole_is_suggested(verb):
    for flag in FLAGS[verb]:
        for length in range(4, len(flag)):
            found = re.search(r"mean '([^']+)'", nearest(flag[:length], FLAGS[verb]))
            assert found is not None
            assert found[1].startswith(flag[:length])


@pytest.mark.parametrize(
    ("verb", "flag", "meant"),
    [
        ("generate", "--temp", "--temperature"), ("chat", "--temp", "--temperature"),
        ("generate", "--temprature", "--temperature"), ("generate", "--max-new-tokens", "--max-tokens"),
        ("train", "--lr", "--learning-rate"), ("train", "--hiden-size", "--hidden-size"),
        ("train", "--num-layers", "--layers"), ("train", "--output", "--out"), ("train", "--HIDDEN", "--hidden-size"),
        ("train", "--n-layers", "--layers"), ("generate", "--topk", "--top-k"),
        ("generate", "--samples", "--num-samples"),
        ("train", "--vocab-size", "--vocabulary"), ("train", "--grad-clip", "--clip"),
    ],
)  # fmt: skip
def test_typical_names(verb, flag, meant):
    if meant not in FLAGS[verb]:
        pytest.fail(f"{verb} has no {meant}: change this case")
    assert suggested(verb, flag) == meant


@pytest.mark.parametrize("flag", ["--zzzz", "--qqq-www", "--x"])
def test_what_is_like_none(flag):
    """The dashes that all flags share make none alike."""
    assert suggested("generate", flag) is None


def test_each_synonym_stands_once():
    names = [name for group in SYNONYMS for name in group]
    assert len(set(names)) == len(names)


def test_names_that_are_no_flags():
    assert nearest("Tran", ["train", "chat"]) == " (did you mean 'train'?)"
    assert nearest("characters", ["words"]) == ""
    assert nearest("", ["words"]) == ""
