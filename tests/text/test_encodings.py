"""Encodings: what a mark, a flag or a guess says, and the sentence where it does not fit."""

from __future__ import annotations

import codecs
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.errors import TidegateError
from tidegate.text import encodings
from tidegate.text.encodings import canonical, decode_stream, likely

CHINESE = (
    "第一回　甄士隐梦幻识通灵，贾雨村风尘怀闺秀。此开卷第一回也。作者自云：因曾历过一番梦幻之后，故将真事隐去。\n" * 4
)
TRADITIONAL = "紅樓夢第一回　甄士隱夢幻識通靈，賈雨村風塵懷閨秀。列位看官：你道此書從何而來？說起根由雖近荒唐。\n" * 4
GERMAN = "Größe und Übermut; schöne Grüße aus Köln, café déjà vu, naïve garçons.\n" * 4
CHAPTER = "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦。及秦灭之后，楚、汉分争，又并入于汉。"
SAMPLES = [
    (CHINESE, "gb18030"), (CHINESE, "gbk"), (TRADITIONAL, "big5"), (CHINESE, "utf-16-le"), (CHINESE, "utf-16-be"),
    ("Plain English text.\n" * 9, "utf-16-le"), (CHINESE, "utf-8"), (GERMAN, "utf-8"), ("plain\n", "utf-8"),
]  # fmt: skip


def decoded(data: bytes, encoding: str) -> str:
    return "".join(decode_stream("a.txt", io.BytesIO(data), encoding))


@pytest.mark.parametrize(("text", "encoding"), SAMPLES, ids=lambda value: value if len(str(value)) < 12 else "")
def test_a_guess_reads_the_text(text, encoding):
    data = text.encode(encoding)
    assert decoded(data, "auto") == text
    assert canonical(likely(data)) == canonical(encoding)


@pytest.mark.parametrize(("text", "encoding"), [s for s in SAMPLES if s[1] != "utf-8"], ids=lambda v: str(v)[:12])
def test_a_wrong_encoding_is_an_error_that_names_the_right_one(text, encoding):
    with pytest.raises(TidegateError, match=rf"give --encoding {canonical(encoding)}"):
        decoded(text.encode(encoding), "utf-8")


def test_latin_1_is_suggested_as_the_wider_windows_form():
    with pytest.raises(TidegateError, match=r"the byte 0xf6 at offset 2 does not fit. It looks like cp1252"):
        decoded(GERMAN.encode("latin-1"), "utf-8")
    assert decoded(GERMAN.encode("latin-1"), "latin-1") == GERMAN


@given(
    text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), max_size=40),
    encoding=st.sampled_from(["utf-8", "gb18030", "utf-16", "utf-16-le", "utf-32-be"]),
    mark=st.booleans(),
    size=st.integers(1, 9),
)
@settings(max_examples=200, deadline=None)
def test_decoding_is_that_of_the_whole_however_it_is_cut(text, encoding, mark, size):
    marks = {
        "utf-8": codecs.BOM_UTF8, "utf-16-le": codecs.BOM_UTF16_LE, "utf-32-be": codecs.BOM_UTF32_BE,
    }  # fmt: skip
    data = (marks.get(encoding, b"") if mark else b"") + text.encode(encoding)
    before = encodings.BLOCK_BYTES, encodings.SAMPLE_BYTES
    encodings.BLOCK_BYTES, encodings.SAMPLE_BYTES = size, size + 3
    try:
        assert decoded(data, encoding) == text
    finally:
        encodings.BLOCK_BYTES, encodings.SAMPLE_BYTES = before


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_mark_goes_before_what_is_said(encoding):
    assert decoded(("\ufeff" + CHINESE).encode(encoding), "latin-1") == CHINESE


@pytest.mark.parametrize(
    ("data", "encoding", "said"),
    [
        (b"abc\0def", "utf-8", "a.txt is a binary file, it has a NUL byte at offset 3"),
        ("ab\0".encode("utf-16-le"), "utf-16-le", "has a NUL character"),
        ("字".encode("gb18030")[:1], "gb18030", "a.txt is not gb18030: the byte 0xd7 at offset 0"),
        (b"a\0b", "utf-16-le", "not utf-16-le: the byte 0x62 at offset 2"),
        ("hello there".encode("utf-16-le"), "utf-8", "has NUL bytes as utf-16-le does: give --encoding utf-16-le"),
    ],
)
def test_what_is_no_text_is_refused(data, encoding, said):
    with pytest.raises(TidegateError) as raised:
        decoded(data, encoding)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("given_name", "name"), [("UTF8", "utf-8"), ("GBK", "gb18030"), ("gb2312", "gb18030"), ("Latin1", "latin-1")]
)
def test_an_encoding_has_one_name(given_name, name):
    assert canonical(given_name) == name


@pytest.mark.parametrize("wrong", ["gb18003", "rot13", "hex", "unicode_escape", "utf-7", "", "x\0", "idna"])
def test_what_is_no_encoding_is_refused(wrong):
    with pytest.raises(TidegateError, match="There is no encoding"):
        canonical(wrong)
    with pytest.raises(TidegateError, match="did you mean 'gb18030'"):
        canonical("gb18003")


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
@pytest.mark.parametrize("between", ["\n", ""], ids=["lines", "one line"])
@pytest.mark.parametrize("encoding", ["gb18030", "big5"])
def test_a_guess_stands_wherever_the_sample_cuts_a_character(encoding, between, before):
    """A book is longer than what a guess looks at, and its end there may be half a character."""
    sentence = "話說天下大勢，分久必合，合久必分，周末七國分爭，並入於秦。" if encoding == "big5" else CHAPTER
    data = (before + (sentence + between) * 3000).encode(encoding)
    assert len(data) > 2**16
    assert canonical(likely(data)) == canonical(encoding)


@pytest.mark.parametrize("marks", ["’", "—", "“”", "’é"])
def test_a_few_typographic_marks_are_no_cyrillic(marks):
    text = "It was late, and the keeper had not yet lit the lamp. Nobody came along the shore that night.\n" * 40
    text = text.replace("late", f"late{marks}")
    assert likely(text.encode("cp1252")) == "cp1252"
    russian = "Она была уже там, у окна; где вы? спросил он тихо.\n" * 40
    assert likely(russian.encode("cp1251")) == "cp1251"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("床前明月光，疑是地上霜。", "gb18030"),
        ("今天天气很好", "gb18030"),
        ("模块化程序设计语言概论", "gb18030"),
        (TRADITIONAL, "big5"),
        ("모든 국민은 인간으로서의 존엄과 가치를 가지며, 행복을 추구할 권리를 가진다. " * 3, "euc-kr"),
        ("吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。" * 3, "shift_jis"),
    ],
    ids=lambda value: value[:9],
)
def test_little_chinese_is_not_taken_for_its_neighbours(text, encoding):
    assert canonical(likely(text.encode(encoding))) == canonical(encoding)
