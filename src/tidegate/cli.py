"""The command line: ``tidegate VERB …``. Only the parser of the verb that was asked for is built.

A verb's flags are the fields of its settings dataclasses; each dataclass checks its own values.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import re
import sys
from argparse import SUPPRESS, ArgumentError, RawDescriptionHelpFormatter
from collections.abc import Sequence
from typing import Any

import docstring_parser
from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace, set_parsing_settings

import tidegate
from tidegate.errors import TidegateError, nearest

PROGRAM = "tidegate"


@dataclasses.dataclass(frozen=True)
class Verb:
    """One word of the command line."""

    function: str
    """``module:function`` that does it; imported only when it is asked for"""
    settings: tuple[str, ...]
    """``module:dataclass`` of its flags, in the order of the function's arguments"""
    summary: str
    examples: tuple[tuple[str, str], ...]
    """command, what it does"""
    positional: str | None = None
    """the field that is given without a flag"""
    many: bool = False
    """whether it may be given several times"""


VERBS = {
    "train": Verb(
        "tidegate.train:train",
        (
            "tidegate.config:DataConfig",
            "tidegate.config:ModelConfig",
            "tidegate.config:TrainingConfig",
            "tidegate.config:RunConfig",
        ),
        "Train a language model from raw text.",
        (
            ("tidegate train", "learn from Shakespeare, which comes along"),
            ("tidegate train --corpus tang-poems --minutes 10", "learn from 46,979 Tang poems, for ten minutes"),
            ("tidegate train my-novel.txt", "learn from a text of your own, character by character"),
            ("tidegate train texts/ --tokenizer bpe --epochs 3", "learn from a folder of texts, in pairs of bytes"),
            ("tidegate train --config recipes/tiny-shakespeare.yaml input.txt", "repeat a known result"),
            ("tidegate train --resume runs/my-novel", "go on with a run that was stopped"),
        ),
        "data",
        True,
    ),
    "generate": Verb(
        "tidegate.generate:generate",
        ("tidegate.generate:GenerateSettings", "tidegate.runtime.sampling:Sampling"),
        "Have a model write; needs no PyTorch.",
        (
            ("tidegate generate runs/shakespeare --prompt 'ROMEO:'", "go on from a prompt"),
            (
                "tidegate generate runs/tang-poems --prompt 春 --num-samples 3 --seed 7",
                "three samples, the same every time",
            ),
            ("tidegate generate runs/shakespeare --temperature 0.5 --max-tokens 2000", "calmer and longer"),
            ("cat chapter.txt | tidegate generate runs/my-novel", "go on from a text, however long"),
        ),
        "model",
    ),
    "evaluate": Verb(
        "tidegate.evaluate:evaluate",
        ("tidegate.config:EvaluateConfig",),
        "Measure a model on a text: nats, perplexity, bits a byte.",
        (
            ("tidegate evaluate runs/shakespeare", "on the validation text of its training"),
            ("tidegate evaluate runs/shakespeare --data sonnets.txt", "on another text"),
            ("tidegate evaluate runs/shakespeare --json", "for a program to read"),
        ),
        "model",
    ),
    "gradcheck": Verb(
        "tidegate.gradcheck:gradcheck",
        ("tidegate.gradcheck:GradcheckSettings",),
        "Check every gradient of the theory by finite differences.",
        (("tidegate gradcheck", "all cells"), ("tidegate gradcheck --cells '[lstm]' --hidden 8", "one cell, larger")),
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 1 for a check that failed, 2 for a mistake, 130 for Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and "reconfigure" in dir(stream):
            stream.reconfigure(encoding="utf-8", errors="replace")
    try:
        return _dispatch(words)
    except TidegateError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:  # `tidegate … | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"{PROGRAM} {tidegate.__version__}")
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
        f"{PROGRAM} {tidegate.__version__}: recurrent language models, from raw text to a model that writes.",
        "",
        f"usage: {PROGRAM} COMMAND [options]     ({PROGRAM} COMMAND --help tells all about one)",
        "",
        *(f"  {name:<10} {verb.summary}" for name, verb in VERBS.items()),
        "",
        "to begin with:",
        f"  {PROGRAM} train --minutes 3                    learn from Shakespeare for three minutes",
        f"  {PROGRAM} generate runs/shakespeare            have the model write",
        f"  {PROGRAM} train my-text.txt                    learn from a text of your own",
    ]
    return "\n".join(lines)


def parse(name: str, words: Sequence[str]) -> list[Any]:
    """Turn a verb's arguments into its settings, one dataclass each."""
    verb = VERBS[name]
    kinds = [_resolve(home) for home in verb.settings]
    parser = _parser(name, verb, kinds)
    try:
        given = parser.parse_args([_underscored(word) for word in words])
    except ArgumentError as error:
        raise TidegateError(_explained(str(error), name, kinds)) from None
    return [_build(kind, given, verb) for kind in kinds]


def _resolve(home: str) -> Any:
    module, attribute = home.split(":")
    return getattr(importlib.import_module(module), attribute)


class _Formatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Help without the types, which the metavariables and texts already tell."""

    def _get_help_string(self, action: Any) -> str:
        text = action.help or ""
        shown = action.option_strings and action.default not in (None, "", [], (), False, SUPPRESS)
        return f"{text} (default: %(default)s)" if shown and "config" not in action.dest else text


class _Parser(ArgumentParser):
    """A parser that shows flags with dashes, as they are written in a shell."""

    def format_help(self) -> str:
        return re.sub(r"--\w+", lambda flag: "--" + flag[0][2:].replace("_", "-"), super().format_help())


def _parser(name: str, verb: Verb, kinds: list[type]) -> ArgumentParser:
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    examples = "\n".join(f"  {command}\n      {what}" for command, what in verb.examples)
    parser = _Parser(
        prog=f"{PROGRAM} {name}",
        description=f"{verb.summary}\n\nexamples:\n{examples}",
        formatter_class=_Formatter,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", action="config", help="A YAML file with any of the options below; flags override it."
    )
    if verb.positional:
        text = _field_help(kinds[0], verb.positional)
        if verb.many:
            parser.add_argument("texts", nargs="*", type=str, default=[], metavar="TEXT", help=text)
        else:
            parser.add_argument(verb.positional, type=str, metavar=verb.positional.upper(), help=text)
    for kind in kinds:
        lists = {f.name for f in dataclasses.fields(kind) if "list[" in str(f.type) or "tuple[" in str(f.type)}
        single = {verb.positional} if kind is kinds[0] and verb.positional and not verb.many else set()
        parser.add_class_arguments(kind, skip=lists | single)
        for field in sorted(lists):
            # given several times on the command line, a list in YAML
            text = _field_help(kind, field) if field != verb.positional else SUPPRESS
            parser.add_argument(f"--{field}", action="append", type=str, default=[], help=text)
    return parser


def _field_help(kind: type, field: str) -> str:
    """Return the docstring under a dataclass field."""
    parsed = docstring_parser.parse_from_object(kind)
    return next(p.description or "" for p in parsed.params if p.arg_name == field)


def _underscored(word: str) -> str:
    """Turn ``--hidden-size=3`` into ``--hidden_size=3``: flags are fields, and a shell prefers dashes."""
    if not word.startswith("--"):
        return word
    flag, equals, value = word.partition("=")
    return "--" + flag[2:].replace("-", "_") + equals + value


def _build(kind: type, given: Namespace, verb: Verb) -> Any:
    values = {}
    for field in dataclasses.fields(kind):
        value = given[field.name]
        if field.name == verb.positional and verb.many:
            value = given["texts"] or value
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


def _explained(message: str, name: str, kinds: Sequence[type]) -> str:
    """Reword a parser's complaint: what was found, what was wanted, what to do."""
    known = [field.name for kind in kinds for field in dataclasses.fields(kind)]
    see = f"See {PROGRAM} {name} --help."
    if unknown := re.search(r"Option '([^']+)' is not accepted", message):
        return f"Unknown field {unknown[1]!r}{nearest(unknown[1], known)}. {see}"
    if unknown := re.search(r"unrecognized arguments: (\S+)", message):
        flag = unknown[1].split("=")[0]
        near = nearest(flag, ["--" + field.replace("_", "-") for field in known])
        return f"Unknown flag or argument {flag.replace('_', '-')!r}{near}. {see}"
    if wrong := re.search(r'Parser key "([^"]+)":\s*(.*)', message, re.DOTALL):
        return f"--{wrong[1].replace('_', '-')}: {_plain(wrong[2])} {see}"
    return f"{' '.join(message.split())} {see}"


def _plain(complaint: str) -> str:
    """Put a complaint about a value into words that need no Python."""
    text = " ".join(complaint.split())
    words = {"<class 'int'>": "a whole number", "<class 'float'>": "a number", "<class 'bool'>": "true or false"}
    for python, plain in words.items():
        text = text.replace(f"Expected a {python}", f"expected {plain}")
    text = re.sub(r"Expected a typing\.Literal\[([^\]]*)\]", lambda m: "expected one of " + m[1].replace("'", ""), text)
    text = re.sub(r"Got value: (.*)$", r"but found '\1'.", text)
    return text.replace(". but", ", but")
