"""What a user may set: frozen dataclasses whose field docstrings are the ``--help``.

Every rule about a value stands here, in ``__post_init__``, so a flag, a YAML file and a model folder are checked alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, get_args

from tidegate.arguments import plain_number
from tidegate.errors import TidegateError, nearest

Cell = Literal["rnn", "lstm", "gru", "gru_reset_before"]
Block = Literal["residual", "plain"]
Direction = Literal["forward", "backward"]
TokenizerKind = Literal["bytes", "characters", "words", "whitespace", "bpe"]
Schedule = Literal["linear", "cosine", "triangular"]
Keep = Literal["best", "last"]
CorpusName = Literal["shakespeare", "tang-poems"]
PresetName = Literal["tiny", "small", "medium", "large"]


def within(settings: object, name: str, low: float, high: float) -> None:
    """Check that a field has ``low <= value <= high``; NaN fails, None (not set) passes.

    A number of NumPy's becomes one of Python's, as what is written to JSON must be.
    """
    value = getattr(settings, name)
    if value is None:
        return
    whole = "int" in str(type(settings).__annotations__.get(name, "")).split(" | ")
    if (plain := plain_number(value, whole)) is None:
        kind = "a whole number" if whole else "a number"
        raise TidegateError(f"{name} is {value!r}, but it must be {kind} from {_plain(low)} to {_plain(high)}.")
    object.__setattr__(settings, name, plain)
    if not low <= plain <= high:
        raise TidegateError(f"{name} is {value}, but it must be from {_plain(low)} to {_plain(high)}.")


def _plain(number: float) -> str:
    """Return a number without an exponent where it is whole."""
    return f"{int(number)}" if number == number // 1 and abs(number) < 2**64 else f"{number:g}"


def check_paths(settings: object, *names: str) -> None:
    """Check that fields could name a file or a folder; None (not set) passes.

    The empty name would stand for the current folder, though it is most often a variable that a shell had no value for.
    """
    for name in names:
        value = getattr(settings, name)
        for path in value if isinstance(value, tuple) else (value,):
            if path is not None and (not path or "\0" in path):
                raise TidegateError(f"{name} is {path!r}, but it must name a file or a folder: give a name.")


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def one_of(settings: object, name: str, choices: Any) -> None:
    """Check that a field is one of a Literal's words."""
    value = getattr(settings, name)
    known = get_args(choices)
    if value not in known:
        raise TidegateError(
            f"{name} is {value!r}, but it must be one of {', '.join(known)}{nearest(str(value), known)}."
        )


def from_dict(kind: type, values: dict[str, Any], where: str) -> Any:
    """Build a settings dataclass from a JSON object; an unknown key is an error that names the nearest right one."""
    known = [field.name for field in fields(kind)]
    for name in values:
        if name not in known:
            raise TidegateError(
                f"{where} has the unknown field {name!r}{nearest(name, known)}; known: {', '.join(known)}."
            )
    if wrong := wrong_field(kind, values):
        raise TidegateError(f"{where}: {wrong}.")
    return kind(**values)


def wrong_field(settings: Any, values: dict[str, Any] | None = None) -> str | None:
    """Return what is wrong with the type of a value that JSON gave a dataclass's field, None if nothing is.

    settings: a dataclass whose own values are checked, or its class and the values.
    """
    plain: dict[str, tuple[type, ...]] = {
        "int": (int,), "float": (int, float), "bool": (bool,), "str": (str,), "None": (type(None),),
    }  # fmt: skip
    for setting in fields(settings):
        value = values.get(setting.name, setting.default) if values is not None else getattr(settings, setting.name)
        written = str(setting.type)
        if written.startswith("tuple["):
            right = isinstance(value, tuple) and all(isinstance(item, str) for item in value)
        elif written.startswith("dict["):
            right = isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
        elif any(part in plain for part in written.split(" | ")):
            # True is an int to Python, but no number to a reader of JSON
            right = any(
                type(value) in plain.get(part, (str,)) or (is_dataclass(value) and type(value).__name__ == part)
                for part in written.split(" | ")
            )
        else:
            right = is_dataclass(value) or isinstance(value, str)  # a Literal, whose own words __post_init__ checks
        if not right:
            return f"{setting.name} is {repr(value)[:80]}, but {written} was wanted"
    return None


@dataclass(frozen=True)
class ModelConfig:
    """The shape of the language model."""

    cell: Cell = "lstm"
    """The recurrent cell; gru resets after the product, as cuDNN and PyTorch; the other before (arXiv 1406.1078v3)."""
    layers: int = 2
    """Number of stacked recurrent layers, L."""
    hidden_size: int = 256
    """Units of each layer, H."""
    embedding_size: int | None = None
    """Size of a token's vector, E; by default H. Where it differs, a projection joins the two."""
    block: Block = "residual"
    """residual: x + dropout(cell(rmsnorm(x))), which trains far better; plain: the classical stack of cells."""
    tied: bool = False
    """Use one matrix for both the embedding and the output layer."""
    direction: Direction = "forward"
    """backward: it reads each document from its end; such a model cannot write, but a classifier may have one beside
    the one that reads forward."""

    def __post_init__(self) -> None:
        one_of(self, "cell", Cell)
        one_of(self, "block", Block)
        one_of(self, "direction", Direction)
        within(self, "layers", 1, 64)
        within(self, "hidden_size", 1, 16384)
        within(self, "embedding_size", 1, 16384)

    @property
    def E(self) -> int:
        """Size of a token's vector."""
        return self.hidden_size if self.embedding_size is None else self.embedding_size


@dataclass(frozen=True)
class DataConfig:
    """The training text, and how it is cut into tokens."""

    data: tuple[str, ...] = ()
    """Files (.txt, .md, .jsonl, .csv, .tsv, .html, .parquet; also in .gz, .xz, .zst, .zip), folders, globs, or - for
    standard input; none: the embedded corpus."""
    corpus: CorpusName = "shakespeare"
    """The embedded corpus that is used where no data is given: shakespeare or tang-poems."""
    tokenizer: TokenizerKind = "characters"
    """What a token is: bytes, characters, words, whitespace (what stands between spaces, and line ends: the form of the
    word-level standard sets) or bpe (byte pairs, which suits large texts)."""
    vocabulary: int | None = None
    """Largest number of tokens for words, whitespace and bpe; by default 20000, 100000 and 4096."""
    validation: float = 0.1
    """Fraction of the text, at its end, that is held out for validation; 0 for none."""
    validation_data: str | None = None
    """A file, folder or glob that is the validation set instead."""
    encoding: str = "utf-8"
    """Encoding of the files: utf-8, gb18030, big5, utf-16, latin-1 …, or auto for a guess, file by file. A byte-order
    mark goes before it."""
    columns: tuple[str, ...] = ()
    """The column of a table, or the field of a .jsonl, that holds the text; may be given several times. By default the
    one named text, or the only one. A number, counted from 1, names a column of a table without a header. Of
    conversations: that of the question, then that of the answer, or one alone, that of a list of messages; by default
    they are recognized."""
    keep_duplicates: bool = False
    """Keep documents whose very text came before; by default the first is kept."""

    def __post_init__(self) -> None:
        check_paths(self, "data", "validation_data")
        one_of(self, "corpus", CorpusName)
        one_of(self, "tokenizer", TokenizerKind)
        within(self, "vocabulary", 2, 1_000_000)
        within(self, "validation", 0, 0.9)


@dataclass(frozen=True)
class TrainingConfig:
    """How the model is trained. One horizon is given: epochs, steps, tokens or minutes."""

    lanes: int = 32
    """Batch size, B: streams read side by side; by default 32, fewer where a run would have under 300 steps."""
    window: int = 64
    """Sequence length of truncated BPTT, T: the state is carried from one window to the next, the gradient is not; by
    default 64, less for a text of under 2,048 tokens."""
    learning_rate: float = 6e-3
    """Highest learning rate."""
    warmup: int = 50
    """Steps over which the learning rate rises from 0, but at most a tenth of the run."""
    schedule: Schedule = "linear"
    """How the learning rate falls after the warm-up: linearly, or along half a cosine; triangular: it rises over the
    first tenth of the run, whatever the warm-up, and falls linearly (ULMFiT)."""
    final_rate: float = 0.0
    """Fraction of the learning rate at which the schedule ends."""
    weight_decay: float = 0.4
    """AdamW's weight decay, of matrices only."""
    beta1: float = 0.9
    """AdamW's decay of the mean gradient."""
    beta2: float = 0.99
    """AdamW's decay of the mean squared gradient."""
    epsilon: float = 1e-8
    """AdamW's term beside the root of the mean squared gradient; 1e-5 or 1e-4 keep weights of tiny gradients, as those
    of rare words, from steps as long as all others."""
    clip: float = 1.0
    """Largest norm of the whole gradient."""
    dropout: float = 0.0
    """Fraction of units dropped after the embedding and after each cell, one mask per window and stream."""
    input_dropout: float | None = None
    """Fraction of units dropped before the first cell; by default that of --dropout."""
    output_dropout: float | None = None
    """Fraction of units dropped before the output layer; by default none, in plain blocks that of --dropout."""
    embedding_dropout: float = 0.0
    """Fraction of the vocabulary whose tokens are dropped from a window's inputs."""
    weight_dropout: float = 0.0
    """Fraction of the weights of W_hh dropped in a window (DropConnect, as in AWD-LSTM)."""
    ar: float = 0.0
    """Activation regularization: factor on the mean square of the last cell's outputs, after dropout."""
    tar: float = 0.0
    """Temporal activation regularization: factor on the mean square of their change from step to step."""
    ema: float = 0.0
    """Keep a moving average of the weights, with this decay per step (0.99 or 0.999), which is evaluated and saved
    instead of them; 0: none."""
    output_sample: int | None = None
    """Compute the loss of each window, while training, among so many tokens of the vocabulary, drawn by how often the
    text has them (importance sampling), and not among all: a large vocabulary then costs little."""
    shuffle: bool = True
    """Read the documents in another order in each epoch; false: in that of the files."""
    epochs: float | None = None
    """Horizon: passes over the training text; where no horizon is given, 5, or more for at least 300 steps."""
    steps: int | None = None
    """Horizon: steps of the optimizer."""
    tokens: int | None = None
    """Horizon: tokens read."""
    minutes: float | None = None
    """Horizon: minutes by the clock once the text is prepared, all evaluations included; the schedule ends where the
    time ends. Time in which the process is stopped, or the computer asleep, for more than a minute does not count."""
    final_seconds: float | None = None
    """Seconds of --minutes that are kept for the final evaluation; by default what it is expected to take."""
    evaluations: int = 10
    """Evaluations on the validation text, evenly over the horizon, the last at its end; each shows a sample. By default
    fewer where they would take over a tenth of the run."""
    evaluation_tokens: int = 100_000
    """Tokens of the validation text, from its beginning, that an evaluation reads; by default fewer, likewise."""
    final_tokens: int = 5_000_000
    """Tokens of the validation text, from its beginning, that are measured at the end, under two protocols; where the
    text has more, the metrics' names say so."""
    patience: int = 4
    """Stop after so many evaluations without a new best; 0: never."""
    keep: Keep = "best"
    """Which weights are kept: best, those of the lowest validation loss; last, those of the last step, for which the
    run never stops early. The default of chat and instruct is last."""
    seed: int = 0
    """Seed of the start values, of dropout and of the samples."""
    threads: int | None = None
    """CPU threads at most, one for each CPU by default; the native core runs fewer where fewer prove faster."""
    log_every: int = 10
    """Steps between two lines of the log."""
    save_seconds: float = 30.0
    """Seconds between two checkpoints."""

    def __post_init__(self) -> None:
        one_of(self, "schedule", Schedule)
        one_of(self, "keep", Keep)
        within(self, "lanes", 1, 65536)
        within(self, "window", 1, 65536)
        within(self, "learning_rate", 1e-9, 100)
        within(self, "warmup", 0, 10**9)
        within(self, "final_rate", 0, 1)
        within(self, "weight_decay", 0, 100)
        within(self, "beta1", 0, 0.99999)
        within(self, "beta2", 0, 0.9999999)
        within(self, "epsilon", 1e-30, 1e3)
        within(self, "clip", 1e-6, 1e9)
        for share in ("dropout", "input_dropout", "output_dropout", "embedding_dropout", "weight_dropout"):
            within(self, share, 0, 0.95)
        within(self, "ar", 0, 1000)
        within(self, "tar", 0, 1000)
        within(self, "ema", 0, 0.999999)
        within(self, "output_sample", 1, 2_000_000)
        within(self, "epochs", 1e-6, 1e6)
        within(self, "steps", 1, 10**12)
        within(self, "tokens", 1, 10**15)
        within(self, "minutes", 1e-3, 1e6)
        within(self, "final_seconds", 0, 1e6)
        within(self, "evaluations", 1, 100_000)
        within(self, "evaluation_tokens", 1, 10**15)
        within(self, "final_tokens", 1, 10**15)
        within(self, "patience", 0, 100_000)
        within(self, "seed", 0, 2**62)
        within(self, "threads", 1, 4096)
        within(self, "log_every", 1, 10**9)
        within(self, "save_seconds", 0, 10**9)
        given = [name for name in HORIZONS if getattr(self, name) is not None]
        if len(given) > 1:
            raise TidegateError(f"Found {len(given)} horizons ({', '.join(given)}), but a run has one: give only one.")


HORIZONS = ("epochs", "steps", "tokens", "minutes")


@dataclass(frozen=True)
class RunConfig:
    """How the run starts, and where it is kept."""

    preset: PresetName | None = None
    """Choose the model's size: tiny 1×128, small 2×256, medium 2×512 or large 3×1024. Regularization, learning rate and
    evaluations follow from what this machine reads in the time (--minutes, else 10). Other flags override it."""
    find_lr: bool = False
    """Do not train: find a learning rate in 150 steps of a temporary model, draw the curve, and print the command to
    train with it."""
    given: frozenset[str] = field(default=frozenset(), metadata={"flag": False})
    """Names of the settings that a flag or a YAML file gave; not a flag itself."""
    out: str | None = None
    """Folder for the model; by default a new one under runs/, named after the text."""
    resume: str | None = None
    """Folder of a run to resume, bit for bit as if it had never stopped."""
    cache: str | None = None
    """Folder for prepared texts; by default TIDEGATE_CACHE, or tidegate in the user's cache folder."""
    processes: int | None = None
    """Processes that prepare the text; by default one per core, or one for a small text."""

    def __post_init__(self) -> None:
        check_paths(self, "out", "resume", "cache")
        if self.out is not None and not _is_utf8(self.out):
            raise TidegateError(
                f"out is {self.out!r}, which is not UTF-8, but others read the folder's name: choose one."
            )
        within(self, "processes", 1, 4096)
        if self.preset is not None:
            one_of(self, "preset", PresetName)
        for name in ("preset", "find_lr"):
            if self.resume is not None and getattr(self, name):
                raise TidegateError(
                    f"--{name.replace('_', '-')} is for a new run, but --resume {self.resume} uses the recorded "
                    "settings: omit one of them."
                )
