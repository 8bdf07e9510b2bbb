"""Plain lines on standard output and standard error: all that is not printed by `tidegate.text.console` goes out here.

Names of files, labels, tensors and the like come from strangers, and so do the sentences that quote them.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from tidegate.text.printable import CONTROL, printable

LONGEST_MESSAGE = 2000
"""characters of an error, of which the middle goes where it is longer"""
_TO_ESCAPE = re.compile("[" + "".join(f"\\u{code:04x}" for code in sorted(CONTROL)) + "]")


def say(words: str) -> None:
    """Print a message on standard error, at once."""
    print(printable(words), file=sys.stderr, flush=True)


def complain(program: str, error: object) -> None:
    """Print an error on standard error: its first line after the program's name, others, which a file's name may have
    made, further in."""
    words = str(error)
    if len(words) > LONGEST_MESSAGE:
        half = LONGEST_MESSAGE // 2
        words = f"{words[:half]} … {words[-half:]}"
    say(f"{program}: " + words.replace("\n", "\n  "))


def show(words: str, end: str = "\n", flush: bool = False) -> None:
    """Print a result on standard output."""
    print(printable(words), end=end, flush=flush)


def show_json(value: Any, indent: int | None = None, flush: bool = False) -> None:
    """Print a result as JSON: of what a terminal obeys, the escapes, which mean the same to whoever parses it."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    print(_TO_ESCAPE.sub(lambda found: f"\\u{ord(found[0]):04x}", text), flush=flush)
