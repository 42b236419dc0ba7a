"""Bounded concurrency: a gate, and threads for a driver that blocks."""

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

import anyio
import anyio.to_thread

T = TypeVar("T")


class Gate:
    """At most `size` holders at once.

    A caller that gets no place within `patience` seconds is refused with the exception that `busy` makes.

    Waiting callers are served in order.
    """

    def __init__(self, size: int, *, patience: float, busy: Callable[[], Exception]) -> None:
        self._free = anyio.Semaphore(size)
        self._patience = patience
        self._busy = busy

    async def acquire(self, *, patience: float | None = None) -> None:
        """Take a place. `patience` overrides the default for this call."""
        with anyio.move_on_after(self._patience if patience is None else patience) as waiting:
            await self._free.acquire()
        if waiting.cancelled_caught:
            raise self._busy()

    def release(self) -> None:
        """Give the place back."""
        self._free.release()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class Threads:
    """A fixed number of threads for one use of one adapter, so that a slow adapter starves no other.

    Work that finds no free thread within `patience` seconds is refused with what `busy` makes. Neither a
    timeout nor the cancellation of the task abandons work that has begun: `run` returns its outcome, so that the caller
    can close what was opened, and the next wait of the caller is cancelled. The driver's own timeouts end the work.
    """

    def __init__(self, size: int, *, patience: float, busy: Callable[[], Exception]) -> None:
        self._gate = Gate(size, patience=patience, busy=busy)
        self._limiter = anyio.CapacityLimiter(size)

    async def run(self, work: Callable[[], T], *, patience: float | None = None) -> T:
        """The result of `work`, called in one of the threads. `patience` overrides the default for this call."""
        # The deadline is for the wait alone: around the thread it could lose the result of a finished commit.
        await self._gate.acquire(patience=patience)
        try:
            return await uninterrupted(anyio.to_thread.run_sync(work, limiter=self._limiter))
        finally:
            self._gate.release()


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """The result of the work, which runs to its end; if the task is cancelled meanwhile, its next wait is.

    anyio's shield alone does not hold up `asyncio.Task.cancel`. Let another wait follow it in a block of
    `asyncio.timeout`: if it is the last one when the time runs out, Python 3.11 does not take that cancellation back,
    and it ends the first wait behind the block.
    """
    running = asyncio.create_task(work)
    cancelled = False
    with anyio.CancelScope(shield=True):
        while not running.done():
            try:
                await asyncio.wait({running})
            except asyncio.CancelledError:
                cancelled = True
    task = asyncio.current_task()
    if cancelled and task is not None:
        task.uncancel()  # `cancel` counts it again
        task.cancel()
    return running.result()
