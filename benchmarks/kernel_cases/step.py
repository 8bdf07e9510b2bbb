"""A whole training step, from the embedding to the optimizer, against the same model of torch.nn modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from kernel_cases.timing import Plan, agree, in_turn, number, sampler, times
from tidegate.config import Cell, ModelConfig
from tidegate.models.encoder import detach
from tidegate.models.language_model import LanguageModel

LAYERS, CLIP = 2, 1.0
Row = dict[str, Any]


class Case(NamedTuple):
    """A cell, and the sizes."""

    cell: Cell
    V: int
    H: int
    B: int
    T: int


CASES = (
    Case("lstm", 65, 512, 64, 128),
    Case("lstm", 10000, 650, 20, 35),
    Case("gru", 65, 512, 64, 128),
    Case("gru", 10000, 650, 20, 35),
)


class Peer(nn.Module):
    """The classical stack as one writes it with torch.nn."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.embedding = nn.Embedding(case.V, case.H)
        self.cells = getattr(nn, case.cell.upper())(case.H, case.H, LAYERS)
        self.output = nn.Linear(case.H, case.V)

    def loss(self, inputs: Tensor, targets: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return the mean loss of a window and the state after it."""
        y, state = self.cells(self.embedding(inputs), state)
        loss = F.cross_entropy(self.output(y).flatten(0, 1), targets.flatten())
        return loss, tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()

    def take(self, model: LanguageModel) -> None:
        """Copy the weights of Tidegate's model."""
        given = dict(model.named_parameters())
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.startswith("cells."):
                    kind, i = name.removeprefix("cells.").rsplit("_l", 1)
                    name = f"blocks.{i}.cell.{kind}_l0"
                parameter.copy_(given[name])


def our_loss(model: LanguageModel) -> Callable[[Tensor, Tensor, Any], tuple[Tensor, Any]]:
    """Return Tidegate's mean loss of a window, as its own training computes it, and the state after it."""

    def loss(inputs: Tensor, targets: Tensor, state: Any) -> tuple[Tensor, Any]:
        nats, features = model.loss(inputs, targets, state=state)
        return nats / targets.numel(), detach(features.state)

    return loss


def training_step(model: nn.Module, loss_of: Any, inputs: Tensor, targets: Tensor) -> Callable[[], Tensor]:
    """Make a step: loss from the carried state, backward, clipping, fused AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    state: Any = None

    def run() -> Tensor:
        nonlocal state
        optimizer.zero_grad()
        loss, state = loss_of(inputs, targets, state)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        return torch.as_tensor(loss).detach()

    return run


def measure(plan: Plan, say: Callable[[str], None]) -> list[Row]:
    """Measure every case; the first two losses must agree, so that both take the same step."""
    rows: list[Row] = []
    for case in CASES:
        say(f"training step {case}")
        torch.manual_seed(0)
        model = LanguageModel(ModelConfig(case.cell, LAYERS, case.H, block="plain"), case.V)
        peer = Peer(case)
        peer.take(model)
        ids = torch.randint(case.V, (case.T + 1, case.B))
        inputs, targets = ids[:-1].contiguous(), ids[1:].contiguous()
        mine = training_step(model, our_loss(model), inputs, targets)
        theirs = training_step(peer, peer.loss, inputs, targets)
        for i in range(2):
            agree(f"training step {case}, loss {i}", mine(), theirs())
        rounds = in_turn({"tidegate": sampler(mine, plan), "torch": sampler(theirs, plan)}, plan)
        seconds, peer_seconds = rounds.median("tidegate") or 0, rounds.median("torch") or 0
        rows.append(
            {
                **case._asdict(),
                "ms": 1000 * seconds,
                "ms_torch": 1000 * peer_seconds,
                "ratio": rounds.ratio("torch", "tidegate"),
                "tokens_a_second": case.B * case.T / seconds,
                "tokens_a_second_torch": case.B * case.T / peer_seconds,
                "rounds_ms": rounds.milliseconds(),
            }
        )
    return rows


def table(rows: list[Row]) -> Table:
    """Show the steps."""
    shown = Table(title=f"a whole training step, {LAYERS} layers, against torch.nn", title_justify="left")
    for i, column in enumerate(("cell", "V,H,B,T", "ms", "ms torch", "ratio", "tokens/s", "torch")):
        shown.add_column(column, justify="left" if i < 2 else "right")
    for row in rows:
        shown.add_row(
            row["cell"],
            ",".join(str(row[name]) for name in "VHBT"),
            number(row["ms"]),
            number(row["ms_torch"]),
            times(row["ratio"]),
            number(row["tokens_a_second"], 0),
            number(row["tokens_a_second_torch"], 0),
        )
    return shown
