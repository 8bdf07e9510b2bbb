"""The command line: ``tidegate VERB …``. Only the parser of the verb that was asked for is built.

A verb's flags are the fields of its settings dataclasses; each dataclass checks its own values.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tidegate
from tidegate.command_table import VERBS
from tidegate.errors import TidegateError, nearest
from tidegate.packages import without_package
from tidegate.quick_flags import quick_parse
from tidegate.text.messages import complain, say, show

PROGRAM = "tidegate"
LONGEST_NAME = 300
"""characters of a file's name in a message"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 1 for a check that failed, 2 for a mistake, 130 for Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's or a test's stream takes any character as it is
            stream.reconfigure(encoding="utf-8", errors="replace")
    try:
        return _flushed(_dispatch, words)
    except TidegateError as error:
        complain(PROGRAM, error)
        return 2
    except KeyboardInterrupt:
        say("")
        return 130
    except BrokenPipeError:  # `tidegate … | head` has read enough
        _silence_output()
        return 0
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
            raise
        complain(PROGRAM, "There is not enough memory: choose a smaller --hidden-size, --lanes or --window.")
        return 2
    except ImportError as error:
        if (error.name or "").split(".")[0] == "tidegate":
            raise
        complain(PROGRAM, without_package(error))
        return 2
    except OSError as error:  # a full disk, a folder that may not be written
        if error.filename is None:  # perhaps that of standard output: Python would try again when it ends
            _silence_output()
        where = str(error.filename or "the system")[:LONGEST_NAME]
        complain(PROGRAM, f"{where}: {error.strerror or error}. Mend it and run again.")
        return 2


def _flushed(dispatch: Callable[[list[str]], int], words: list[str]) -> int:
    """Run a command and write out what it printed while its errors can still be told."""
    try:
        code = dispatch(words)
    except SystemExit as end:  # of --help, which the parser library prints, or of rich where nobody reads any longer
        if isinstance(end.__context__, BrokenPipeError):
            raise BrokenPipeError from None
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return code


def _open_closed_streams() -> None:
    """Open standard streams that are closed, to nowhere: else the next file that is opened takes the number of one, and
    is written into by whatever prints."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 (open as long as the process)
            if stream.fileno() != number:
                os.dup2(stream.fileno(), number)
            setattr(sys, name, stream)


def _silence_output() -> None:
    """Send what is yet to be written to standard output nowhere, since nobody takes it."""
    with contextlib.suppress(OSError, ValueError):  # a notebook's has no number
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        show(overview())
        return 0
    if words[0] in ("-V", "--version"):
        show(f"{PROGRAM} {tidegate.__version__}")
        return 0
    name = words[0]
    if name not in VERBS:
        raise TidegateError(
            f"Unknown command {name!r}{nearest(name, VERBS)}; known: {', '.join(VERBS)}. See {PROGRAM} --help."
        )
    settings = parse(name, words[1:])
    return _resolve(VERBS[name].function)(*settings)


def overview() -> str:
    """Return the text of ``tidegate --help``."""
    lines = [
        f"{PROGRAM} {tidegate.__version__}: recurrent language models, from raw text to a model that generates text.",
        "",
        f"usage: {PROGRAM} COMMAND [options]     ({PROGRAM} COMMAND --help describes one)",
        "",
        *(f"  {name:<10} {verb.summary}" for name, verb in VERBS.items()),
        "",
        "to start:",
        f"  {PROGRAM} train --minutes 3                    train on Shakespeare for three minutes",
        f"  {PROGRAM} generate runs/shakespeare            generate text",
        f"  {PROGRAM} train my-text.txt                    train on your own text",
    ]
    return "\n".join(lines)


def parse(name: str, words: Sequence[str]) -> list[Any]:
    """Turn a verb's arguments into its settings, one dataclass each."""
    verb = VERBS[name]
    kinds = [_resolve(home) for home in verb.settings]
    if not (verb.texts or verb.hidden or verb.exclusive or verb.chooser or verb.defaults):
        quick = quick_parse(kinds, verb.positional, words)
        if quick is not None:
            return quick
    flags = _resolve("tidegate.flags:Flags")  # its library takes a tenth of a second
    settings: list[Any] = flags(
        f"{PROGRAM} {name}",
        verb.summary,
        verb.examples,
        kinds,
        verb.positional,
        verb.texts,
        verb.hidden,
        verb.exclusive,
        verb.chooser,
        {} if verb.defaults is None else _resolve(verb.defaults),
    ).parse(words)
    return settings


def _resolve(home: str) -> Any:
    module, attribute = home.split(":")
    with _ended_at_once_by_interrupts():
        return getattr(importlib.import_module(module), attribute)


@contextlib.contextmanager
def _ended_at_once_by_interrupts() -> Iterator[None]:
    """Have Ctrl-C end the process without a word while libraries are imported, before anything is written: an exception
    would come up within one, which may turn it into another."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
