"""The clock of a run: seconds that it trained, which never go back, and in which a stopped process stands still."""

from __future__ import annotations

import time
from collections.abc import Callable

PAUSE_SECONDS = 60.0
"""A shorter stop counts as training: a disk or a busy machine may keep a step waiting as long."""
PAUSE_SHARE = 0.05
"""Share of a stretch of time in which even a process that waits most of it for a CPU computes."""


class TrainingClock:
    """Counts the time of a run from what it had trained before.

    The system's clock may be set while a run goes on, a laptop may sleep, a process may be stopped (Ctrl-Z, SIGSTOP)
    and go on hours later: a run of ten minutes would then be at its end without having learnt anything. So a long
    stretch in which the process computed next to nothing is a pause, which does not count.
    """

    def __init__(
        self,
        elapsed: float,
        now: Callable[[], float] = time.monotonic,
        computed: Callable[[], float] = time.process_time,
    ) -> None:
        """Go on from `elapsed` seconds. now: the time; computed: CPU seconds of this process, over all threads."""
        self._now, self._computed = now, computed
        self._elapsed = elapsed
        self._last, self._last_computed = now(), computed()
        self._paused = 0.0

    def elapsed(self) -> float:
        """Return the seconds trained, at least as many as the last time."""
        now, computed = self._now(), self._computed()
        passed, busy = max(0.0, now - self._last), max(0.0, computed - self._last_computed)
        if passed > PAUSE_SECONDS and busy < PAUSE_SHARE * passed:
            self._paused += passed - busy
            passed = busy
        self._elapsed += passed
        self._last, self._last_computed = now, computed
        return self._elapsed

    def pause(self) -> float:
        """Return the seconds of the pauses since the last call."""
        paused, self._paused = self._paused, 0.0
        return paused
