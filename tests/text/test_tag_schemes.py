"""Entities written in any scheme and spelling are read as the same; parts of speech are never read as entities."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.errors import TidegateError
from tidegate.text.entities import Entity, are_entities, entities, repaired, to_bio
from tidegate.text.tag_schemes import MARKS, OUTSIDE, SPAN, Spelling, recognized, respell, same_kinds
from tidegate.text.tagged import Sentence, TaggedFile

KINDS = ("PER", "LOC-x", "地", "B", "NR.NAM", "e_s")
SCHEMES = {
    "BIO": "B I I B", "BIOES": "B I E S", "BMES": "B M E S", "BMEWO": "B M E W", "BILOU": "B I L U", "IOE": "I I E E",
}  # fmt: skip
"""the letters of an entity's first, inner and last tokens, and of an entity of one token"""


def write(length: int, found: list[Entity], scheme: str, spelling: Spelling, outside: str) -> tuple[str, ...]:
    """Return tags of so many tokens, in a scheme and a spelling."""

    def spelled(letter: str, kind: str) -> str:
        letter = letter.lower() if spelling.lower else letter
        if not spelling.mark:
            return letter
        return spelling.mark.join((letter, kind) if spelling.letter_first else (kind, letter))

    tags = [outside] * length
    last = None
    for kind, begin, end in found:
        if scheme in ("IO", "IOB1"):
            touches = last is not None and last.kind == kind and last.last == begin - 1
            letters = ["B" if touches and scheme == "IOB1" else "I", *["I"] * (end - begin)]
        else:
            first, inner, final, single = SCHEMES[scheme].split()
            letters = [single] if begin == end else [first, *[inner] * (end - begin - 1), final]
        tags[begin : end + 1] = [spelled(letter, kind) for letter in letters]
        last = Entity(kind, begin, end)
    return tuple(tags)


def laid_out(parts: list[tuple[int, int, str]]) -> tuple[int, list[Entity]]:
    """Return how many tokens there are, and entities, from (tokens before, tokens of it, kind) of each."""
    at, found = 0, []
    for gap, length, kind in parts:
        found.append(Entity(kind, at + gap, at + gap + length - 1))
        at += gap + length
    return at + 1, found


PARTS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4), st.sampled_from(KINDS)), max_size=5)
EVERY_LETTER = laid_out([(1, length, kind) for kind in KINDS[:2] for length in (1, 2, 3)])
"""with entities of each length, so that each letter of a scheme comes"""
SPELLINGS = st.one_of(
    st.builds(Spelling, st.sampled_from(MARKS), st.booleans(), st.booleans()),
    st.builds(Spelling, st.just(""), lower=st.booleans()),
)


def tagged(name: str, sentences: list[tuple[str, ...]]) -> TaggedFile:
    file = TaggedFile(name)
    for sentence, tags in enumerate(sentences):
        for number, tag in enumerate(tags):
            file.add(f"{name}, line {len(tags) * sentence + number + 1}", "word", tag)
        file.end()
    return file


def tags_of(file: TaggedFile) -> list[tuple[str, ...]]:
    return [sentence.tags for sentence in file.sentences]


@given(st.lists(PARTS, max_size=4), st.sampled_from(sorted(SCHEMES)), SPELLINGS, st.sampled_from(OUTSIDE))
def test_entities_of_any_scheme_and_spelling_are_read_again(parts, scheme, spelling, outside):
    if spelling.mark and outside == spelling.mark:
        outside = "O"
    texts = [EVERY_LETTER, *map(laid_out, parts)]
    if not spelling.mark:
        texts = [(length, [one._replace(kind=SPAN) for one in found]) for length, found in texts]
    file = tagged("a", [write(length, found, scheme, spelling, outside) for length, found in texts])
    said = respell([file])
    assert [entities(tags) for tags in tags_of(file)] == [found for _, found in texts]
    is_plain = scheme in ("BIO", "BIOES") and spelling.is_usual and outside == "O"
    assert bool(said) != is_plain
    if said:
        assert f"{scheme}, read as BIOES" in said[0]
    assert not sum(repaired(tags, scheme != "BIO") for tags in tags_of(file)), "nothing has to be repaired"


@given(st.lists(PARTS, min_size=1, max_size=4), SPELLINGS)
def test_iob1_begins_entities_by_i(parts, spelling):
    texts = [EVERY_LETTER, laid_out([(1, 1, "PER"), (0, 2, "PER")]), *map(laid_out, parts)]
    if not spelling.mark:
        texts = [(length, [one._replace(kind=SPAN) for one in found]) for length, found in texts]
    file = tagged("a", [write(length, found, "IOB1", spelling, "O") for length, found in texts])
    (said,) = respell([file])
    assert "IOB1, read as BIOES: I begins an entity" in said
    assert [entities(tags) for tags in tags_of(file)] == [found for _, found in texts]
    assert tags_of(file) == [to_bio(tags) for tags in tags_of(file)]


UPOS = "ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X _".split()
PENN = "CC CD DT EX FW IN JJ LS MD NN NNS POS PRP PRP$ RB SYM TO UH VB WP$ . , : `` '' -LRB- -NONE- # $".split()
PKU = "a ad ag b c d e f g h i j k l m n nr ns nt o p q r s t u v vn w x y z".split()
BROWN = "NN NN-TL NP-TL VB IN-HL AT . JJ-TL BE-HL FW-IN ABL".split()
NEGRA = "ADJA APPR ART KON NE NN VVFIN XY $. $, $( B S I M E L".split()
NUMBERED = "N_S V_S A_S N_P V_P PUNCT".split()


@pytest.mark.parametrize("tags", [UPOS, PENN, PKU, BROWN, NEGRA, NUMBERED, ["NOUN", "X", "O"], ["X", "B"], ["S", "V"]])
def test_parts_of_speech_are_no_scheme(tags):
    assert recognized(tags) is None
    file = tagged("a", [tuple(tags)])
    assert respell([file]) == []
    assert tags_of(file) == [tuple(tags)], "as they are"


@given(st.sets(st.sampled_from(sorted({*UPOS, *PENN, *PKU, *BROWN})), min_size=8))
def test_no_eight_parts_of_speech_are_a_scheme(tags):
    assert recognized(tags) is None


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("B M E S", "B-SPAN I-SPAN E-SPAN S-SPAN"),  # words, each character in one
        ("B I O", "B-SPAN I-SPAN O"),
        ("b i o", "B-SPAN I-SPAN O"),
        ("B_PER I_PER O B_LOC", "B-PER I-PER O B-LOC"),
        ("PER-B PER-I O", "B-PER I-PER O"),
        ("b-per i-per o", "B-per I-per O"),
        ("B-nr M-nr E-nr S-ns O", "B-nr I-nr E-nr S-ns O"),
        ("B-X OUT", "B-X O"),
    ],
)
def test_examples(tags, expected):
    file = tagged("a", [tuple(tags.split())])
    respell([file])
    assert tags_of(file) == [tuple(expected.split())]


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ("B-X M-X E-X S-X O", "Tags: BMES, read as BIOES: M is I."),
        ("B-X I-X L-X U-X O", "Tags: BILOU, read as BIOES: L is E, U is S."),
        ("B_X I_X OUT", "Tags: BIO, read as BIOES: tags are spelled as B_kind, OUT is O."),
        ("X-b X-i O", "Tags: BIO, read as BIOES: tags are spelled as kind-b."),
        ("B I O", "Tags: BIO, read as BIOES: tags are spelled as B, their kind is SPAN."),
        ("O I-X I-X", "Tags: IO, read as BIOES: I begins an entity."),
    ],
)
def test_it_is_said_in_one_line(tags, said):
    assert respell([tagged("a", [tuple(tags.split())])]) == [said]


def test_each_file_may_have_its_own_scheme():
    files = [
        tagged("train", [("B-PER", "I-PER", "O"), ("B-LOC", "O", "O")]),
        tagged("validation", [("PER_B", "PER_M", "PER_E", "OUT", "LOC_S")]),
        tagged("test", [("0", "0")]),
    ]
    assert respell(files) == ["Tags of validation: BMES, read as BIOES: M is I, tags are spelled as kind_B, OUT is O.",
                              "Tags of test: BIO, read as BIOES: 0 is O."]  # fmt: skip
    assert tags_of(files[1]) == [("B-PER", "I-PER", "E-PER", "O", "S-LOC")]
    assert tags_of(files[2]) == [("O", "O")]
    tags = set(itertools.chain.from_iterable(tag for file in files for tag in tags_of(file)))
    assert are_entities(sorted(tags))


def test_a_slip_is_named_at_its_line():
    files = [tagged("a", [("B-X", "I-X", "O")]), tagged("b", [("B-X", "O"), ("O", "NN")])]
    with pytest.raises(TidegateError, match=r"b, line 4: most tags are those of entities.*also the tag 'NN'"):
        respell(files)
    with pytest.raises(TidegateError, match=r"a, line 3: .*B_kind, or O.*also the tag 'B-X'"):
        respell([tagged("a", [("B_X", "I_X", "B-X", "O", "B_Y")])])


def test_kinds_that_differ_in_case_are_the_same():
    known = [Sentence(("a", "b"), ("B-PER", "S-Loc")), Sentence(("a",), ("S-loc",))]
    others = [Sentence(("a", "b", "c", "d"), ("B-per", "O", "S-LOC", "S-new"))]
    found, said = same_kinds(known, others)
    assert found[0].tags == ("B-PER", "O", "S-LOC", "S-new"), "of two that it could be it is neither"
    assert said == ["The kind per is read as PER."]
