"""Chat templates: how a conversation becomes a text, in Jinja2, so small a part of it that no template can do harm.

A template loops once over ``messages`` (each with ``role`` and ``content``) and ends, where ``add_generation_prompt``
is true, with what stands before an answer. It may hold text, such a loop, conditions, comparisons and the filters trim
and replace (by what is no longer); anything else (calls, assignments, loops within loops, arithmetic, other names) is
refused before it runs. So the text is at most as long as the template times the messages, and the time as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from tidegate.errors import TidegateError, nearest
from tidegate.text.conversations.message import Message, message
from tidegate.text.normalize import normalize

LONGEST_TEMPLATE = 1 << 16
# one control character marks each turn, as a single token of bytes and BPE: SOH … STX the system's, ENQ the user's, ACK
# the answer, up to EOT. Messages cannot hold them.
TURNS = (
    "{% for m in messages %}"
    "{% if m.role == 'system' %}\x01{{ m.content }}\x02"
    "{% elif m.role == 'user' %}\x05{{ m.content }}"
    "{% else %}\x06{{ m.content }}\x04{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}\x06{% endif %}"
)
LABELS = (
    "{{% for m in messages %}}"
    "{{% if m.role == 'system' %}}{{{{ m.content | replace('\\n', ' ') }}}}\n"
    "{{% elif m.role == 'user' %}}{user}{{{{ m.content | replace('\\n', ' ') }}}}\n"
    "{{% else %}}{assistant}{{{{ m.content | replace('\\n', ' ') }}}}\n{{% endif %}}"
    "{{% endfor %}}{{% if add_generation_prompt %}}{assistant}{{% endif %}}"
)
TEMPLATES = {
    "turns": TURNS,
    "labels": LABELS.format(user="User: ", assistant="Assistant: "),
    "labels-zh": LABELS.format(user="问：", assistant="答："),
}
"""the fixed set: turns marked by control characters, or by words, an answer then being one line"""


class Segment(NamedTuple):
    """A part of a conversation's text."""

    text: str
    learnt: bool
    """whether it is an answer that is learned, with the mark of its end"""


@dataclass(frozen=True)
class ChatTemplate:
    """A template that was checked."""

    source: str

    def __post_init__(self) -> None:
        if len(self.source) > LONGEST_TEMPLATE:
            raise TidegateError(
                f"The chat template has {len(self.source):,} characters, {LONGEST_TEMPLATE:,} are the limit."
            )
        again = self.next_turn("…")
        if self.end == "" or again != self.next_turn("…", turns=2):
            what = (
                "marks no end of an answer" if self.end == "" else "writes a later turn otherwise than an earlier one"
            )
            raise TidegateError(f"The chat template {what}, so a conversation cannot go on: change that.")

    @property
    def digest(self) -> str:
        """Tells the template from all others."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    @classmethod
    def of(cls, name: str) -> ChatTemplate:
        """Return a template of the fixed set."""
        if name not in TEMPLATES:
            raise TidegateError(
                f"There is no chat template {name!r}{nearest(name, TEMPLATES)}; there are {', '.join(TEMPLATES)}, or "
                "give a file in Jinja2."
            )
        return cls(TEMPLATES[name])

    def render(self, messages: Sequence[Message], answer_next: bool = False) -> str:
        """Return the text of a conversation, normalised; answer_next: up to where the next answer begins."""
        turns = [{"role": turn.role, "content": turn.content} for turn in messages]
        return normalize(self._template(turns, answer_next))

    def segments(self, messages: Sequence[Message]) -> list[Segment]:
        """Cut a conversation's text before and after each answer. What a model writes at the place of an answer is what
        it learns there: the text up to it is the one that it will be given."""
        found, before = [], ""
        for number, turn in enumerate(messages):
            if turn.role != "assistant":
                continue
            asked = self.render(messages[:number], answer_next=True)
            answered = self.render(messages[: number + 1])
            if not asked.startswith(before) or not answered.startswith(asked):
                raise TidegateError("The chat template changes what came before as a conversation goes on: mend it.")
            found += [Segment(asked[len(before) :], False), Segment(answered[len(asked) :], turn.learnt)]
            before = answered
        return found

    def first_turn(self, question: str, system: str | None = None) -> str:
        """Return the text that a conversation begins with, up to the answer."""
        messages = [message("user", question)]
        return self.render([message("system", system), *messages] if system else messages, answer_next=True)

    def next_turn(self, question: str, turns: int = 1) -> str:
        """Return the text from one answer's end to the next answer's beginning, `turns` turns into a conversation."""
        before = [Message("user", "…"), Message("assistant", "…")] * turns
        return self.render([*before, message("user", question)], answer_next=True)[len(self.render(before)) :]

    @cached_property
    def end(self) -> str:
        """The text that ends an answer: whatever the template puts after it."""
        question, answer = Message("user", "…"), "\u2026answer\u2026"
        asked, answered = self.render([question], True), self.render([question, Message("assistant", answer)])
        return answered[len(asked) :].removeprefix(answer) if answered[len(asked) :].startswith(answer) else ""

    @cached_property
    def _template(self) -> Callable[[list[dict[str, str]], bool], str]:
        """What renders the template, which is checked here, before it first runs."""
        from tidegate.text.template_check import CheckedTemplate  # Jinja2 takes a while: only conversations need it

        return CheckedTemplate(self.source)
