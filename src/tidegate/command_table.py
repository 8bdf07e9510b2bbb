"""The commands: what each does, by which function, with which settings, and examples. A table and nothing more: what a
command needs is imported when it runs."""

from __future__ import annotations

import dataclasses

from tidegate.config import HORIZONS


@dataclasses.dataclass(frozen=True)
class Verb:
    """One word of the command line."""

    function: str
    """``module:function`` that does it; imported only when it is asked for"""
    settings: tuple[str, ...]
    """``module:dataclass`` of its flags, in the order of the function's arguments"""
    summary: str
    examples: tuple[tuple[str, str], ...]
    """command, what it does"""
    positional: str | None = None
    """the field that is given without a flag, once"""
    texts: str | None = None
    """the field that is given without a flag, after that, any number of times"""
    hidden: tuple[str, ...] = ()
    """fields of the settings that are no flags of this verb"""
    exclusive: tuple[str, ...] = ()
    """fields of which one excludes the others"""
    chooser: str | None = None
    """the field that chooses for those that are not given"""
    defaults: str | None = None
    """``module:mapping`` of the fields whose defaults are others here"""


VERBS = {
    "train": Verb(
        "tidegate.train:train",
        (
            "tidegate.config:DataConfig",
            "tidegate.config:ModelConfig",
            "tidegate.config:TrainingConfig",
            "tidegate.config:RunConfig",
        ),
        "Train a language model from raw text.",
        (
            ("tidegate train", "train on the bundled Shakespeare"),
            ("tidegate train --corpus tang-poems --minutes 10", "train on 46,979 Tang poems, for ten minutes"),
            ("tidegate train my-novel.txt", "train on your own text, character by character"),
            ("tidegate train texts/ --tokenizer bpe --epochs 3", "train on a folder of texts, with byte pairs (BPE)"),
            (
                "tidegate train my-novel.txt --preset small --minutes 20",
                "choose the other settings by time, text and machine",
            ),
            ("tidegate train my-novel.txt --find-lr", "find a learning rate first"),
            ("tidegate train --config recipes/tiny-shakespeare.yaml input.txt", "repeat a known result"),
            ("tidegate train --resume runs/my-novel", "resume a run that was stopped"),
        ),
        texts="data",
        exclusive=HORIZONS,
        chooser="preset",
    ),
    "finetune": Verb(
        "tidegate.finetune:finetune",
        (
            "tidegate.tuning:TuningConfig",
            "tidegate.labelling:LabelConfig",
            "tidegate.config:DataConfig",
            "tidegate.config:TrainingConfig",
            "tidegate.config:RunConfig",
        ),
        "Fine-tune a model on your own text.",
        (
            ("tidegate finetune base-en my-novel.txt --minutes 20", "fine-tune a model of English on a novel"),
            ("tidegate finetune runs/shakespeare sonnets.txt --old training", "and measure what it forgot"),
            (
                "tidegate finetune runs/shakespeare sonnets.txt --old training --replay 0.1",
                "and forget less: a tenth of the batch reads the old text",
            ),
            (
                "tidegate finetune base-en letters.txt --lora-rank 8",
                "train a small adapter; the model does not change",
            ),
            (
                "tidegate finetune base-en reviews.csv --task classify",
                "train a classifier, from a table with the columns text and label",
            ),
            (
                "tidegate finetune base-en train.conll --task tag --test-data test.conll",
                "train a tagger, from columns of tokens and tags",
            ),
            ("tidegate finetune --resume runs/base-en-my-novel", "resume a run that was stopped"),
        ),
        positional="model",
        texts="data",
        hidden=("tokenizer", "vocabulary", "preset"),
        exclusive=HORIZONS,
        defaults="tidegate.tuning:DEFAULTS",
    ),
    "merge": Verb(
        "tidegate.merge:merge",
        ("tidegate.merge:MergeSettings",),
        "Merge an adapter into a model; needs no PyTorch.",
        (
            ("tidegate merge base-en --adapter runs/letters --out letters", "a model folder of its own"),
            ("tidegate merge base-en --adapter one --adapter two --out both", "of two adapters, which add up"),
        ),
        positional="model",
    ),
    "import": Verb(
        "tidegate.import_model:import_model",
        ("tidegate.import_model:ImportSettings",),
        "Import the weights of a torch.nn language model; needs no PyTorch.",
        (
            ("tidegate import lstm.safetensors --vocabulary chars.json --out runs/lstm", "a model of characters"),
            ("tidegate import ptb.safetensors --vocabulary words.txt --tokens whitespace --out runs/ptb", "of words"),
        ),
        positional="weights",
    ),
    "prepare": Verb(
        "tidegate.prepare:prepare",
        ("tidegate.config:DataConfig", "tidegate.prepare:PrepareSettings"),
        "Read text, report what it has, and prepare it for training.",
        (
            ("tidegate prepare novels/", "files, documents, characters, scripts, duplicates, what was omitted"),
            ("tidegate prepare novels/ --encoding auto", "the same, where files are in GB18030, Big5, UTF-16 …"),
            ("tidegate prepare reviews.csv --columns review", "the text in a column of a table"),
            ("zcat dump.gz | tidegate prepare - --tokenizer bpe", "from standard input, with byte pairs (BPE)"),
        ),
        texts="data",
    ),
    "generate": Verb(
        "tidegate.generate:generate",
        ("tidegate.generate:GenerateSettings", "tidegate.runtime.sampling:Sampling"),
        "Generate text with a model; needs no PyTorch.",
        (
            ("tidegate generate runs/shakespeare --prompt 'ROMEO:'", "continue a prompt"),
            (
                "tidegate generate runs/tang-poems --prompt 春 --num-samples 3 --seed 7",
                "three samples, the same every time",
            ),
            ("tidegate generate runs/shakespeare --temperature 0.5 --max-tokens 2000", "more predictable, and longer"),
            ("cat chapter.txt | tidegate generate runs/my-novel", "continue a text of any length"),
            (
                "tidegate generate runs/my-novel --novelty training",
                "and report how much of it is copied from the training text",
            ),
            ("tidegate generate runs/my-novel --novelty books/", "or in other texts"),
        ),
        positional="model",
    ),
    "chat": Verb(
        "tidegate.chat:chat",
        ("tidegate.chat:ChatSettings", "tidegate.runtime.sampling:Sampling"),
        "Chat with a model that was trained on conversations; needs no PyTorch.",
        (
            ("tidegate chat runs/base-en-dialogues", "a conversation; Ctrl-D or /quit ends it"),
            ("tidegate chat runs/helper --session anna.state", "one that can be resumed, from a few kilobytes"),
            ("tidegate chat base-en --adapter runs/customer-a", "with an adapter"),
            ("echo 'What is a tide?' | tidegate chat runs/helper", "one question per line, from a pipe"),
        ),
        positional="model",
    ),
    "classify": Verb(
        "tidegate.classify:classify",
        ("tidegate.classify:ClassifySettings",),
        "Label texts with a classifier; needs no PyTorch.",
        (
            ("cat texts.txt | tidegate classify runs/reviews", "one text per line: its label and probability"),
            (
                "tidegate classify runs/reviews --data new.csv --out labelled.csv",
                "a table, with all its columns and those of label and probability",
            ),
            ("tidegate classify runs/reviews --data new.jsonl --json", "all probabilities, for a program to read"),
        ),
        positional="model",
    ),
    "tag": Verb(
        "tidegate.tag:tag",
        ("tidegate.tag:TagSettings",),
        "Tag the tokens of text with a tagger; needs no PyTorch.",
        (
            ("cat text.txt | tidegate tag runs/entities", "one sentence per line: its tokens and their tags"),
            ("tidegate tag runs/entities --data notes.txt --form colour", "the text, its entities in colours"),
            (
                "tidegate tag runs/entities --data notes.txt --form json",
                "one object per sentence, for a program to read",
            ),
        ),
        positional="model",
    ),
    "embed": Verb(
        "tidegate.embed:embed",
        ("tidegate.embed:EmbedSettings",),
        "Turn texts into vectors, for comparison and search; needs no PyTorch.",
        (
            ("cat texts.txt | tidegate embed base-en", "a JSON list of numbers for each line"),
            ("tidegate embed base-zh --data notes/ --whole-files --out notes.npy", "an array with a row for each file"),
        ),
        positional="model",
    ),
    "evaluate": Verb(
        "tidegate.evaluate:evaluate",
        ("tidegate.evaluation_config:EvaluateConfig",),
        "Evaluate a model on a text: nats/token, perplexity, bits/byte.",
        (
            ("tidegate evaluate runs/shakespeare", "on the validation text of its training"),
            ("tidegate evaluate runs/shakespeare --data sonnets.txt", "on another text"),
            (
                "tidegate evaluate runs/ptb --data ptb.test.txt --lanes 1 --neural-cache 2000 --dynamic",
                "also with dynamic evaluation, which trains on what it has read",
            ),
            ("tidegate evaluate runs/shakespeare --json", "for a program to read"),
        ),
        positional="model",
    ),
    "runs": Verb(
        "tidegate.runs:runs",
        ("tidegate.runs:RunsSettings",),
        "List and compare runs; needs no PyTorch.",
        (
            ("tidegate runs", "those under runs/, the best first"),
            ("tidegate runs --plot runs/comparison.png", "and a picture of their validation losses"),
            ("tidegate runs sweep/ runs/shakespeare --sort speed", "others, the fastest first"),
            ("tidegate runs --json", "for a program to read"),
        ),
        texts="folder",
    ),
    "doctor": Verb(
        "tidegate.doctor:doctor",
        ("tidegate.doctor:DoctorSettings",),
        "Say what computes here: CPU, kernels, threads, versions.",
        (("tidegate doctor", "for a person to read"), ("tidegate doctor --json", "for a program, or a report")),
    ),
    "gradcheck": Verb(
        "tidegate.gradcheck:gradcheck",
        ("tidegate.gradcheck:GradcheckSettings",),
        "Check every gradient of the theory by finite differences.",
        (("tidegate gradcheck", "all cells"), ("tidegate gradcheck --cells lstm --hidden 16", "one cell, larger")),
    ),
}
