"""Lets requests that may cost much begin one after the other, so that those that read come between them."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from pixyproxy.core import limits

AT_ONCE = ("GET", "HEAD", "OPTIONS")
"""Methods of requests that do not wait for a turn."""


class Turns:
    """One request begins in each turn of the event loop, in the order of their arrival.

    A POST that is refused takes a millisecond without a pause. If a thousand of them began together, a GET would wait
    for a second. At most `most` requests wait, for the sake of memory; one more begins at once.
    """

    def __init__(self, *, most: int = limits.MAX_WAITING_TURN) -> None:
        self._most = most
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._taken = False

    @property
    def awaited(self) -> bool:
        """Whether requests wait."""
        return bool(self._waiting)

    async def begin(self, request: Callable[[], Awaitable[None]]) -> None:
        """Serve the request when it is its turn."""
        loop = asyncio.get_running_loop()
        if not self._taken:
            self._taken = True
            loop.call_soon(self._next)
        elif len(self._waiting) < self._most:
            turn = loop.create_future()
            self._waiting.append(turn)
            await turn
        await request()

    def _next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # else its task was cancelled
                turn.set_result(None)
                turn.get_loop().call_soon(self._next)
                return
        self._taken = False
