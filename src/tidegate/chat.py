"""``tidegate chat``: talk with a model that learnt to answer, in the terminal or through a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tidegate import native
from tidegate.config import check_paths, within
from tidegate.errors import TidegateError
from tidegate.folder.bases import find_model
from tidegate.folder.chat_file import read_template, read_template_file
from tidegate.runtime.model import load
from tidegate.runtime.output import Output
from tidegate.runtime.sampling import Sampling
from tidegate.runtime.session import Session
from tidegate.runtime.stream import read_as_unknown
from tidegate.text.chat_template import ChatTemplate
from tidegate.text.dialogue import message

HELP = "/new begins anew, /quit or Ctrl-D ends, Ctrl-C stops an answer"


@dataclass(frozen=True)
class ChatSettings:
    """With which model, and what is kept."""

    model: str
    """The model's folder, or the name of a base model."""
    adapter: tuple[str, ...] = ()
    """The folder of an adapter to the model; may be given several times, they add up."""
    session: str | None = None
    """File that keeps the conversation between two runs: the model's state, a few kilobytes."""
    system: str | None = None
    """What a new conversation begins with, where the model was trained on such beginnings."""
    template: str | None = None
    """How a conversation becomes a text, see tidegate finetune; by default that of the adapter or the model."""
    max_tokens: int = 400
    """Longest answer, in tokens."""

    def __post_init__(self) -> None:
        check_paths(self, "adapter", "session", "template")
        within(self, "max_tokens", 1, 1_000_000)


def chat(settings: ChatSettings, sampling: Sampling) -> int:
    """Talk until the questions end; returns the exit code."""
    model = load(settings.model, settings.adapter)
    template = _template(settings)
    session = Session(model, template, settings.system)
    file = Path(settings.session) if settings.session is not None else None
    if file is not None and file.exists():
        session.restore(file)
    _say(f"Kernels: {native.describe(native.default_threads())}")
    _say(f"{HELP}." + (f" Resuming after {session.turns} answers." if session.turns else ""))
    for question in _questions():
        if question == "/quit":
            break
        if question == "/new":
            session = Session(model, template, settings.system)
            _say("A new conversation.")
        elif question in ("/help", "/?"):
            _say(HELP)
        elif message("user", question).content:
            _answer(session, question, sampling, settings.max_tokens)
            if file is not None:
                session.save(file)
    return 0


def _answer(session: Session, question: str, sampling: Sampling, max_tokens: int) -> None:
    out = Output(sys.stdout)
    try:
        answer = session.ask(question, sampling, max_tokens)
        try:
            for number, piece in enumerate(answer):
                if not number and session.unknown:
                    _say(read_as_unknown(session.unknown, session.model.tokenizer))
                out.write(piece)
        except KeyboardInterrupt:
            answer.close()  # type: ignore[attr-defined]  # a generator, which then takes the conversation on
    except TidegateError as error:  # what the vocabulary lacks: another question may do
        _say(f"tidegate: {error}")
    out.end_line()


def _template(settings: ChatSettings) -> ChatTemplate:
    if settings.template is not None:
        path = Path(settings.template)
        return read_template_file(path) if path.is_file() else ChatTemplate.of(settings.template)
    for folder in (*map(Path, settings.adapter), find_model(settings.model)):
        if (template := read_template(folder)) is not None:
            return template
    raise TidegateError(
        f"{settings.model} was not trained to answer (it has no chat_template.jinja): fine-tune it on conversations, "
        f"tidegate finetune {settings.model} dialogues.jsonl --task chat, or try it with --template labels."
    )


def _questions() -> Iterator[str]:
    """Yield what a person types, or the lines of a pipe."""
    if not sys.stdin.isatty():
        for line in open(sys.stdin.fileno(), encoding="utf-8-sig", errors="replace", closefd=False):  # noqa: SIM115
            yield line.rstrip("\n")
        return
    ask = _prompt()
    while True:
        try:
            yield ask()
        except EOFError:
            return
        except KeyboardInterrupt:
            _say(HELP)


def _prompt() -> Callable[[], str]:
    """Return what asks for a line: with a history, and editing that knows how wide Chinese characters are."""
    from prompt_toolkit import PromptSession

    prompt: PromptSession[str] = PromptSession()
    return lambda: prompt.prompt("> ")


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
