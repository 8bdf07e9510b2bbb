"""JSON that is written to be read back: one field of the object is the digest of all others, checked when it is read.

The digest guards against accidents, such as a flipped bit or an edit that nobody meant; white space and the order of
the fields do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegate.text.tokenizers.base import canonical_digest

DIGEST = "digest"


def with_digest(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object with its digest, the last field."""
    return {**content, DIGEST: canonical_digest(content)}


def digest_fits(content: Mapping[str, Any]) -> bool:
    """Return whether the digest is that of the other fields; False where there is none."""
    try:
        return bool(content.get(DIGEST) == canonical_digest(without_digest(content)))
    except ValueError:  # NaN is no JSON
        return False


def without_digest(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object without its digest."""
    return {name: value for name, value in content.items() if name != DIGEST}
