"""What a user may set of fine-tuning beside the settings of any training: where it starts, what of it learns, how fast.

The classical recipe is ULMFiT's (Howard & Ruder 2018, arXiv 1801.06146): rates that fall from layer to layer downwards,
layers that thaw one after another, a slanted triangular schedule (`--schedule triangular`). Low-rank adapters are LoRA
(Hu et al. 2021, arXiv 2106.09685).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tidegate.config import Direction, check_paths, one_of, within
from tidegate.errors import TidegateError

Task = Literal["lm", "chat", "instruct", "classify", "tag"]
NewTokens = Literal["add", "unknown", "replace"]
TALKS = ("chat", "instruct")
"""the tasks that learn from conversations"""
PARTS = ("embedding", "blocks", "output")
"""what `freeze` may name"""
LORA_PARTS = ("weight_ih", "weight_hh", "embedding", "output")
DEFAULTS = {"learning_rate": 3e-3, "weight_decay": 0.1, "dropout": 0.1}
"""where fine-tuning differs from training from scratch: what is there already is not to be lost"""
CHAT_DEFAULTS = {"keep": "last"}
"""of conversations: the loss of answers that were never seen rises long before the answers get worse, as Ouyang et al.
2022 (arXiv 2203.02155, section 3.5) found as well"""
ADAPTER_DEFAULTS = {"learning_rate": 1e-2, "weight_decay": 0.0, "dropout": 0.1}
TRAINING = "training"
"""the word that stands for the text that the model itself learnt from"""


@dataclass(frozen=True)
class TuningConfig:
    """Where a fine-tuning starts, and what of the model it changes."""

    model: str = ""
    """The model to start from: its folder, or the name of a bundled base model. Of classify and tag it may be
    a classifier as well; where its labels are those of the task, training continues from what it knows of them."""
    task: Task = "lm"
    """What is trained: lm, to continue texts like those of the data; chat or instruct, to answer, from conversations
    (messages as OpenAI or ShareGPT writes them; instruction, input and output; columns of questions and answers; the
    exports of ChatGPT and Telegram), with the loss on the answers only; classify, to label texts, from tables, .jsonl
    or a folder of folders; tag, to tag the tokens of sentences, from columns, .conllu or .jsonl."""
    template: str | None = None
    """How a conversation becomes a text: turns (each marked by a control character), labels (User:, Assistant:) or
    labels-zh, or a file in Jinja2; by default that of the model, or turns. It is kept with the model."""
    assistant: str | None = None
    """Of chat and instruct, from Telegram's export: the sender, by name or id, whose messages are the answers; all
    others ask."""
    new_tokens: NewTokens = "add"
    """Characters or words that the model's vocabulary lacks: add them to it; leave them unknown; or replace the
    vocabulary by that of the new text. Tokens that stay are matched by their text. Bytes and bpe lack nothing."""
    direction: Direction | None = None
    """Of the task lm: from which end the model reads each document; backward fine-tunes a forward model to read
    backward, as the second model of a classifier must (--backward); by default that of the model."""
    freeze: tuple[str, ...] = ()
    """A part whose weights stay as they are: embedding, blocks or output; may be given several times."""
    layer_rate: float = 1.0
    """Factor on the learning rate from each layer to the one below it; 0.4 is about ULMFiT's 1 / 2.6."""
    thaw: float = 0.0
    """Gradual unfreezing: fraction of the run over which the layers begin to train, one by one from the top; 0: all
    train from the start."""
    lora_rank: int | None = None
    """Train low-rank changes of this rank instead of the weights, and save them as an adapter; by default with a
    learning rate of 0.01 and no weight decay."""
    lora_alpha: float | None = None
    """Factor of the changes times the rank; by default twice the rank."""
    lora_parts: tuple[str, ...] = LORA_PARTS
    """What the changes are made to: weight_ih, weight_hh, embedding, output; by default all four."""
    old: str | None = None
    """A text like those that the model was trained on before; it is measured before and after, to show what was
    forgotten. The word training stands for the model's own training text."""
    replay: float = 0.0
    """Fraction of the batch that reads the old text, against forgetting; needs --old."""

    def __post_init__(self) -> None:
        check_paths(self, "old", "template")
        for name in ("template", "assistant"):
            if getattr(self, name) is not None and self.task not in TALKS:
                raise TidegateError(
                    f"{name} is {getattr(self, name)}, but the task {self.task} has no conversations: omit it."
                )
        one_of(self, "task", Task)
        one_of(self, "new_tokens", NewTokens)
        if self.direction is not None:
            one_of(self, "direction", Direction)
            if self.task != "lm" or self.lora_rank is not None:
                what = f"the task is {self.task}" if self.task != "lm" else "an adapter leaves the model as it is"
                raise TidegateError(f"direction is {self.direction}, which a whole language model learns, but {what}.")
        if self.task in TALKS and self.new_tokens == "replace":
            raise TidegateError(
                f"new_tokens is replace, but the task {self.task} keeps the model's vocabulary: give add or unknown."
            )
        within(self, "layer_rate", 1e-3, 1)
        within(self, "thaw", 0, 1)
        within(self, "lora_rank", 1, 4096)
        within(self, "lora_alpha", 1e-6, 1e6)
        within(self, "replay", 0, 0.9)
        for name, known in (("freeze", PARTS), ("lora_parts", LORA_PARTS)):
            for part in getattr(self, name):
                if part not in known:
                    raise TidegateError(f"{name} is {part!r}, but it must be one of {', '.join(known)}.")
        if set(self.freeze) == set(PARTS):
            raise TidegateError("freeze names all parts of the model, so nothing would learn: omit one of them.")
        if self.replay and self.old is None:
            raise TidegateError(f"replay is {self.replay:g}, but there is no old text to read: name it by --old.")
        if self.task in ("classify", "tag"):
            for name in ("lora_rank", "old"):
                if getattr(self, name) is not None:
                    raise TidegateError(f"{name} is of a language model, but the task is {self.task}: omit it.")
            if "output" in self.freeze:
                raise TidegateError(f"freeze names output, which is what the task {self.task} learns: omit it.")
        if self.lora_rank is not None:
            self._check_adapter()
        elif self.lora_alpha is not None:
            raise TidegateError("lora_alpha is of an adapter, but there is none: give --lora-rank, such as 8.")

    def _check_adapter(self) -> None:
        if not self.lora_parts:
            raise TidegateError(f"lora_parts is empty, but it must name some of {', '.join(LORA_PARTS)}.")
        for name, default in (("freeze", ()), ("layer_rate", 1.0), ("thaw", 0.0)):
            if getattr(self, name) != default:
                raise TidegateError(
                    f"{name} says how the model's own weights learn, but with --lora-rank these stay: omit one of them."
                )
        if self.new_tokens == "replace":
            raise TidegateError(
                "new_tokens is replace, but an adapter belongs to the model and its vocabulary: omit one of them."
            )

    @property
    def defaults(self) -> dict[str, Any]:
        """The settings of the training that differ from those of one from scratch, where they are not given."""
        of_task = CHAT_DEFAULTS if self.task in ("chat", "instruct") else {}
        return {**(ADAPTER_DEFAULTS if self.lora_rank is not None else DEFAULTS), **of_task}

    @property
    def alpha(self) -> float:
        """The adapter's alpha: its changes count ``alpha / rank`` times."""
        return self.lora_alpha if self.lora_alpha is not None else 2.0 * (self.lora_rank or 0)
