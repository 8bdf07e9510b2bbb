"""The texts that travel with the package, read as a stream through xz."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from tidegate.errors import TidegateError, nearest

NAMES = ("shakespeare", "tang-poems")


@dataclass(frozen=True)
class EmbeddedCorpus:
    """One embedded text; `tidegate.text.sources.find_sources` and `prepare` take it beside paths."""

    name: str

    @property
    def resource(self) -> Traversable:
        """The text compressed by xz, wherever the package is installed (also within a zip file)."""
        return files("tidegate.text") / "embedded" / f"{self.name}.txt.xz"


def embedded_corpus(name: str) -> EmbeddedCorpus:
    """Return the embedded corpus of this name; a TidegateError names the nearest where there is none."""
    if name not in NAMES:
        raise TidegateError(
            f"There is no embedded corpus {name!r}{nearest(name, NAMES)}; there are {' and '.join(NAMES)}."
        )
    return EmbeddedCorpus(name)
