import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tidegate.errors import TidegateError
from tidegate.text.normalize import normalize
from tidegate.text.tokenizer import KINDS, Tokenizer, from_json, train
from tidegate.text.tokenizers import bpe
from tidegate.text.tokenizers.bpe import BPETokenizer
from tidegate.text.tokenizers.words import WhitespaceTokenizer, WordsTokenizer

TEXT = "To be, or not to be: that is the question.\n床前明月光，疑是地上霜。\ncafé 2025 😀 __init__\n" * 3
TOKENIZERS = {kind: train(kind, [TEXT], 300 if kind == "bpe" else None) for kind in KINDS}
ANY_TEXT = st.text(
    st.sampled_from("ab 汉字，\r\n\té\u0301😀한\u1100\u1161_ 12") | st.characters(exclude_categories=["Cs"])
)
kinds = pytest.mark.parametrize("kind", KINDS)


@given(text=ANY_TEXT)
@example(text="\r\n\r e\u0301 \u1112\u1161\u11ab 汉字 👩‍👩‍👧 <|document|> \x00")
@settings(max_examples=60, deadline=None)
@kinds
def test_decoding_gives_the_normalised_text_back(kind: str, text: str) -> None:
    tokenizer = TOKENIZERS[kind]
    if tokenizer.unknown_id is not None:  # one that has seen this text
        tokenizer = train(kind, [normalize(text) or "x"])
    ids = tokenizer.encode(text)
    assert ids.dtype == np.uint32
    assert tokenizer.decode(ids) == normalize(text)
    assert tokenizer.missing(text) == []
    assert not {tokenizer.document_id, tokenizer.unknown_id} & set(ids.tolist())
    assert ids.size == 0 or ids.max() < tokenizer.vocabulary_size


@kinds
def test_the_json_gives_the_same_tokenizer_back(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]
    again = from_json(json.loads(json.dumps(tokenizer.to_json())))
    assert type(again) is type(tokenizer)
    assert again.digest == tokenizer.digest
    assert again.vocabulary_size == tokenizer.vocabulary_size
    np.testing.assert_array_equal(again.encode(TEXT), tokenizer.encode(TEXT))
    for token in range(tokenizer.vocabulary_size):
        assert again.token_bytes(token) == tokenizer.token_bytes(token)


@kinds
def test_every_id_has_its_bytes_and_no_other(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]
    assert tokenizer.token_bytes(tokenizer.document_id) == b""
    ordinary = set(range(tokenizer.vocabulary_size)) - {tokenizer.document_id, tokenizer.unknown_id}
    assert len({tokenizer.token_bytes(token) for token in ordinary}) == len(ordinary)
    for wrong in (-1, tokenizer.vocabulary_size):
        with pytest.raises(IndexError):
            tokenizer.token_bytes(wrong)


@kinds
def test_training_is_deterministic_and_the_digest_follows_the_text(kind: str) -> None:
    vocabulary = 300 if kind == "bpe" else None
    assert train(kind, [TEXT], vocabulary).digest == TOKENIZERS[kind].digest
    other = train(kind, [TEXT + "ü the ü the ü the ü the"], vocabulary).digest
    assert (other == TOKENIZERS[kind].digest) == (kind == "bytes")


def test_digests_tell_kinds_and_orders_apart() -> None:
    assert len({tokenizer.digest for tokenizer in TOKENIZERS.values()}) == len(KINDS)
    json_of = TOKENIZERS["words"].to_json()
    turned = from_json({**json_of, "words": json_of["words"][::-1]})
    assert turned.vocabulary_size == TOKENIZERS["words"].vocabulary_size
    assert turned.digest != TOKENIZERS["words"].digest


def test_the_digest_is_fixed_for_all_time() -> None:
    """A digest stands in model folders and stores: a change of the canonical form would orphan them all."""
    assert train("bytes", []).digest == "f93eab4d58ee569fb4e42c22826dfb18d718330e4583fd5fba3281bf0d12ba74"
    assert train("characters", ["汉a"]).digest == "ce957ecbe9591f0a45b938b089061993ca61da557e5a57fc8c1108ca0ebba6f0"


def test_bytes_are_the_utf8() -> None:
    assert TOKENIZERS["bytes"].encode("é\r\n汉").tolist() == [0xC3, 0xA9, 10, *"汉".encode()]
    assert TOKENIZERS["bytes"].vocabulary_size == 257


def test_characters_are_sorted_and_the_rest_is_unknown() -> None:
    tokenizer = train("characters", ["汉b", "a汉"])
    assert tokenizer.encode("ab汉").tolist() == [0, 1, 2]
    assert (tokenizer.document_id, tokenizer.unknown_id, tokenizer.vocabulary_size) == (3, 4, 5)
    assert tokenizer.encode("a字😀b").tolist() == [0, 4, 4, 1]
    assert tokenizer.decode([0, 4, 1]) == "a\ufffdb"
    assert tokenizer.missing("字ab字😀e\u0301") == ["字", "😀", "é"]


def test_words_are_runs_han_characters_and_single_marks() -> None:
    text = "Hello  world, 2nd don't\n\n床前 moon明_x"
    assert WordsTokenizer.cut(text) == [
        "Hello", " ", " world", ",", " 2nd", " don", "'", "t", "\n", "\n", "床", "前", " moon", "明", "_", "x",
    ]  # fmt: skip
    assert [len(word) for word in WordsTokenizer.cut("a" * 150)] == [64, 64, 22]


def test_whitespace_counts_as_the_literature_does():
    """`line.split() + ["<eos>"]`, for a line in the form of the standard sets: a space before each word and the end."""
    lines = [" no it was n't black monday ", " = Robert <unk> = ", " ", " the $ N-million @-@ starring café 潮水 "]
    cut = WhitespaceTokenizer.cut("".join(line + "\n" for line in lines))
    assert [word.strip(" ") for word in cut] == [w for line in lines for w in [*line.split(), "\n"]]
    assert WhitespaceTokenizer.cut("a  b\t c\n\nd") == ["a", " ", " b", "\t", " c", "\n", "\n", "d"]


def test_words_keep_the_most_frequent() -> None:
    tokenizer = train("words", [" the the the of of a b"], 6)
    assert [tokenizer.token_bytes(token) for token in range(6)] == [
        b" the",
        b" of",
        b" a",
        b" b",
        b"",
        "\ufffd".encode(),
    ]
    tokenizer = train("words", [" the the the of of a b"], 4)
    assert tokenizer.encode(" the of a").tolist() == [0, 1, tokenizer.unknown_id]
    assert tokenizer.missing(" a the x a") == [" a", " x"]
    assert train("words", [TEXT]).vocabulary_size < 60


def test_bpe_merges_what_is_frequent() -> None:
    tokenizer = train("bpe", ["the then the 明月 明月 明月"] * 10, 280)
    assert 257 < tokenizer.vocabulary_size <= 280
    assert len(tokenizer.encode(" the")) == 1
    assert len(tokenizer.encode(" 明月")) == 1
    assert tokenizer.token_bytes(ord("t")) == b"t"


def test_bpe_knows_a_token_that_two_merges_make() -> None:
    tokenizer = from_json(changed("bpe", merges=[[97, 98], [98, 99], [256, 99], [97, 257], [258, 100]]))
    assert tokenizer.vocabulary_size == 256 + 4 + 1
    assert [tokenizer.token_bytes(token) for token in range(256, 261)] == [b"ab", b"bc", b"abc", b"abcd", b""]
    assert tokenizer.encode("abcd bc").tolist() == [259, 32, 257]


@pytest.mark.parametrize(
    ("kind", "vocabulary", "said"),
    [
        ("bpe", 256, "257 to"),
        ("words", 2, "3 to"),
        ("words", 10**8, "3 to"),
        ("bytes", 300, "set their own"),
        ("characters", 300, "set their own"),
        ("charcters", None, "did you mean 'characters'"),
    ],
)
def test_impossible_settings_are_refused(kind: str, vocabulary: int | None, said: str) -> None:
    with pytest.raises(TidegateError, match=said):
        train(kind, ["a"], vocabulary)


@kinds
def test_a_lone_surrogate_is_refused(kind: str) -> None:
    for ask in (TOKENIZERS[kind].encode, TOKENIZERS[kind].normalize):
        with pytest.raises(TidegateError, match=r"U\+DC80"):
            ask("a\udc80")


def changed(kind: str, /, **fields: Any) -> dict[str, Any]:
    return {**TOKENIZERS[kind].to_json(), **fields}


WRONG_JSON = [
    ([], "no tokenizer"),
    ({"format": "other"}, "no tokenizer"),
    (changed("bytes", format_version=2), "version 2"),
    (changed("bytes", format_version="1"), "version '1'"),
    (changed("bytes", normalization={"line_ends": "lf"}), "normalisation"),
    (changed("bytes", kind="byte"), "did you mean 'bytes'"),
    (changed("bytes", kind=["bytes"]), "no tokenizer"),
    (changed("bytes", more=1), "fields 'more'"),
    (changed("characters", characters="ba"), "not in code point order"),
    (changed("characters", characters="aa"), "not in code point order"),
    (changed("characters", characters="a\ud800"), "no string of characters"),
    (changed("characters", characters=["a"]), "no string of characters"),
    (changed("characters", words=[]), "fields 'characters', 'words'"),
    (changed("words", words="ab"), "no list"),
    (changed("words", words=["a", "a"]), "twice"),
    (changed("words", words=["a b"]), "not one word"),
    (changed("words", words=[""]), "not one word"),
    (changed("words", words=["\ud800"]), "not one word"),
    (changed("words", words=[1]), "not one word"),
    (changed("bpe", merges={}), "no list"),
    (changed("bpe", merges=[[1]]), "not pairs"),
    (changed("bpe", merges=[[1, True]]), "not pairs"),
    (changed("bpe", merges=[["a", "b"]]), "not pairs"),
    (changed("bpe", merges=[[97, 256]]), "before both exist"),
    (changed("bpe", merges=[[-1, 97]]), "before both exist"),
    (changed("bpe", merges=[[97, 97], *([256 + i, 256 + i] for i in range(30))]), "limit is 128"),
]


@pytest.mark.parametrize(("data", "said"), WRONG_JSON)
def test_anything_unexpected_in_the_json_is_refused(data: Any, said: str) -> None:
    with pytest.raises(TidegateError, match=said):
        from_json(data)


@given(
    data=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    )
)
@kinds
@settings(max_examples=40, deadline=None)
def test_the_json_of_a_stranger_gives_a_tokenizer_or_an_error(kind: str, data: Any) -> None:
    fields = {"characters": "characters", "words": "words", "whitespace": "words", "bpe": "merges", "bytes": "x"}
    try:
        tokenizer: Tokenizer = from_json(changed(kind, **{fields[kind]: data}))
    except TidegateError:
        return
    assert tokenizer.decode(tokenizer.encode("")) == ""


STRETCHES = st.text(
    st.sampled_from("ab'st 1\n\t,. 汉字。，“”（é\u00a0\u3000\u2028\u0301😀ⅷ²\u1100\x1c\x85\r"), max_size=40
)


APOSTROPHES = BPETokenizer.train([TEXT + "a 's b' ，汉 \n\n  。” 1 2" * 3], 400)


@given(text=STRETCHES)
@settings(max_examples=1000, deadline=None)
@example(text="it 's they'll  two\n\nlines 汉，字\n“x” \n y")
def test_bpe_of_stretches_is_that_of_the_whole_text(text: str) -> None:
    """The text is cut only where no token of the library's own pattern lies across."""
    tokenizer = APOSTROPHES
    tokenizer._whole = bpe.FEW
    text = normalize(text)
    whole = tokenizer._engine.encode_batch_fast([text])[0].ids
    assert tokenizer.encode(text).tolist() == whole
    assert tokenizer.encode(text).tolist() == whole, "and so from what is remembered"


def test_the_first_short_texts_have_the_ids_of_later_ones() -> None:
    """They are encoded without the pattern, which takes a while to compile."""
    tokenizer = BPETokenizer(APOSTROPHES._merges)
    texts = ["it 's they'll  two\n\nlines 汉，字\n“x” \n y", "", "a" * 999, "b " * 600]
    first = [tokenizer.encode(text).tolist() for text in texts]
    tokenizer._whole = bpe.FEW
    assert [tokenizer.encode(text).tolist() for text in texts] == first


def test_bpe_remembers_no_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpe, "REMEMBERED", 5)
    tokenizer = train("bpe", [TEXT], 300)
    assert isinstance(tokenizer, BPETokenizer)
    for start in range(0, 60, 3):
        text = " ".join(map(str, range(start, start + 4)))
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert len(tokenizer._known) <= 5


def test_words_met_once_are_forgotten_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.text.tokenizers.words._COUNTED", 100)
    pieces = [f"often {number} twice{number % 7}\n" for number in range(1000)]
    tokenizer = train("words", pieces, 12)
    assert tokenizer.missing("often twice0 twice1 twice2 twice3 twice4 twice5 twice6\n5000") == ["5000"]
    assert tokenizer.vocabulary_size == 12
