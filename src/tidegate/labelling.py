"""What a user may set of learning labels: which texts have which, and how a language model becomes a classifier.

The recipe `ulmfit` is Howard & Ruder's (2018, arXiv 1801.06146): the language model first goes on learning from the
task's own text, then its layers thaw one after another under the labels, at rates that fall from layer to layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tidegate.config import check_paths, one_of, within
from tidegate.errors import TidegateError

Recipe = Literal["ulmfit", "direct", "fast", "scratch"]
ClassWeights = Literal["none", "balanced"]

RECIPES: dict[str, dict[str, Any]] = {
    "ulmfit": {"epochs": 6.0, "learning_rate": 3e-3, "layer_rate": 0.6, "thaw": 0.2, "dropout": 0.3},
    "direct": {"epochs": 8.0, "learning_rate": 3e-3, "layer_rate": 0.6, "thaw": 0.2, "dropout": 0.3},
    "fast": {"epochs": 60.0, "learning_rate": 3e-3, "layer_rate": 1.0, "thaw": 0.0, "dropout": 0.0},
    "scratch": {"epochs": 10.0, "learning_rate": 3e-3, "layer_rate": 1.0, "thaw": 0.0, "dropout": 0.3},
}
"""what each recipe chooses of what is not given"""
ALL_RECIPES: dict[str, Any] = {"schedule": "triangular", "weight_decay": 0.1, "patience": 0, "output_dropout": 0.3}
"""what all of them choose"""


@dataclass(frozen=True)
class LabelConfig:
    """Of ``--task classify``: where the labels stand, and how they are learnt."""

    label_column: str = "label"
    """The column of a table, or the field of a .jsonl, that holds the label; in a folder of folders these are the
    labels."""
    multi_label: bool = False
    """A text may have several labels, or none: a list in a .jsonl, or, in a table, names with | between them."""
    class_weights: ClassWeights = "none"
    """balanced: each class counts alike in the loss, however few texts it has."""
    recipe: Recipe = "ulmfit"
    """How the model becomes a classifier: ulmfit, first as a language model of the task's text, then by its labels;
    direct, by the labels alone; fast, with the model's weights as they are, in minutes; scratch, from none of them."""
    unlabelled: tuple[str, ...] = ()
    """More text of the task, without labels, that ulmfit's language model learns from; may be given several times."""
    language_epochs: float = 2.0
    """Passes of ulmfit's language model over the task's text."""
    test_data: str | None = None
    """Labelled texts that are measured once, at the end."""
    longest: int = 1024
    """Tokens at the end of a text that its gradient reaches; what stands before them is read all the same."""

    def __post_init__(self) -> None:
        check_paths(self, "unlabelled", "test_data")
        one_of(self, "class_weights", ClassWeights)
        one_of(self, "recipe", Recipe)
        within(self, "language_epochs", 1e-3, 1000)
        within(self, "longest", 16, 65536)
        if not self.label_column:
            raise TidegateError("label_column is empty, but it must name a column or a field: give its name.")
        if self.unlabelled and self.recipe != "ulmfit":
            raise TidegateError(
                f"unlabelled text is learnt by the recipe ulmfit alone, but recipe is {self.recipe}: leave one out."
            )

    @property
    def defaults(self) -> dict[str, Any]:
        """The settings of the training that the recipe chooses, where they are not given."""
        return {**ALL_RECIPES, **RECIPES[self.recipe]}
