"""JSON files that are changed with care: the digest fits what they then hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tidegate.text.digested import DIGEST, with_digest, without_digest


def edit_json(file: Path, **changes: Any) -> None:
    """Change fields of an object; its digest, where it has one, is made to fit."""
    content = json.loads(file.read_text(encoding="utf-8")) | changes
    if DIGEST in content:
        content = with_digest(without_digest(content))
    file.write_text(json.dumps(content), encoding="utf-8")


def make_older(file: Path, version: int, **changes: Any) -> None:
    """Change a file into one of a version that had no digest."""
    content = without_digest(json.loads(file.read_text(encoding="utf-8")))
    file.write_text(json.dumps({**content, "format_version": version, **changes}), encoding="utf-8")
