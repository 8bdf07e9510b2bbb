"""Make the README's pictures: the terminal while a model trains and while it writes, and the curves.

A real terminal is played to the program, and the screen is drawn as it then stands. Needs `pip install pyte`.
    python docs/pictures/make.py --minutes 3
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import tempfile
import termios
import time
from pathlib import Path

import pyte
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.style import Style
from rich.text import Text

HERE = Path(__file__).parent
COLUMNS, ROWS = 100, 30
COLOURS = {"brown": "yellow", "default": None}


def play(screen: pyte.Screen, words: list[str], seconds: float | None, folder: Path) -> None:
    """Run a command in a terminal of its own and show it on the screen, for a time or to its end."""
    stream = pyte.ByteStream(screen)
    stream.feed(f"$ {' '.join(words)}\r\n".encode())
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(ROWS)}
    process = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=environment)
    os.close(slave)
    began = time.monotonic()
    while True:
        try:
            shown = os.read(master, 1 << 16)
        except OSError:  # the program has ended
            break
        if not shown:
            break
        if seconds is None or time.monotonic() - began < seconds:
            stream.feed(shown)
    process.wait()
    os.close(master)


def draw(screen: pyte.Screen, path: Path, title: str) -> None:
    """Draw the screen as SVG."""
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115
    lines = [_line(screen, row) for row in range(screen.lines)]
    while lines and not lines[-1].plain.strip():
        lines.pop()
    for line in lines:
        console.print(line, no_wrap=True, soft_wrap=True)
    # without the web fonts that rich names: a picture fetches nothing
    template = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace("Fira Code, ", "")
    path.write_text(console.export_svg(title=title, code_format=template), encoding="utf-8")


def _line(screen: pyte.Screen, row: int) -> Text:
    text = Text()
    for column in range(screen.columns):
        cell = screen.buffer[row][column]
        colour = COLOURS.get(cell.fg, cell.fg)
        if colour is not None and len(colour) == 6 and all(digit in "0123456789abcdef" for digit in colour):
            colour = f"#{colour}"
        text.append(cell.data, Style(color=colour, bold=cell.bold, italic=cell.italics))
    text.rstrip()
    return text


def main() -> None:
    """Train, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        screen = pyte.Screen(COLUMNS, ROWS)
        train = ["tidegate", "train", "--minutes", f"{minutes:g}"]
        play(screen, train, minutes * 60 * 0.66, folder)
        draw(screen, HERE / "terminal.svg", "tidegate train")
        shutil.copy(folder / "runs/shakespeare/curves.png", HERE / "curves.png")
        screen = pyte.Screen(COLUMNS, ROWS)
        write = ["tidegate", "generate", "runs/shakespeare", "--prompt", "HAMLET.", "--max-tokens", "500"]
        play(screen, write, None, folder)
        draw(screen, HERE / "writing.svg", "tidegate generate")


if __name__ == "__main__":
    main()
