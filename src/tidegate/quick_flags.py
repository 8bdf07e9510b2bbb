"""The flags of most commands, read without the parser library, whose import and parser take a tenth of a second.

Only what is certain is read here: each flag known, given once (a list's any number of times), its value of a form that
the library reads the same way. Everything else, and all that is wrong, is left to `tidegate.flags`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import MISSING
from typing import Any

WHOLE = re.compile(r"0|-?[1-9][0-9]{0,14}")
DECIMAL = re.compile(r"(0|-?[1-9][0-9]{0,14})(\.[0-9]{1,15})?")
NAME = re.compile(r"[\w./@%+=,~-]*[A-Za-z./][\w./@%+=,-]*", re.ASCII)
"""a file, a folder, an encoding: of any type that may be null, text is read only where it can be nothing else"""
WORDS = ("null", "true", "false", "yes", "no", "on", "off", "none", "nan", "inf")


def quick_parse(kinds: Sequence[type], positional: str | None, words: Sequence[str]) -> list[Any] | None:
    """Turn arguments into settings, one of each kind; None where they are not certain."""
    fields = {field.name: field for kind in kinds for field in dataclasses.fields(kind)}
    if not all(field.metadata.get("flag", True) and field.default_factory is MISSING for field in fields.values()):
        return None
    given: dict[str, Any] = {}
    rest = list(words)
    while rest:
        if not _take(fields, positional, rest, given):
            return None
    needed = {name for name, field in fields.items() if field.default is MISSING}
    if not needed <= given.keys() or (positional is not None and not given.get(positional)):
        return None
    return [
        kind(**{field.name: given[field.name] for field in dataclasses.fields(kind) if field.name in given})
        for kind in kinds
    ]


def _take(fields: dict[str, Any], positional: str | None, rest: list[str], given: dict[str, Any]) -> bool:
    """Take one flag or the positional off the words; False where that is not certain."""
    flag, equals, value = rest.pop(0).partition("=")
    if not flag.startswith("--"):
        if flag.startswith("-") or positional is None or positional in given:
            return False
        given[positional] = flag + equals + value
        return True
    name = flag[2:].replace("-", "_")
    if name not in fields or name == positional:
        return False
    kind = str(fields[name].type)
    if kind == "bool" and not equals:
        value = rest.pop(0) if rest and rest[0].lower() in ("true", "false") else "true"
    elif not equals:
        if not rest:
            return False
        value = rest.pop(0)
    if kind == "tuple[str, ...]":
        given[name] = (*given.get(name, ()), value)
        return True
    read = _read(kind, value)
    if name in given or read is None:
        return False
    given[name] = read
    return True


def _read(kind: str, value: str) -> Any:
    """Return the value of a type, None where it is not certain."""
    match kind.removesuffix(" | None"):
        case "bool":
            return {"true": True, "false": False}.get(value)
        case "int":
            return int(value) if WHOLE.fullmatch(value) else None
        case "float":
            return float(value) if DECIMAL.fullmatch(value) else None
        case "str" if kind == "str":
            return value if value.isprintable() and value != "--" else None
        case "str":
            return value if NAME.fullmatch(value) and value.lower() not in WORDS else None
    return None
