"""The part of Jinja2 that a chat template may use: a template is checked before it is compiled, and never runs else.

Jinja2 takes a tenth of a second to import, so this module is imported by what reads a template, and no sooner.
"""

from __future__ import annotations

from jinja2 import Template, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tidegate.errors import TidegateError

LONGEST_TEXT = 1 << 26
FAILURES = (TemplateError, TypeError, ValueError, RecursionError, SyntaxError, NameError, MemoryError)
"""what a template that runs may raise"""
ALLOWED = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.For, nodes.If, nodes.Name, nodes.Const, nodes.Getattr,
    nodes.Getitem, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.CondExpr, nodes.Filter,
)  # fmt: skip
NAMES = ("messages", "add_generation_prompt", "loop")
FILTERS = ("trim", "replace")
FIELDS, LOOP = ("role", "content"), ("first", "last", "index", "index0")
DEEPEST, MOST_NODES, MOST_FILTERS = 40, 4000, 100
"""levels of a template's syntax tree, its nodes, and the filters among them: each filter reads a whole message"""


class CheckedTemplate:
    """A template that was checked, and renders conversations."""

    def __init__(self, source: str) -> None:
        """Raise a TidegateError for a template that does not compile, or holds what is not allowed."""
        self._template = _checked(source)

    def __call__(self, turns: list[dict[str, str]], answer_next: bool) -> str:
        """Return the text of turns, of which each has ``role`` and ``content``."""
        try:
            parts, size = [], 0
            for part in self._template.generate(messages=turns, add_generation_prompt=answer_next):
                parts.append(part)
                size += len(part)
                if size > LONGEST_TEXT:
                    raise TidegateError(f"The chat template makes more than {LONGEST_TEXT:,} characters of one text.")
            return "".join(parts)
        except FAILURES as error:
            raise TidegateError(f"The chat template failed ({error}): mend it.") from None


def _environment() -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)


def _checked(source: str) -> Template:
    """Compile a template; a TidegateError for one that does not compile, or holds what is not allowed."""
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
    return _environment().from_string(source)


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
