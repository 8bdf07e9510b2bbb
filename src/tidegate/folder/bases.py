"""The base models that travel with the package: model folders found by name."""

from __future__ import annotations

from pathlib import Path

from tidegate.errors import nearest
from tidegate.folder.presence import is_there


def base_names() -> list[str]:
    """Return the names of the base models, sorted."""
    home = _home()
    return sorted(path.name for path in home.iterdir() if (path / "config.json").is_file()) if home.is_dir() else []


def find_model(name: str | Path) -> Path:
    """Return the folder of a model: the one that a path names, or else that of the base model of this name."""
    path = Path(name)
    return _home() / path if not is_there(path) and str(path) in base_names() else path


def or_a_base(path: Path) -> str:
    """Return what to add to the complaint that there is no such folder."""
    names = base_names()
    return f", or the name of a base model: {', '.join(names)}{nearest(str(path), names)}" if names else ""


def _home() -> Path:
    # beside the sources, also where the package is installed to be edited and its parts lie in two places
    return Path(__file__).parents[1] / "bases"
