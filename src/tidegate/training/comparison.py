"""Which runs may be compared, and in which unit.

A loss says something beside another only on the same validation text. In nats/token the tokens must be the same too; in
bits/byte they need not. Losses of labels are those of the texts or of their words, whatever the tokens.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tidegate.training.summary import RunSummary

BITS = "bits/byte"


@dataclass(frozen=True)
class Group:
    """Runs on one validation text."""

    letter: str
    runs: Sequence[RunSummary]
    unit: str
    """in which they compare: that of their losses where all have one tokenizer, else bits/byte"""
    bits_a_nat: dict[str, float]
    """by `data_digest`: bits/byte over nats/token, known from the runs that have ended"""

    @property
    def text(self) -> str:
        """What they are trained on, by the name that most of them have for it."""
        return Counter(run.text for run in self.runs).most_common(1)[0][0]

    def loss(self, run: RunSummary) -> float | None:
        """Return the run's validation loss in the group's unit, the one at the end or else the lowest on the way."""
        final = run.final_bits if self.unit == BITS else run.final_nats
        if final is not None:
            return final
        return None if run.best_evaluation is None else self.convert(run, run.best_evaluation)

    def convert(self, run: RunSummary, nats: float) -> float | None:
        """Return a run's loss in the group's unit; None where that is bits/byte and its bytes per token are not
        known."""
        if self.unit != BITS:
            return nats
        factor = self.bits_a_nat.get(run.data_digest)
        return None if factor is None else nats * factor

    @property
    def best(self) -> RunSummary | None:
        """The run of the lowest loss, if there are two to choose from."""
        measured = [(loss, place) for place, run in enumerate(self.runs) if (loss := self.loss(run)) is not None]
        return self.runs[min(measured)[1]] if len(measured) > 1 else None


def groups_of(runs: Sequence[RunSummary]) -> list[Group]:
    """Return the runs that are not broken by their validation texts, the text of the most runs first."""
    # an older run does not know its text's digest, but another of the same text and tokenizer may
    known = {run.data_digest: run.text_digest for run in runs if run.text_digest}
    texts: dict[str, list[RunSummary]] = {}
    for run in runs:
        if run.state != "broken":
            texts.setdefault(known.get(run.data_digest, run.data_digest), []).append(run)
    ordered = sorted(texts.values(), key=lambda group: -len(group))
    return [_group(_letter(number), group) for number, group in enumerate(ordered)]


def group_of(run: RunSummary, groups: Sequence[Group]) -> tuple[int, Group]:
    """Return the group that a run is in, and its place among them."""
    return next((number, group) for number, group in enumerate(groups) if any(run is other for other in group.runs))


def _group(letter: str, runs: list[RunSummary]) -> Group:
    ratios = {
        run.data_digest: run.final_bits / run.final_nats
        for run in runs
        if run.final_bits is not None and run.final_nats  # a loss of 0 tells no ratio
    }
    units = Counter(run.unit for run in runs)
    return Group(letter, runs, units.most_common(1)[0][0] if len({r.data_digest for r in runs}) == 1 else BITS, ratios)


def _letter(number: int) -> str:
    """Return A … Z, AA, AB, …"""
    letters = string.ascii_uppercase
    return (_letter(number // len(letters) - 1) if number >= len(letters) else "") + letters[number % len(letters)]
