"""An event loop with virtual time: sleeping tasks are woken at once, in the right order."""

import asyncio
import selectors
from typing import Any

REAL_PATIENCE = 10.0
"""Real seconds for which something that no timer announces may still come, from another thread."""


class JumpingSelector(selectors.DefaultSelector):
    """Advances its time instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        """What is ready now; when nothing is, the time of the next timer has come."""
        ready = super().select(REAL_PATIENCE if timeout is None else 0)
        if not ready and timeout is None:
            raise AssertionError("everybody waits, and nothing will ever happen")
        if not ready and timeout is not None:
            self.now += max(timeout, 0)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """`asyncio.sleep` takes no time here; `time()` says how much it would have taken."""

    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Seconds that have passed for those who sleep."""
        return self._jumping.now
