"""``tidegate chat``: talk with a model that learnt to answer, in the terminal or through a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tidegate import native
from tidegate.config import check_paths, within
from tidegate.errors import TidegateError
from tidegate.folder.chat_file import Chat, read_template_file
from tidegate.folder.presence import is_there
from tidegate.runtime.model import Model, load
from tidegate.runtime.output import Output
from tidegate.runtime.sampling import Sampling
from tidegate.runtime.session import Session
from tidegate.runtime.stream import read_as_unknown
from tidegate.text.chat_template import ChatTemplate
from tidegate.text.conversations.message import message
from tidegate.text.messages import complain, say

ALONE = (
    "Each question begins a new conversation: the model learned from single questions and their answers "
    "(--single-turn false keeps what was said before)."
)
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
    single_turn: bool | None = None
    """Begin a new conversation with each question; by default where the model learned from single questions and their
    answers."""
    max_tokens: int = 400
    """Longest answer, in tokens."""
    threads: int | None = None
    """CPU threads at most, one for each CPU by default; fewer run where fewer prove faster. The result is the same."""

    def __post_init__(self) -> None:
        check_paths(self, "adapter", "session", "template")
        within(self, "max_tokens", 1, 1_000_000)
        within(self, "threads", 1, 4096)


def chat(settings: ChatSettings, sampling: Sampling) -> int:
    """Talk until the questions end; returns the exit code."""
    native.use_threads(settings.threads)
    model = load(settings.model, settings.adapter)
    chat = _chat(settings, model)
    session = Session(model, chat.template, settings.system, chat.single_turn)
    file = Path(settings.session) if settings.session is not None else None
    if file is not None and is_there(file):
        session.restore(file)
    say(f"Kernels: {native.describe(native.threads())}")
    say(f"{HELP}." + (f" Resuming after {session.turns} answers." if session.turns else ""))
    if chat.single_turn:
        say(ALONE)
    for question in _questions():
        if question == "/quit":
            break
        if question == "/new":
            session = Session(model, chat.template, settings.system, chat.single_turn)
            say("A new conversation.")
        elif question in ("/help", "/?"):
            say(HELP)
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
                    say(read_as_unknown(session.unknown, session.model.tokenizer))
                out.write(piece)
        except KeyboardInterrupt:
            answer.close()  # it then takes the conversation on
    except TidegateError as error:  # what the vocabulary lacks: another question may do
        complain("tidegate", error)
    out.end_line()


def _chat(settings: ChatSettings, model: Model) -> Chat:
    """Return how to talk with the model: as its folder says, but for what is given."""
    chat = None
    if settings.template is None:
        chat = model.read_chat()
        if chat is None:
            raise TidegateError(
                f"{settings.model} was not trained to answer (it has no chat_template.jinja): fine-tune it on "
                f"conversations, tidegate finetune {settings.model} dialogues.jsonl --task chat, or try it with "
                "--template labels."
            )
    else:
        path = Path(settings.template)
        chat = Chat(read_template_file(path) if path.is_file() else ChatTemplate.of(settings.template))
    return chat if settings.single_turn is None else replace(chat, single_turn=settings.single_turn)


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
            say(HELP)


def _prompt() -> Callable[[], str]:
    """Return what asks for a line: with a history, and editing that knows how wide Chinese characters are."""
    from prompt_toolkit import PromptSession

    prompt: PromptSession[str] = PromptSession()
    return lambda: prompt.prompt("> ")
