"""The bridge from the event loop to a driver that blocks."""

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

T = TypeVar("T")


class Threads:
    """A fixed number of threads for one use of one adapter, so that a slow one starves no other.

    Work that finds no free thread within `patience` seconds is refused with what `busy` makes. Work that has
    begun is never abandoned by a timeout: what it did is known when `run` returns. The driver's own timeouts end it.
    """

    def __init__(self, size: int, *, patience: float, busy: Callable[[], Exception]) -> None:
        self._free = anyio.Semaphore(size)
        self._limiter = anyio.CapacityLimiter(size)
        self._patience = patience
        self._busy = busy

    async def run(self, work: Callable[[], T], *, patience: float | None = None) -> T:
        """The result of `work`, called in one of the threads; `patience` may be another for this call."""
        # The deadline is for the wait alone: around the thread it could lose the result of a finished commit.
        with anyio.move_on_after(self._patience if patience is None else patience) as waiting:
            await self._free.acquire()
        if waiting.cancelled_caught:
            raise self._busy()
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._limiter)
        finally:
            self._free.release()
