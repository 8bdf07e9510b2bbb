"""One tokenizer, model or template in the hands of many threads gives each what it gives to one alone."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.runtime.small_models import KINDS, small_model, tokenizer_of
from tidegate.runtime.sampling import Sampling
from tidegate.text.chat_template import ChatTemplate
from tidegate.text.conversations.message import Message
from tidegate.text.tokenizers import bpe

THREADS = 16


@pytest.fixture(autouse=True)
def _threads_that_switch_often() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def texts(count: int, words: int) -> list[str]:
    rng = random.Random(0)
    letters = "abcdefgh春眠不覺曉處聞啼鳥 "
    return [" ".join("".join(rng.choices(letters, k=5)) for _ in range(words)) for _ in range(count)]


def check(of_one: Callable[[str], object], given: list[str]) -> None:
    """Compare what many threads get at once with what one gets of a fresh object, one text after another."""
    with ThreadPoolExecutor(THREADS) as pool:
        together = list(pool.map(of_one, given))
    assert together == [of_one(text) for text in given]


@pytest.mark.parametrize("kind", [*KINDS, "whitespace"])
def test_a_tokenizer(kind, monkeypatch):
    """Of BPE the memory of stretches is full all the time, and a thread replaces it while others read."""
    monkeypatch.setattr(bpe, "REMEMBERED", 400)
    tokenizer = tokenizer_of(kind)
    check(lambda text: tokenizer.encode(text).tolist(), texts(160, 150))


def test_what_is_remembered_stays_bounded(monkeypatch):
    monkeypatch.setattr(bpe, "REMEMBERED", 400)
    tokenizer = tokenizer_of("bpe")
    check(lambda text: tokenizer.encode(text).tolist(), texts(160, 150))
    assert len(tokenizer._known) <= 400 + THREADS * 300


@pytest.mark.parametrize("kind", ["characters", "bpe"])
def test_a_model(kind):
    model = small_model(kind)
    prompts = ["ROMEO: ", "春眠", "It is", "soft"] * 8
    check(lambda prompt: model.generate(prompt, max_tokens=20, sampling=Sampling(seed=3)), prompts)


def test_a_chat_template():
    template = ChatTemplate.of("turns")
    check(lambda text: template.render([Message("user", text)], answer_next=True), texts(64, 3))
