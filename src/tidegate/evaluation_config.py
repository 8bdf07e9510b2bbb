"""What a user may set of measuring a model on a text."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.config import check_paths, within
from tidegate.errors import TidegateError


@dataclass(frozen=True)
class EvaluateConfig:
    """What is measured, and how."""

    model: str = ""
    """The model's folder, or the name of a base model."""
    adapter: tuple[str, ...] = ()
    """The folder of an adapter to the model; may be given several times, they add up."""
    data: str | None = None
    """A file, folder or glob to measure on, or - for standard input; by default the validation text of the training."""
    encoding: str = "utf-8"
    """Encoding of that text; see tidegate train."""
    columns: tuple[str, ...] = ()
    """Its columns or fields that hold text; see tidegate train."""
    window: int = 256
    """Tokens that the protocol window… reads from the initial state."""
    lanes: int = 20
    """Equal parts of the text that carried… reads in parallel, the state carried through each; 1 is exact, and slow."""
    dynamic: bool = False
    """Measure also with dynamic evaluation: the model is trained on each window after it has predicted it."""
    dynamic_rate: float | None = None
    """Its learning rate; of these settings, those not given are chosen on the validation text of the training."""
    dynamic_decay: float | None = None
    """How far its weights go back, after each window, to those of the training."""
    neural_cache: int | None = None
    """Measure also with a neural cache of so many steps, such as 2000: tokens that came after a like state are
    likelier."""
    cache_weight: float | None = None
    """Its fraction of the probability."""
    cache_sharpness: float | None = None
    """Factor on the products of states by which it remembers."""
    json: bool = False
    """Print one JSON object instead of a table."""
    threads: int | None = None
    """CPU threads at most, one for each CPU by default; the native core runs fewer where fewer prove faster."""
    cache: str | None = None
    """Folder for prepared texts; see tidegate train."""

    def __post_init__(self) -> None:
        check_paths(self, "data", "cache")
        within(self, "window", 1, 1_000_000)
        within(self, "lanes", 1, 65536)
        within(self, "dynamic_rate", 1e-9, 100)
        within(self, "dynamic_decay", 0, 1)
        within(self, "neural_cache", 1, 1_000_000)
        within(self, "cache_weight", 1e-6, 1 - 1e-6)
        within(self, "cache_sharpness", 0, 1e6)
        within(self, "threads", 1, 4096)
        for name, of, on in (
            ("dynamic_rate", "dynamic", self.dynamic),
            ("dynamic_decay", "dynamic", self.dynamic),
            ("cache_weight", "neural_cache", self.neural_cache is not None),
            ("cache_sharpness", "neural_cache", self.neural_cache is not None),
        ):
            if getattr(self, name) is not None and not on:
                raise TidegateError(f"{name} is given, but not --{of.replace('_', '-')}, of which it is a setting.")
