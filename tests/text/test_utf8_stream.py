from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.text.utf8_stream import Utf8Stream


def test_half_a_character_waits_for_the_rest() -> None:
    stream = Utf8Stream()
    first, *rest = "汉".encode()
    assert stream.feed(bytes([first])) == ""
    assert stream.feed(bytes(rest) + b"a") == "汉a"
    assert stream.feed(bytes([first])) == ""
    assert stream.feed(b"a") == "\ufffda"


@given(parts=st.lists(st.binary(max_size=5) | st.text(max_size=3).map(lambda text: text.encode())))
@settings(max_examples=100, deadline=None)
def test_the_stream_gives_what_the_whole_gives(parts: list[bytes]) -> None:
    stream = Utf8Stream()
    out = [stream.feed(part) for part in parts] + [stream.feed(b"a")]  # ends a character that is incomplete
    assert "".join(out) == b"".join([*parts, b"a"]).decode("utf-8", errors="replace")
    "".join(out).encode("utf-8")
