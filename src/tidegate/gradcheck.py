"""``tidegate gradcheck``: the errors of the theory's backward against finite differences, as a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.table import Table
from rich.text import Text

from tidegate.errors import TidegateError
from tidegate.text.console import Console
from tidegate.theory.cells import CELLS, cell_named
from tidegate.theory.finite_differences import RELATIVE_TOLERANCE, Row, check_cell, check_output, check_rms_norm

CHECKED_AT_MOST = {"steps": 100, "batch": 32, "inputs": 64, "hidden": 64}
"""Each element costs two forward passes; beyond these sizes a check takes hours and tells nothing more."""


@dataclass(frozen=True)
class GradcheckSettings:
    """What to check, on which sizes."""

    cells: list[str] = field(default_factory=lambda: list(CELLS))
    """The cells to check: any of rnn, lstm, gru, gru_reset_before."""
    steps: int = 5
    """Steps of the sequence, T."""
    batch: int = 3
    """Batch size, B."""
    inputs: int = 4
    """Size of x_t, I."""
    hidden: int = 7
    """Units, H; the output layer is checked with H + 1 classes."""
    seed: int = 0
    """Seed of the random values, weights and gradients."""

    def __post_init__(self) -> None:
        if not self.cells:
            raise TidegateError(f"cells is empty; choose at least one of {', '.join(CELLS)}.")
        for cell in self.cells:
            cell_named(cell)
        for name, most in CHECKED_AT_MOST.items():
            if not 1 <= getattr(self, name) <= most:
                raise TidegateError(f"{name} is {getattr(self, name)}, but it must be from 1 to {most}.")
        if self.seed < 0:
            raise TidegateError(f"seed is {self.seed}, but it must be 0 or more.")


def gradcheck(settings: GradcheckSettings) -> int:
    """Print the table of errors; return 0 if every gradient is within its tolerance, else 1."""
    console = Console()
    failed = checked = 0
    for title, rows in _checks(settings):
        console.print(_table(title, rows))
        checked += len(rows)
        failed += sum(not row.passed for row in rows)
    if failed:
        console.print(Text(f"{failed} of {checked} gradients differ from the finite differences.", "bold red"))
    else:
        console.print(Text(f"All {checked} gradients agree with the finite differences.", "green"))
    return 1 if failed else 0


def _checks(settings: GradcheckSettings) -> Iterator[tuple[str, list[Row]]]:
    T, B, I, H, seed = settings.steps, settings.batch, settings.inputs, settings.hidden, settings.seed
    for cell in settings.cells:
        yield f"{cell}   T {T}  B {B}  I {I}  H {H}", check_cell(cell, T, B, I, H, seed)
    yield f"output layer and cross-entropy   T {T}  B {B}  H {H}  V {H + 1}", check_output(T, B, H, H + 1, seed)
    yield f"RMS normalization   T {T}  B {B}  H {H}", check_rms_norm(T, B, H, seed)


def _table(title: str, rows: list[Row]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("gradient of")
    for heading in ("shape", "absolute error", "allowed", "relative error", "allowed"):
        table.add_column(heading, justify="right")
    table.add_column("result")
    for row in rows:
        result = Text("pass", "green") if row.passed else Text("FAIL", "bold red")
        absolute = (f"{row.absolute:.1e}", f"{row.tolerance:.1e}")
        relative = (f"{row.relative:.1e}", f"{RELATIVE_TOLERANCE:.0e}")
        table.add_row(row.name, " × ".join(map(str, row.shape)), *absolute, *relative, result)
    return table
