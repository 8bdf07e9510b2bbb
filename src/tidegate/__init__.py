"""Tidegate: train a recurrent language model from raw text, look inside it, and generate text with it.

>>> import tidegate
>>> for piece in tidegate.load("runs/shakespeare").stream("ROMEO:"):  # doctest: +SKIP
...     print(piece, end="")
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# resolved on first use, so that `import tidegate` costs nothing and the running half never imports torch
_HOMES = {
    "load": "tidegate.runtime.model",
    "Sampling": "tidegate.runtime.sampling",
    "TidegateError": "tidegate.errors",
    "LanguageModel": "tidegate.models.language_model",
    "ModelConfig": "tidegate.config",
    "TextClassifier": "tidegate.estimator",
    "overlaps_with_files": "tidegate.text.overlap",
}
__all__ = [
    "LanguageModel",
    "ModelConfig",
    "Sampling",
    "TextClassifier",
    "TidegateError",
    "__version__",
    "load",
    "overlaps_with_files",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tidegate' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
