"""What a command that writes must not import: each takes time before the first word."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tidegate import cli

SLOW = (
    "torch", "matplotlib", "sklearn", "scipy", "jsonargparse", "docstring_parser", "argparse", "yaml", "ruamel", "rich",
    "jinja2", "prompt_toolkit", "tensorboard", "filelock", "charset_normalizer", "numpy.random", "html", "email",
    "tidegate.text.corpus", "tidegate.text.formats", "tidegate.training", "tidegate.nn",
)  # fmt: skip
SCRIPT = """
import sys
from tidegate.cli import main
code = main(sys.argv[1:])
print("imported", *sys.modules, file=sys.stderr)
sys.exit(code)
"""


def imported(*words: str) -> set[str]:
    command = [sys.executable, "-c", SCRIPT, *words]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=True)
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("more", [(), ("--prompt", "The tide", "--temperature=0.5", "--stop", "x", "--threads", "1")])
def test_generate_imports_nothing_slow(more):
    names = imported("generate", "base-en", "--max-tokens", "3", *more)
    assert "tidegate.runtime.model" in names
    assert not [slow for slow in SLOW if slow in names or any(name.startswith(f"{slow}.") for name in names)]


def test_the_overview_needs_no_numpy():
    assert "numpy" not in imported("--help")


def test_a_prompt_needs_no_pattern_of_stretches(monkeypatch):
    """It takes longer to compile than the model to write its first word."""
    from tidegate.text.tokenizers import bpe

    monkeypatch.setattr(bpe, "_stretch_pattern", lambda: pytest.fail("compiled"))
    assert cli.main(["generate", "base-en", "--prompt", "The", "--max-tokens", "2"]) == 0
