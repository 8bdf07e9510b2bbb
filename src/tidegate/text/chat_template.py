"""Chat templates: how a conversation becomes a text, in Jinja2, so small a part of it that no template can do harm.

A template loops once over ``messages`` (each with ``role`` and ``content``) and ends, where ``add_generation_prompt``
is true, with what stands before an answer. It may hold text, such a loop, conditions, comparisons and the filters trim
and replace (by what is no longer); anything else (calls, assignments, loops within loops, arithmetic, other names) is
refused before it runs. So the text is at most as long as the template times the messages, and the time as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from jinja2 import Template, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tidegate.errors import TidegateError, nearest
from tidegate.text.conversations.message import Message, message
from tidegate.text.normalize import normalize

LONGEST_TEMPLATE, LONGEST_TEXT = 1 << 16, 1 << 26
ALLOWED = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.For, nodes.If, nodes.Name, nodes.Const, nodes.Getattr,
    nodes.Getitem, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.CondExpr, nodes.Filter,
)  # fmt: skip
NAMES = ("messages", "add_generation_prompt", "loop")
FILTERS = ("trim", "replace")
FIELDS, LOOP = ("role", "content"), ("first", "last", "index", "index0")
DEEPEST, MOST_NODES, MOST_FILTERS = 40, 4000, 100
"""levels of a template's syntax tree, its nodes, and the filters among them: each filter reads a whole message"""

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
        _check(self.source)
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
        try:
            parts, size = [], 0
            for part in self._template.generate(
                messages=[{"role": turn.role, "content": turn.content} for turn in messages],
                add_generation_prompt=answer_next,
            ):
                parts.append(part)
                size += len(part)
                if size > LONGEST_TEXT:
                    raise TidegateError(f"The chat template makes more than {LONGEST_TEXT:,} characters of one text.")
            return normalize("".join(parts))
        except (TemplateError, TypeError, ValueError, RecursionError, SyntaxError, NameError, MemoryError) as error:
            raise TidegateError(f"The chat template failed ({error}): mend it.") from None

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
    def _template(self) -> Template:
        return _environment().from_string(self.source)


def _environment() -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)


def _check(source: str) -> None:
    """Raise a TidegateError for a template that does not compile, or holds what is not allowed."""
    try:
        tree = _environment().parse(source)
    except (TemplateError, RecursionError, ValueError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        raise TidegateError(
            f"The chat template does not compile ({error}{f', line {line}' if line else ''}): mend it."
        ) from None
    found = _nodes(tree)
    own = {node.target.name for node in found if isinstance(node, nodes.For) and isinstance(node.target, nodes.Name)}
    for node in found:
        wrong = _wrong(node, own)
        if wrong:
            raise TidegateError(
                f"The chat template has {wrong} (line {getattr(node, 'lineno', '?')}): it may hold text, one loop over "
                "messages, conditions, and the filters trim and replace."
            )


def _nodes(tree: nodes.Node) -> list[nodes.Node]:
    """Return a template's nodes, the outer ones first, and never more than are allowed. Before anything else, and
    without recursion: what Jinja2 itself does with a tree is recursive."""
    found, waiting = [], [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        found.append(node)
        if depth > DEEPEST:
            raise TidegateError(f"The chat template is nested deeper than {DEEPEST} levels: simplify it.")
        if len(found) > MOST_NODES:
            raise TidegateError(f"The chat template has more than {MOST_NODES:,} expressions: simplify it.")
        waiting += [(child, depth + 1) for child in node.iter_child_nodes()]
    if sum(isinstance(node, nodes.Filter) for node in found) > MOST_FILTERS:
        raise TidegateError(f"The chat template has more than {MOST_FILTERS} filters: simplify it.")
    return found


def _shrinks(node: nodes.Filter) -> bool:
    """Whether a filter's result is no longer than its text: trim, or a replacement by what is no longer."""
    texts = [argument.value for argument in node.args if isinstance(argument, nodes.Const)]
    if node.kwargs or node.dyn_args or node.dyn_kwargs or len(texts) != len(node.args):
        return False
    if node.name == "trim":
        return not texts
    return len(texts) == 2 and all(isinstance(text, str) for text in texts) and 0 < len(texts[0]) >= len(texts[1])


def _wrong(node: nodes.Node, own: set[str]) -> str | None:
    """Return what of a node is not allowed, None where nothing is."""
    kind = type(node).__name__
    if not isinstance(node, ALLOWED):
        return f"{kind} in it"
    if isinstance(node, nodes.For):
        over_messages = isinstance(node.iter, nodes.Name) and node.iter.name == "messages"
        if not over_messages or node.recursive or not isinstance(node.target, nodes.Name):
            return "a loop that is not over messages"
        if node.target.name in {*NAMES, *_environment().globals, "self", "super", "caller", "varargs", "kwargs"}:
            return f"a loop's name {node.target.name!r}"
        if any(
            True for body in node.body for _ in ([body] if isinstance(body, nodes.For) else body.find_all(nodes.For))
        ):
            return "a loop within a loop"
    if isinstance(node, nodes.Name) and node.ctx == "load" and node.name not in {*NAMES, *own}:
        return f"the name {node.name!r}"
    if isinstance(node, nodes.Filter):
        return None if node.name in FILTERS and _shrinks(node) else f"the filter {node.name!r} so"
    if isinstance(node, nodes.Const):
        short = isinstance(node.value, str | bool | None) or (isinstance(node.value, int) and abs(node.value) < 10**6)
        return None if short else "such a number"
    if isinstance(node, nodes.Getattr | nodes.Getitem):
        return None if _is_field(node, own) else "an attribute or a subscript other than role and content"
    return None


def _is_field(node: nodes.Getattr | nodes.Getitem, own: set[str]) -> bool:
    """Whether it is m.role, m["content"], messages[0], messages[0].role, or what Jinja2 tells of a loop."""
    if isinstance(node, nodes.Getitem):
        if not isinstance(node.arg, nodes.Const):
            return False
        name: object = node.arg.value
    else:
        name = node.attr
    inner = node.node
    if isinstance(inner, nodes.Name):
        if inner.name == "messages":
            return isinstance(node, nodes.Getitem) and isinstance(name, int)
        return name in LOOP if inner.name == "loop" else inner.name in own and name in FIELDS
    whole = isinstance(inner, nodes.Getitem) and isinstance(inner.node, nodes.Name) and inner.node.name == "messages"
    return whole and name in FIELDS
