"""Settings dataclasses as command-line flags: a field is a flag, its docstring the help."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from argparse import ArgumentError, HelpFormatter, RawDescriptionHelpFormatter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docstring_parser
import yaml
from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace, set_parsing_settings

from tidegate.errors import TidegateError, nearest
from tidegate.text.messages import say, show
from tidegate.text.printable import printable

CONFIG_BYTES = 1 << 20
SYNONYMS = (
    ("temperature", "temp"),
    ("learning_rate", "lr", "rate"),
    ("lanes", "batch_size", "batch", "streams", "bs"),
    ("window", "sequence_length", "seq_len", "seq_length", "bptt", "context_length", "block_size"),
    ("hidden_size", "units", "nhid", "rnn_size", "dim"),
    ("embedding_size", "emsize", "emb_size", "embed_dim"),
    ("layers", "num_layers", "n_layers", "nlayers"),
    ("cell", "rnn_type", "model_type"),
    ("max_tokens", "length", "max_new_tokens", "max_length", "num_tokens"),
    ("num_samples", "samples", "n"),
    ("out", "output", "output_dir", "save", "save_dir"),
    ("data", "input", "file", "train_data", "dataset"),
    ("vocabulary", "vocab_size", "vocab"),
    ("processes", "workers", "num_workers", "jobs"),
    ("resume", "continue", "checkpoint"),
    ("lora_rank", "rank", "lora_r"),
    ("epochs", "num_epochs", "n_epochs"),
    ("steps", "max_steps", "iterations", "iters"),
    ("weight_decay", "wd", "wdecay"),
    ("clip", "grad_clip", "max_grad_norm", "gradient_clipping"),
    ("json", "as_json", "format_json"),
)
"""names of one thing, of which a command has one for a flag"""
SHOWN_CHARACTERS = 300
"""of a wrong value, in a message"""
NESTED = 20
_TEXTS = "texts"
"""where the parser keeps a positional that may be given several times"""


@dataclass(frozen=True)
class Flags:
    """The flags of one verb."""

    program: str
    """``tidegate train``"""
    summary: str
    examples: Sequence[tuple[str, str]]
    kinds: Sequence[type]
    """the settings dataclasses; a field name stands in one of them"""
    positional: str | None
    """the field of the first dataclass that is given without a flag, once"""
    texts: str | None
    """the field that is given without a flag, after that, any number of times"""
    hidden: Sequence[str] = ()
    """fields that this verb has no flag for"""
    exclusive: Sequence[str] = ()
    """fields of which one excludes the others: one given as a flag clears those that a YAML file gives"""
    chooser: str | None = None
    """the field that, where it is given, chooses for those that are not: ``--print_config`` then leaves these out"""
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """of fields whose defaults for this verb are others than the dataclass has"""

    def parse(self, words: Sequence[str]) -> list[Any]:
        """Turn arguments into settings, one of each kind; TidegateError for whatever is wrong with them."""
        words = self._normalised(words)
        _check_configs(words)
        # what is printed names them as a file of settings does
        under_field = self.texts is not None and _prints(words)
        if under_field:
            texts = [word for word in words if not word.startswith("--")]
            one = [texts.pop(0)] if self.positional and texts else []
            words = one + [word for word in words if word.startswith("--")]
            words += [f"--{self.texts}={json.dumps(texts)}"] if texts else []
        parser = self._parser(with_texts=not under_field)
        try:
            spoken = parser.parse_args([w for w in words if not w.startswith("--print_config")], defaults=False)
            chosen_for = self.chooser is not None and spoken.get(self.chooser) is not None
            given = parser.parse_args(words, defaults=not chosen_for or not _prints(words))
        except ArgumentError as error:
            raise TidegateError(self._explained(str(error))) from None
        except OverflowError:  # of hundreds of digits
            flag = next((word.partition("=")[0] for word in words if re.search(r"=-?\d{300}", word)), "--config")
            raise TidegateError(f"{flag} has a number too large to compute with: give a smaller one.") from None
        if self.positional and not given[self.positional] and not given.get("resume"):
            raise TidegateError(f"{self.positional.upper()} is empty: name the folder. See {self.program} --help.")
        flagged = [field for field in self.exclusive if any(word.startswith(f"--{field}=") for word in words)]
        for field in set(self.exclusive) - set(flagged) if flagged else ():
            given[field] = None
        names = frozenset(spoken.keys()) & set(self.fields())
        return [self._build(kind, given, names) for kind in self.kinds]

    def fields(self) -> dict[str, str]:
        """Return the type of each field that is a flag, as it is written."""
        return {
            field.name: str(field.type)
            for kind in self.kinds
            for field in dataclasses.fields(kind)
            if self._shows(field)
        }

    def _shows(self, field: dataclasses.Field[Any]) -> bool:
        return _is_flag(field) and field.name not in self.hidden

    def _normalised(self, words: Sequence[str]) -> list[str]:
        """Rewrite what a person types into what the parser takes.

        ``--hidden-size`` is the field hidden_size, ``--tied`` alone is true, a list's flag may be given several times,
        ``--print_config`` shows the help of each field, and a ``--config`` goes before all that overrides it.
        """
        fields = self.fields()
        configs: list[str] = []
        plain: list[str] = []
        lists: dict[str, list[str]] = {}
        rest = list(words)
        while rest:
            flag, equals, value = rest.pop(0).partition("=")
            if not flag.startswith("--"):
                plain.append(flag + equals + value)
                continue
            field = flag[2:].replace("-", "_")
            kind = fields.get(field, "")
            if field == "config" and (equals or (rest and not rest[0].startswith("--"))):
                configs.append(f"--config={value if equals else rest.pop(0)}")
            elif field == "print_config" and not equals:
                plain.append("--print_config=comments")
            elif kind == "bool" and not equals:
                value = rest.pop(0) if rest and rest[0].lower() in ("true", "false") else "true"
                plain.append(f"--{field}={value}")
            elif kind.startswith(("list[", "tuple[")):
                if not equals and not rest:
                    raise TidegateError(f"--{field.replace('_', '-')} wants a value. See {self.program} --help.")
                lists.setdefault(field, []).append(value if equals else rest.pop(0))
            elif field in fields and not equals and rest:
                plain.append(f"--{field}={rest.pop(0)}")  # whatever it begins with, it is the value
            else:
                plain.append("--" + field + equals + value)
        return configs + plain + [f"--{field}={json.dumps(values)}" for field, values in lists.items()]

    def _parser(self, with_texts: bool) -> ArgumentParser:
        set_parsing_settings(docstring_parse_attribute_docstrings=True)
        examples = "\n".join(f"  {command}\n      {what}" for command, what in self.examples)
        parser = _Parser(
            prog=self.program,
            description=f"{self.summary}\n\nexamples:\n{examples}",
            formatter_class=_Formatter,
            exit_on_error=False,
            allow_abbrev=False,
        )
        parser.add_argument(
            "--config", action="config", help="A YAML file with any of the options below; flags override it."
        )
        if self.positional:
            text, shown = _field_help(self.kinds[0], self.positional), self.positional.upper()
            # a resumed run knows its own
            often: dict[str, Any] = {"nargs": "?", "default": ""} if "resume" in self.fields() else {}
            parser.add_argument(self.positional, type=str, metavar=shown, help=text, **often)
        if self.texts and with_texts:
            home = next(kind for kind in self.kinds if self.texts in {field.name for field in dataclasses.fields(kind)})
            text, shown = _field_help(home, self.texts), self.texts.upper()
            # apart from the field, which a YAML file may set as well
            parser.add_argument(_TEXTS, nargs="*", type=str, default=[], metavar=shown, help=text)
        for kind in self.kinds:
            skip = {field.name for field in dataclasses.fields(kind) if not self._shows(field)}
            if kind is self.kinds[0] and self.positional:
                skip.add(self.positional)
            parser.add_class_arguments(kind, skip=skip)
        parser.set_defaults(dict(self.defaults))
        return parser

    def _build(self, kind: type, given: Namespace, names: frozenset[str]) -> Any:
        values: dict[str, Any] = {}
        for field in dataclasses.fields(kind):
            if not _is_flag(field):
                values[field.name] = names
                continue
            if field.name in self.hidden:
                continue
            value = given[field.name]
            if field.name == self.texts:
                value = given.get(_TEXTS) or value
            values[field.name] = tuple(value) if isinstance(value, list) else value
        return kind(**values)

    def _explained(self, message: str) -> str:
        """Reword a parser's complaint: what was found, what was wanted, what to do."""
        known, see = list(self.fields()), f"See {self.program} --help."
        if unknown := re.search(r"Option '([^']+)' is not accepted", message):
            return f"Unknown field {unknown[1]!r}{nearest(unknown[1], known)}. {see}"
        if unknown := re.search(r"unrecognized arguments: (\S+)", message):
            flag = unknown[1].split("=")[0].replace("_", "-")
            meant = _of_same_meaning(flag.lstrip("-").replace("-", "_"), known)
            near = nearest(meant or flag, ["--" + field.replace("_", "-") for field in known])
            if "prompt" in known and not flag.startswith("-"):
                near = " (give the prompt as --prompt TEXT)"
            return f"Unknown flag or argument {_shortened(flag)!r}{near}. {see}"
        if wrong := re.search(r'Parser key "([^"]+)":\s*(.*)', message, re.DOTALL):
            return f"--{wrong[1].replace('_', '-')}: {_plain(wrong[2])} {see}"
        return f"{_shortened(' '.join(message.split()))}. {see}"


def _of_same_meaning(name: str, known: Sequence[str]) -> str | None:
    """Return the known field that other programs call so."""
    groups = (group for group in SYNONYMS if name in group)
    return next((f"--{field.replace('_', '-')}" for group in groups for field in group if field in known), None)


class _Formatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Help without the types, which the metavariables and texts already tell."""

    def _get_help_string(self, action: Any) -> str:
        text = action.help or ""
        shown = action.option_strings and action.default not in (None, "", [], (), False, "==SUPPRESS==")
        return f"{text} (default: %(default)s)" if shown and "config" not in action.dest else text


class _Parser(ArgumentParser):
    """A parser that shows flags with dashes, as they are written in a shell."""

    def format_help(self, formatter: HelpFormatter | None = None) -> str:
        text = super().format_help() if formatter is None else super().format_help(formatter)
        return re.sub(r"--\w+", lambda flag: "--" + flag[0][2:].replace("_", "-"), text)

    def _print_message(self, message: str, file: Any = None) -> None:
        # argparse's own passes over a full disk in silence
        if file is sys.stderr:
            say(message.rstrip("\n"))
        else:
            show(message, end="")

    def _get_values(self, action: Any, arg_strings: list[str]) -> Any:
        # argparse takes -- for the mark that ends the flags even where it is a flag's value, as of --prompt=--
        return super()._get_values(action, ["--", "--"] if arg_strings == ["--"] else arg_strings)


def _is_flag(field: dataclasses.Field[Any]) -> bool:
    """Whether a person may give the field; the one that may not, ``flag`` false, receives the names of those given."""
    return bool(field.metadata.get("flag", True))


def _prints(words: Sequence[str]) -> bool:
    return any(word.startswith("--print_config") for word in words)


def _field_help(kind: type, field: str) -> str:
    """Return the docstring under a dataclass field."""
    parsed = docstring_parser.parse_from_object(kind)
    return next(p.description or "" for p in parsed.params if p.arg_name == field)


def _check_configs(words: Sequence[str]) -> None:
    """Say of a --config file what is wrong with it before the parser, which would say it less plainly."""
    for word in words:
        if not word.startswith("--config="):
            continue
        path = Path(word.partition("=")[2])
        if not path.is_file():
            near = nearest(path.name, [other.name for other in path.parent.glob("*.y*ml")])
            raise TidegateError(
                f"--config {path}: there is no such file{near}. Give a YAML file, such as one of recipes/."
            )
        if path.stat().st_size > CONFIG_BYTES:
            raise TidegateError(
                f"--config {path} has {path.stat().st_size} bytes, but a config has at most {CONFIG_BYTES}."
            )
        _check_config(path)


def _check_config(path: Path) -> None:
    """Say what is wrong with the content of one --config file."""
    try:
        text = path.read_text(encoding="utf-8")
        # a few aliases of aliases make gigabytes of a few lines
        alias = next((event for event in _events(text) if isinstance(event, yaml.AliasEvent)), None)
        content = yaml.safe_load(text) if alias is None else None
    except OSError as error:
        raise TidegateError(f"--config {path} could not be read: {error.strerror or error}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, or no date that there is
        raise TidegateError(f"--config {path} is no YAML: {_shortened(' '.join(str(error).split()))}") from None
    if alias is not None:
        raise TidegateError(f"--config {path} has the alias *{alias.anchor}: write out the value that it stands for.")
    if not isinstance(content, dict):
        raise TidegateError(f"--config {path} holds no settings: lines such as 'hidden_size: 256' are wanted.")
    for name in content:
        if not isinstance(name, str) or name == "config":
            raise TidegateError(
                f"--config {path} has the unknown field {name!r}: {_shortened(path.name)} may have "
                "those of --print_config alone."
            )


def _events(text: str) -> Iterator[yaml.Event]:
    """Yield the events of a YAML text; a ValueError where it is nested deeper than any setting, which takes the parser
    a time that grows with the square of the depth."""
    depth = 0
    for event in yaml.parse(text):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > NESTED:
            raise ValueError(f"it is nested {depth} deep, but settings are lists of values at most")
        yield event


def _shortened(text: str) -> str:
    """Return a text that is fit for a message: a broken file's value may be long, and hold control characters."""
    text = printable(text)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]} …"


def _plain(complaint: str) -> str:
    """Put a complaint about a value into words that need no Python."""
    text = " ".join(complaint.split())
    if "surrogates not allowed" in text:
        return "the value has bytes that are no character of UTF-8: write it in UTF-8."
    words = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "tuple": "a list"}
    if literal := re.search(r"Subtypes: \[typing\.Literal\[([^\]]*)\].*Given value:(.*)$", text):
        return f"expected one of {literal[1].replace(chr(39), '')}, but found '{_shortened(literal[2].strip())}'."
    if union := re.search(r"Subtypes: \[<class '(\w+)'>.* Given value:(.*)$", text):
        return f"expected {words.get(union[1], union[1])}, but found '{_shortened(union[2].strip())}'."
    for python, plain in ((f"<class '{name}'>", plain) for name, plain in words.items()):
        text = text.replace(f"Expected a {python}", f"expected {plain}")
    text = re.sub(r"Expected a typing\.Literal\[([^\]]*)\]", lambda m: "expected one of " + m[1].replace("'", ""), text)
    text = re.sub(r"Got value:(.*)$", lambda value: f"but found '{_shortened(value[1].strip())}'.", text)
    return text.replace(". but", ", but")
