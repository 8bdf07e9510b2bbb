"""Which runs may be compared, and in which unit.

A loss says something beside another only on the same validation text. In nats a token the tokens must be the same too;
in bits a byte they need not.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tidegate.training.summary import RunSummary

NATS, BITS = "nats a token", "bits a byte"


@dataclass(frozen=True)
class Group:
    """Runs on one validation text."""

    letter: str
    runs: Sequence[RunSummary]
    unit: str
    """in which they compare: nats a token where all have one tokenizer, else bits a byte"""
    bits_a_nat: dict[str, float]
    """by `data_digest`: bits a byte over nats a token, known from the runs that have ended"""

    @property
    def text(self) -> str:
        """What they learn from, by the name that most of them have for it."""
        return Counter(run.text for run in self.runs).most_common(1)[0][0]

    def loss(self, run: RunSummary) -> float | None:
        """Return the run's validation loss in the group's unit, the one at the end or else the lowest on the way."""
        final = run.final_nats if self.unit == NATS else run.final_bits
        if final is not None:
            return final
        return None if run.best_evaluation is None else self.convert(run, run.best_evaluation)

    def convert(self, run: RunSummary, nats: float) -> float | None:
        """Return nats a token of a run in the group's unit; None where its bytes a token are not known."""
        if self.unit == NATS:
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


def _group(letter: str, runs: list[RunSummary]) -> Group:
    ratios = {
        run.data_digest: run.final_bits / run.final_nats
        for run in runs
        if run.final_bits is not None and run.final_nats  # a loss of 0 tells no ratio
    }
    return Group(letter, runs, NATS if len({run.data_digest for run in runs}) == 1 else BITS, ratios)


def _letter(number: int) -> str:
    """Return A … Z, AA, AB, …"""
    letters = string.ascii_uppercase
    return (_letter(number // len(letters) - 1) if number >= len(letters) else "") + letters[number % len(letters)]
