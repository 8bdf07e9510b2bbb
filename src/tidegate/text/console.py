"""The console that shows tables, bars and styled lines: whatever is put into them comes out as plain characters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from tidegate.text.printable import printable


class Console(rich.console.Console):
    """rich's console, for text that may come from strangers: brackets and colons in it are no markup, and control
    characters do not reach the terminal."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield what rich makes of a renderable; its own control codes alone stay."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))
