"""What a user may set of learning labels: which texts or tokens have which, and how a language model learns them.

The recipe `ulmfit` is Howard & Ruder's (2018, arXiv 1801.06146): the language model first goes on learning from the
task's own text, then its layers thaw one after another under the labels, at rates that fall from layer to layer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from tidegate.config import check_paths, one_of, within
from tidegate.errors import TidegateError

Recipe = Literal["ulmfit", "direct", "fast", "scratch"]
ClassWeights = Literal["none", "balanced"]
TagCell = Literal["lstm", "gru", "rnn"]

RECIPES: dict[str, dict[str, Any]] = {
    "ulmfit": {"epochs": 2.0, "learning_rate": 3e-3, "layer_rate": 0.6, "thaw": 0.2, "dropout": 0.3},
    "direct": {"epochs": 2.5, "learning_rate": 3e-3, "layer_rate": 0.6, "thaw": 0.2, "dropout": 0.3},
    "fast": {"epochs": 60.0, "learning_rate": 3e-3, "layer_rate": 1.0, "thaw": 0.0, "dropout": 0.0},
    "scratch": {"epochs": 10.0, "learning_rate": 3e-3, "layer_rate": 1.0, "thaw": 0.0, "dropout": 0.3},
}
"""what each recipe chooses of what is not given"""
ALL_RECIPES: dict[str, Any] = {"schedule": "triangular", "weight_decay": 0.1, "patience": 0, "output_dropout": 0.3}
"""what all of them choose"""
TAGGING: dict[str, Any] = {"epochs": 15.0, "thaw": 0.0, "output_dropout": 0.5}
"""where tagging differs: what stands above the encoder learns from nothing, so all learns from the start"""
MOST_WITH_NGRAMS = 32
"""labels beside which n-grams are counted: each has a weight for every bucket"""
LEAST_STEPS = 150
"""so many steps are taken at least where no horizon is given: of a hundred texts an epoch has three"""
FEW_TEXTS = 1600
"""of fewer a classifier that has read before learns at a rate that falls with the square root of their number"""
OF_CLASSIFY = ("backward", "label_column", "multi_label", "class_weights", "ngrams", "longest")
OF_TAG = (
    "token_column",
    "tag_column",
    "sentence_column",
    "cut_sentences",
    "tag_cell",
    "tag_units",
    "word_size",
    "rare_words",
)
"""settings of one task alone"""
_OF_WINDOWS = ("ar", "tar", "output_sample", "shuffle", "window", "evaluation_tokens", "final_tokens")
WITHOUT_EFFECT = {"classify": _OF_WINDOWS, "tag": (*_OF_WINDOWS, "columns", "keep_duplicates")}
"""settings of training and data that these tasks know nothing of"""
OF_RECIPES = {"ulmfit": ("new_tokens",), "fast": ("freeze", "longest")}
"""settings that the recipe ulmfit alone knows, and those of which fast knows nothing; language_epochs may be given with
any, so that the same flags compare recipes"""


@dataclass(frozen=True)
class LabelConfig:
    """Of ``--task classify`` and ``--task tag``: where the labels are, and how they are learned."""

    recipe: Recipe = "ulmfit"
    """Of classify and tag: ulmfit, fine-tune the language model on the task's text, then train on the labels; direct,
    train all weights on the labels; fast, do not change the language model; scratch, start from random weights. Of tag
    the default is fast where no unlabelled text is given: its results are as good, in half the time."""
    unlabelled: tuple[str, ...] = ()
    """More text of the task, without labels, that ulmfit's language model is trained on; may be given several times."""
    language_epochs: float = 2.0
    """Passes of ulmfit's language model over the task's text. Where it is not given, --minutes is the time of both, of
    which the language model has half; another horizon is of the labels alone."""
    backward: str | None = None
    """Of classify: a second model, of the same shape and vocabulary, that reads the texts from their ends; of ulmfit it
    may be any such model, MODEL itself as well: reading from the end is what it learns first."""
    test_data: str | None = None
    """Labelled texts that are measured once, at the end."""
    label_column: str = "label"
    """Of classify: the column of a table, or the field of a .jsonl, that holds the label; in a folder of folders these
    are the labels. A number, counted from 1, names a column of a table without a header; --columns is then one too."""
    multi_label: bool = False
    """Of classify: a text may have several labels, or none: a list in a .jsonl, or, in a table, names with | between
    them."""
    class_weights: ClassWeights = "none"
    """Of classify: balanced, each class counts alike in the loss, however few texts it has."""
    ngrams: bool = True
    """Of classify: use n-gram counts too, with a weight that is fitted on the validation texts; for at most 32
    labels."""
    longest: int = 1024
    """Of classify: tokens at the end of a text that its gradient reaches; the tokens before them are only read."""
    token_column: int | str | None = None
    """Of tag: the column of the token, its number, counted from 1, or from the end from -1 down, or, of a table or
    JSON, its name; by default the first, of CoNLL-U the second, of a table the one called token or word."""
    tag_column: int | str | None = None
    """Of tag: that of the tag; by default the last, of CoNLL-U the fourth, of a table the one called tag or label."""
    sentence_column: int | str | None = None
    """Of tag: in a table the column that tells sentences apart, on the first row of each or on all; by default the one
    called sentence # or sentence_id, and without one a sentence ends at an empty row."""
    cut_sentences: bool = False
    """Of tag: cut sentences behind . ! ? 。 ！ ？ … outside of entities, for files without empty lines between them."""
    tag_cell: TagCell = "lstm"
    """Of tag: the cell of the layers in two directions above the model."""
    tag_units: int = 128
    """Of tag: units of the layer over the sentence, in each direction."""
    word_size: int = 100
    """Of tag: size of the vector that each word of the training text has besides."""
    rare_words: int = 2
    """Of tag: words that come fewer times than this share one vector."""

    def __post_init__(self) -> None:
        check_paths(self, "unlabelled", "test_data", "backward")
        one_of(self, "class_weights", ClassWeights)
        one_of(self, "recipe", Recipe)
        within(self, "language_epochs", 1e-3, 1000)
        within(self, "longest", 16, 65536)
        one_of(self, "tag_cell", TagCell)
        within(self, "tag_units", 1, 4096)
        within(self, "word_size", 1, 4096)
        within(self, "rare_words", 1, 1000)
        for name in ("token_column", "tag_column", "sentence_column"):
            column = getattr(self, name)
            if isinstance(column, int):
                within(self, name, -1000, 1000)
            if column in (0, ""):
                raise TidegateError(f"{name} is {column!r}, but columns are counted from 1, or from -1 down, or named.")
        if not self.label_column:
            raise TidegateError("label_column is empty, but it must name a column or a field: give its name.")
        if self.unlabelled and self.recipe != "ulmfit":
            raise TidegateError(
                f"unlabelled text is used by the recipe ulmfit only, but recipe is {self.recipe}: omit one of them."
            )

    def chosen(self, task: str, given: frozenset[str]) -> LabelConfig:
        """Return the settings with the task's own recipe, where none is given and nothing of ulmfit's is."""
        of_ulmfit = self.unlabelled or {"recipe", "language_epochs"} & given
        return self if task != "tag" or of_ulmfit else replace(self, recipe="fast")

    def defaults(self, task: str) -> dict[str, Any]:
        """Return the settings of the training that the recipe chooses for classify or tag, where they are not given."""
        return {**ALL_RECIPES, **RECIPES[self.recipe], **(TAGGING if task == "tag" else {})}
