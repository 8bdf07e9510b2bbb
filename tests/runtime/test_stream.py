"""Text as it is written: whole characters, no stop string, the same for the same seed."""

from __future__ import annotations

import codecs
import itertools
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime.small_models import KINDS, TEXT, random_tensors, small_model, tokenizer_of
from tidegate.config import ModelConfig
from tidegate.errors import TidegateError
from tidegate.runtime import stream as stream_module
from tidegate.runtime.model import Model
from tidegate.runtime.sampling import Sampling
from tidegate.runtime.stream import StopStrings, read_prompt, write
from tidegate.text.tokenizer import train

MODELS = {kind: small_model(kind, seed=1) for kind in KINDS}
WILD = Sampling(temperature=3)


def written(kind, **options):
    return MODELS[kind].generate("ROMEO:", end_at_document=False, **{"max_tokens": 80, "sampling": WILD, **options})


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_joined_are_the_text(kind):
    pieces = list(MODELS[kind].stream("春", sampling=WILD, max_tokens=80, end_at_document=False))
    assert "".join(pieces) == MODELS[kind].generate("春", sampling=WILD, max_tokens=80, end_at_document=False)
    assert len(pieces) > 10
    assert all(pieces)


@settings(max_examples=25, deadline=None)
@given(kind=st.sampled_from(("bytes", "bpe")), sample=st.integers(0, 2**63 - 1), max_tokens=st.integers(0, 60))
def test_random_bytes_come_out_as_valid_text(kind, sample, max_tokens):
    """Weights are random, so half characters are the rule; the text is what the tokenizer's decode makes of the ids."""
    model = MODELS[kind]
    options = {"sampling": WILD, "max_tokens": max_tokens, "sample": sample, "end_at_document": False}
    pieces = list(model.stream("春眠", **options))
    for piece in pieces:
        piece.encode("utf-8")
    reading = read_prompt(model, "春眠", window=64)
    ids = list(stream_module._tokens(model, reading, WILD, max_tokens, sample, False))
    assert len(ids) == max_tokens
    assert "".join(pieces) == without_half_a_character(b"".join(map(model.tokenizer.token_bytes, ids)))


def without_half_a_character(data):
    """The text of bytes, from the longest beginning that no character is cut off of: by the library's own decoder."""
    return codecs.getincrementaldecoder("utf-8")("replace").decode(data)


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(KINDS), text=st.text("春眠ROME 曉\n é😀", min_size=1), data=st.data())
def test_a_text_that_ends_within_a_character_ends_before_it(kind, text, data):
    """However many tokens are written, no U+FFFD comes out of whole characters, and no character is lost."""
    tokenizer = train(kind, [text], 258 if kind == "bpe" else None)
    ids = tokenizer.encode(text).tolist()
    count = data.draw(st.integers(0, len(ids)))
    written = "".join(stream_module._filtered(iter(ids[:count]), StopStrings(["永不出現"]), tokenizer))
    spelled = b"".join(map(tokenizer.token_bytes, ids[:count]))
    assert written == spelled.decode("utf-8", errors="ignore")
    assert text.startswith(written)
    assert len(spelled) - len(written.encode()) < 4


def test_a_character_is_written_only_when_it_is_whole():
    class Spy:
        def token_bytes(self, token):
            return "春a".encode()[token : token + 1]

    assert list(stream_module._filtered(iter([0, 1, 2, 3, 0]), StopStrings([]), Spy())) == ["春", "a"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_and_sample_write_the_same(kind):
    assert written(kind) == written(kind)
    others = {written(kind, sample=1), written(kind, sampling=Sampling(temperature=3, seed=1)), written(kind)}
    assert len(others) == 3


def test_a_sample_does_not_depend_on_those_before_it():
    model = MODELS["characters"]
    reading = read_prompt(model, "R", window=64)
    alone = "".join(write(model, reading, sampling=WILD, max_tokens=40, sample=2))
    streams = [write(model, reading, sampling=WILD, max_tokens=40, sample=k) for k in range(3)]
    side_by_side = list(itertools.zip_longest(*streams, fillvalue=""))
    assert "".join(row[2] for row in side_by_side) == alone
    assert "".join(model.stream("R", sampling=WILD, max_tokens=40, sample=2)) == alone


def test_a_longer_text_begins_as_the_shorter_one():
    assert written("characters", max_tokens=60).startswith(written("characters", max_tokens=30))


def test_without_a_seed_every_text_is_another():
    assert written("characters", sampling=Sampling(seed=None)) != written("characters", sampling=Sampling(seed=None))


def test_the_prompt_matters_and_is_not_repeated():
    model = MODELS["characters"]
    greedy = Sampling(temperature=0)
    texts = {
        model.generate(prompt, sampling=greedy, max_tokens=20, end_at_document=False) for prompt in ("", "春", "It is")
    }
    assert len(texts) == 3


def test_generation_starts_from_the_document_token_in_the_initial_state():
    model = MODELS["characters"]
    ids = [model.tokenizer.document_id, *model.tokenizer.encode("春眠").tolist()]
    logits, _ = model.read(ids, model.initial_state())
    assert np.array_equal(read_prompt(model, "春眠", window=4).logits, logits)
    first, _ = model.step(model.tokenizer.document_id, model.initial_state())
    assert np.array_equal(read_prompt(model, "", window=4).logits, first)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_a_prompt_in_parts_is_the_same_prompt(kind, size, monkeypatch):
    monkeypatch.setattr(stream_module, "PIECE", 40)
    model = MODELS[kind]
    text = unicodedata.normalize("NFD", TEXT).replace("\n", "\r\n")
    parts = [text[i : i + size] for i in range(0, len(text), size)]
    reading = read_prompt(model, iter(parts), window=10)
    ids = model.tokenizer.encode(text)
    whole, _ = model.read([model.tokenizer.document_id, *ids.tolist()], model.initial_state())
    # in other pieces the sums are the same but for their order: float32's rounding of 4 sums of H a step and layer
    terms = len(ids) * model.config.layers * 4 * model.config.hidden_size
    assert np.abs(reading.logits - whole).max() < np.finfo(np.float32).eps * terms
    assert reading.recent == tuple(ids[-10:].tolist())


def test_accepted_pieces_are_the_normalised_prompt(monkeypatch):
    monkeypatch.setattr(stream_module, "PIECE", 10)
    pieces: list[str] = []
    read_prompt(MODELS["bytes"], ["e\u0301 春\r", "\n眠", "\rfoo bar baz"], window=0, accepted=pieces.append)
    assert "".join(pieces) == "é 春\n眠\nfoo bar baz"


@pytest.mark.parametrize(
    ("kind", "prompt", "missing"),
    [
        ("characters", "ROMEO 龙 ñ 龙", "'龙', 'ñ'"),
        ("words", "ROMEO: lihgt tempest", "'lihgt' .similar: 'light'., 'tempest'"),
        ("characters", "\U0001f600", "😀"),
    ],
)
def test_what_the_vocabulary_lacks_is_named(kind, prompt, missing):
    with pytest.raises(TidegateError, match=f"The prompt has .*{missing}.*vocabulary .{kind}. lacks: omit it"):
        MODELS[kind].stream(prompt)


TALE = 'Alice was here.\n"Who is Alice?" said the Cat; the cat was here.\nThe end.\n'


@pytest.mark.parametrize("kind", ["words", "whitespace"])
@pytest.mark.parametrize("vocabulary", [6, 12, 30, 100])
def test_every_prefix_of_the_training_text_is_a_prompt(kind, vocabulary):
    """Whatever of it the vocabulary has; its unknown words were trained on as such."""
    tokenizer = train(kind, [TALE], vocabulary)
    unknown = int((tokenizer.encode(TALE) == tokenizer.unknown_id).sum())
    config = ModelConfig(hidden_size=4)
    model = Model(config, tokenizer, random_tensors(config, tokenizer.vocabulary_size), unknown=unknown)
    words = tokenizer.cut(TALE)
    for count in range(len(words) + 1):
        for space in ("", " "):
            assert isinstance(model.generate("".join(words[:count]) + space, max_tokens=2), str)


@pytest.mark.parametrize("kind", ["words", "whitespace"])
def test_a_word_is_known_with_a_space_and_without(kind):
    tokenizer = train(kind, [" the Cat said \nEnd the Cat \n"])
    known = [tokenizer.encode_known(text).tolist() for text in ("Cat", " Cat", "\nCat", "said End", "said", "End")]
    (cat,), (end,), (said,) = tokenizer.encode(" Cat"), tokenizer.encode("End"), tokenizer.encode(" said")
    line_end = tokenizer.encode_known("\n").tolist()
    assert known == [[cat], [cat], [*line_end, cat], [said, end], [said], [end]]
    assert len(line_end) == 1
    assert tokenizer.unknown_id not in line_end
    assert tokenizer.unreadable("Cat \nsaid the dog, End") == [" dog", ","] if kind == "words" else [" dog,"]
    assert tokenizer.encode("Cat").tolist() == [tokenizer.unknown_id]  # measured as it was trained on


def test_words_that_are_spelled_alike_are_named():
    tokenizer = train("words", [" Alice saw the White Rabbit; alice"])
    assert tokenizer.near(" ALICE") == ["Alice", "alice"]
    assert tokenizer.near("Rabit") == ["Rabbit"]
    assert tokenizer.near("xyzzy") == []
    config = ModelConfig(hidden_size=4)
    model = Model(config, tokenizer, random_tensors(config, tokenizer.vocabulary_size), unknown=1)
    assert read_prompt(model, "the Rabit", window=0).unknown == (" Rabit",)


def test_a_long_list_of_missing_characters_is_cut():
    with pytest.raises(TidegateError) as raised:
        MODELS["characters"].stream("".join(map(chr, range(0x400, 0x480))))
    assert " …" in str(raised.value)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_bytes_and_bpe_lack_nothing(kind):
    assert MODELS[kind].generate("龙 ñ 😀 \x00", sampling=WILD, max_tokens=10, end_at_document=False)


@pytest.mark.parametrize("kind", KINDS)
def test_half_of_a_pair_of_surrogates_is_no_prompt(kind):
    with pytest.raises(TidegateError, match="surrogate"):
        MODELS[kind].stream("R\udc80")


@pytest.mark.parametrize("kind", ["characters", "words"])
def test_the_unknown_token_is_never_written(kind):
    model = MODELS[kind]
    ids = list(stream_module._tokens(model, read_prompt(model, "", window=0), Sampling(temperature=100), 400, 0, False))
    assert model.tokenizer.unknown_id not in ids
    assert len(set(ids)) > 20


def test_the_document_token_ends_a_text_unless_asked_not_to():
    model = MODELS["characters"]
    flat = Sampling(temperature=100)
    lengths = [len(model.generate(sampling=flat, max_tokens=300, sample=k)) for k in range(10)]
    assert min(lengths) < 300
    on = [len(model.generate(sampling=flat, max_tokens=300, sample=k, end_at_document=False)) for k in range(10)]
    assert on == [300] * 10


def test_no_tokens_give_no_text():
    assert list(MODELS["characters"].stream("R", max_tokens=0)) == []


@pytest.mark.parametrize("options", [{"max_tokens": -1}, {"stop": [""]}, {"stop": ["x" * 1001]}, {"sample": -1}])
def test_a_limit_out_of_range_is_refused(options):
    with pytest.raises(TidegateError, match="but it must"):
        MODELS["characters"].stream("R", **options)


def passed(pieces, stops):
    strings = StopStrings(stops)
    emitted = []
    for piece in pieces:
        emitted.append(strings.feed(piece))
        if strings.found:
            break
    return "".join(emitted) + strings.finish(), strings.found


AB = st.text(alphabet="ab春", min_size=1, max_size=4)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(alphabet="ab春", max_size=3), max_size=12), st.lists(AB, max_size=3))
def test_stop_strings_over_every_border(pieces, stops):
    """The borders between pieces do not matter, and a stop string never comes out, nor does a part of the one found."""
    text = "".join(pieces)
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    whole = (
        min((text[: min(ends)].find(s) for s in stops if text[: min(ends)].endswith(s)), default=0) if ends else None
    )
    assert passed(pieces, stops) == (text if whole is None else text[:whole], bool(ends))
    assert not any(stop in passed(pieces, stops)[0] for stop in stops)


def test_nothing_is_held_back_for_longer_than_needed():
    strings = StopStrings(["\n\n", "END"])
    assert [strings.feed(piece) for piece in ("a\n", "b", "EN", "E", "N", "X")] == ["a", "\nb", "", "EN", "", "ENX"]


@pytest.mark.parametrize("kind", ["characters", "bytes"])
def test_what_was_held_back_comes_out_at_the_end(kind):
    text = written(kind, max_tokens=20)
    assert written(kind, max_tokens=20, stop=[text[-2:] + "永不出現"]) == text


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_ends_before_its_stop_string(kind):
    text = written(kind, max_tokens=60)
    stop = text[20:23]
    stopped = written(kind, max_tokens=60, stop=[stop, "永不出現"])
    assert stopped == text[: text.find(stop)]


def test_a_stop_string_of_several_bytes_is_found_in_a_text_of_bytes():
    text = TEXT.replace("light", "é")
    strings = unicodedata.normalize("NFD", "é")
    model = MODELS["bytes"]
    assert model.tokenizer.normalize(strings) in text
    ids = iter(model.tokenizer.encode(text).tolist())
    stops = StopStrings([model.tokenizer.normalize(strings)])
    assert "".join(stream_module._filtered(ids, stops, model.tokenizer)) == text[: text.find("é")]


def test_a_model_of_few_documents_begins_with_a_line() -> None:
    """It has seen the document token too seldom: a text begins as after a line's end, and a prompt as it is."""
    config, tokenizer = ModelConfig(hidden_size=8), tokenizer_of("characters")
    tensors = random_tensors(config, tokenizer.vocabulary_size)
    few, many = (Model(config, tokenizer, tensors, documents=count) for count in (1, 5000))
    line_end, document, prompt = tokenizer.encode("\n"), [tokenizer.document_id], tokenizer.encode("It")
    for model, start, ids in [
        (few, "", line_end),
        (few, "It", prompt),
        (many, "", document),
        (many, "It", [*document, *prompt]),
    ]:
        expected, _ = model.read(np.array(ids), model.initial_state())
        np.testing.assert_array_equal(read_prompt(model, start, window=4).logits, expected)
