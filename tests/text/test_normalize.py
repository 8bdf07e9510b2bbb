import sys
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tidegate.errors import TidegateError
from tidegate.text.normalize import begins_anew, cut_pieces, normalize, normalize_stream

# letters with marks, Hangul jamo, line ends, Han, emoji: what a cut may tear apart
TRICKY = st.text(
    st.sampled_from("ae \r\n\u0301\u0323\u0327각\u1100\u1161\u11a8가한汉字😀\u09c7\u09be\U00016d67")
    | st.characters(exclude_categories=["Cs"])
)


def test_line_ends_and_unicode_have_one_form() -> None:
    assert normalize("a\r\nb\rc\n") == "a\nb\nc\n"
    assert normalize("cafe\u0301") == "café"
    assert normalize("\u1112\u1161\u11ab") == "한"
    assert normalize("汉字，。") == "汉字，。"


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(TidegateError, match=r"U\+D83D at character 2"):
        normalize("汉字\ud83d")


@given(parts=st.lists(TRICKY, max_size=8), limit=st.integers(1, 9))
@example(parts=["a\r", "\nb\r", "\r", "\n"], limit=1)
@example(parts=["e", "\u0301", "\u0323", "x"], limit=2)
@example(parts=["\u1100", "\u1161", "\u11a8"], limit=2)
@settings(max_examples=200, deadline=None)
def test_a_text_in_parts_gets_the_form_of_the_whole(parts: list[str], limit: int) -> None:
    whole = normalize("".join(parts))
    streamed = list(normalize_stream(parts))
    assert "".join(streamed) == whole
    pieces = list(cut_pieces(streamed, limit))
    assert "".join(normalize(piece) for piece in pieces) == whole
    assert all(0 < len(piece) <= limit for piece in pieces)
    assert pieces == list(cut_pieces([whole], limit))


def test_nothing_that_joins_the_text_before_it_begins_anew() -> None:
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.decomposition(character)[:1] not in ("", "<") or 0xAC00 <= code <= 0xD7A3:
            first, *rest = list(unicodedata.normalize("NFD", character))
            assert not any(begins_anew(mark) for mark in rest if mark != first), hex(code)
        if unicodedata.combining(character):
            assert not begins_anew(character), hex(code)


def test_a_text_is_cut_after_a_line_else_before_a_space_else_anywhere() -> None:
    assert list(cut_pieces(["ab\ncd\nef gh"], 7)) == ["ab\ncd\n", "ef gh"]
    assert list(cut_pieces(["ab cd ef"], 5)) == ["ab", " cd", " ef"]
    assert list(cut_pieces(["床前明月光"], 2)) == ["床前", "明月", "光"]
    assert list(cut_pieces([], 2)) == []


def test_ordinary_text_is_given_out_at_once() -> None:
    stream = normalize_stream(iter(["hello wor", "ld 你好", "。"]))
    assert next(stream) == "hello wo"
    assert next(stream) == "rld 你"
