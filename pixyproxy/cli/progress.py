"""Lines that say how far long work is."""

import time
from collections.abc import Callable

PERIOD = 5.0
"""Seconds between two lines."""


class Lines:
    """Prints how many of something are done, now and then. `cursor`: where to go on if it is interrupted."""

    def __init__(self, what: str, *, total: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.cursor: str | None = None
        self._what = what if total is None else f"of {total:,} {what}"
        self._clock = clock
        self._next = clock() + PERIOD

    def show(self, count: int, cursor: str | None) -> None:
        """So many are done."""
        self.cursor = cursor
        if self._clock() >= self._next:
            self._next = self._clock() + PERIOD
            print(f"{count:,} {self._what}.", flush=True)
