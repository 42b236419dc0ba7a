"""Work that many wait for: one making of each thing at a time, the newest request first, and a bounded number waiting.

Whoever looks at a page waits for what was requested last; older requests are often of a page that was left.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pixyproxy.core.exceptions import (
    InternalError,
    PixyProxyException,
    ShuttingDownError,
    TooManyThumbnailsError,
)

T = TypeVar("T")

MOST_WAITING = 64
ENDING = 5.0
"""Seconds that running work has for its end when the process ends."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Piece(Generic[T]):
    """A piece of work, and its outcome, which is never an exception of the future: nobody may be left to see it."""

    work: Callable[[], Awaitable[T]]
    outcome: "asyncio.Future[T | PixyProxyException]"
    context: Context = field(default_factory=copy_context)
    """Of the request that asked first: the log shows its request-id."""


class NewestFirst(Generic[T]):
    """Runs at most `at_once` pieces of work. At most `most_waiting` others wait: one more ends the oldest."""

    def __init__(self, *, at_once: int, most_waiting: int = MOST_WAITING) -> None:
        self._at_once = at_once
        self._most_waiting = most_waiting
        self._pieces: dict[str, Piece[T]] = {}
        self._waiting: dict[str, Piece[T]] = {}
        """In the order of their last requests."""
        self._running: set[asyncio.Task[None]] = set()
        self._stopped = False

    def has(self, key: str) -> bool:
        """Whether work with this key waits or runs."""
        return key in self._pieces

    async def run(self, key: str, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`, or of the work with this key that waits or runs already.

        Raises what the work raises; `TooManyThumbnailsError` if too many newer requests wait, `ShuttingDownError` once
        it is stopped. The cancellation of one caller changes nothing for the others.
        """
        piece = self._pieces.get(key)
        if piece is None:
            if self._stopped:
                raise ShuttingDownError
            piece = self._pieces[key] = Piece(work, asyncio.get_running_loop().create_future())
            self._waiting[key] = piece
            self._begin()
            if len(self._waiting) > self._most_waiting:
                self._refuse(next(iter(self._waiting)), TooManyThumbnailsError())
        elif key in self._waiting:
            self._waiting[key] = self._waiting.pop(key)  # it is the newest again
        outcome = await asyncio.shield(piece.outcome)
        if isinstance(outcome, PixyProxyException):
            raise outcome.copy()
        return outcome

    def stop(self) -> None:
        """Begin nothing more, and refuse what waits. What runs continues."""
        self._stopped = True
        for key in list(self._waiting):
            self._refuse(key, ShuttingDownError())

    async def aclose(self) -> None:
        """Stop, and cancel what has not ended within `ENDING` seconds."""
        self.stop()
        if self._running:
            await asyncio.wait(self._running, timeout=ENDING)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _begin(self) -> None:
        while self._waiting and len(self._running) < self._at_once and not self._stopped:
            key, piece = self._waiting.popitem()
            task = asyncio.get_running_loop().create_task(self._run(key, piece), context=piece.context)
            self._running.add(task)
            task.add_done_callback(self._end)

    async def _run(self, key: str, piece: Piece[T]) -> None:
        outcome: T | PixyProxyException = ShuttingDownError()  # if it is cancelled
        try:
            outcome = await piece.work()
        except PixyProxyException as error:
            outcome = error
        except Exception:
            logger.exception("a thumbnail failed")
            outcome = InternalError()
        finally:
            del self._pieces[key]
            piece.outcome.set_result(outcome)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._begin()

    def _refuse(self, key: str, error: PixyProxyException) -> None:
        piece = self._waiting.pop(key)
        del self._pieces[key]
        piece.outcome.set_result(error)
