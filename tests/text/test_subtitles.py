"""Only what is spoken is read of subtitles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.text.subtitles import is_subtitles, spoken_lines

VTT = """WEBVTT Kind: captions
Language: en

NOTE a remark
of two lines

STYLE
::cue { color: red }

intro
00:01.000 --> 00:02.000 align:start
<v Anna>Tide &amp; time &lt;wait&gt;

00:00:02.000 --> 00:00:03.000
Tide &amp; time &lt;wait&gt;
for<00:00:02.500><c.loud> no</c> one

5
00:03.000 --> 00:04.000
- 5
"""


def spoken(text):
    return "".join(spoken_lines(line + "\n" for line in text.split("\n")))


def test_webvtt_without_notes_styles_names_and_repeated_lines():
    assert is_subtitles(VTT)
    assert spoken(VTT) == "Tide & time <wait>\nfor no one\n- 5\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1\n00:00:01,000 --> 00:00:02,000\none\n\n2\n00:00:02,000 --> 00:00:03,000\ntwo\n", "one\ntwo\n"),
        ("00:00:01,000 --> 00:00:02,000 X1:1 X2:2\none\n", "one\n"),  # without numbers
        ("1\n0:00:01.0 --> 0:00:02.0\none\n2\n0:00:02.0 --> 0:00:03.0\ntwo\n", "one\ntwo\n"),  # without empty lines
        ("1\n00:00:01,000 --> 00:00:02,000\none\n\nmore\n\n", "one\nmore\n"),  # an empty line within
        ("1\n00:00:01,000 --> 00:00:02,000\n1984\n\n2\n00:00:01,000 --> 00:00:02,000\n12\n\n3\n", "1984\n12\n"),
        ("1\n00:00:01,000 --> 00:00:02,000\n<font color=\"#fff\">a < b</font> {y:i}{\\pos(1,2)}c\n", "a < b c\n"),
        ("1\n00:00:01,000 --> 00:00:02,000\n\n2\n00:00:02,000 --> 00:00:03,000\n<i></i>\n", ""),
    ],
)  # fmt: skip
def test_subrip(text, expected):
    assert is_subtitles(text)
    assert spoken(text) == expected


WORDS = st.text(st.characters(categories=["L"]), min_size=1, max_size=8)


@given(st.lists(st.lists(WORDS, min_size=1, max_size=3), min_size=1, max_size=6), st.booleans())
def test_what_is_written_as_subtitles_is_read_again(cues, webvtt):
    mark = "." if webvtt else ","
    time = f"00:00:01{mark}000 --> 00:00:02{mark}000"
    blocks = [f"{number}\n{time}\n" + "\n".join(lines) for number, lines in enumerate(cues, 1)]
    text = ("WEBVTT\n\n" if webvtt else "") + "\n\n".join(blocks) + "\n"
    lines = [line for cue in cues for line in cue]
    if webvtt:
        lines = [line for before, line in zip([None, *lines], lines, strict=False) if line != before]
    assert is_subtitles(text)
    assert spoken(text) == "".join(f"{line}\n" for line in lines)
