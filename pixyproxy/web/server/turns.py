"""Lets requests that may cost much begin one after the other, so that those that read come between them."""

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any

from pixyproxy.core import limits

CHEAP = ("GET", "HEAD", "OPTIONS")
"""Methods of requests that begin at once."""


class Turns:
    """One request begins in each turn of the event loop, in the order of their arrival.

    A refusal takes a millisecond without a pause. If a thousand POSTs began in one turn, each GET would wait a second.
    At most `limits.MAX_WAITING_TURN` requests wait, for their memory; one more begins at once.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._taken = False
        """Whether a request has begun in this turn, or others wait for the next one."""

    @property
    def awaited(self) -> bool:
        """Whether requests wait."""
        return bool(self._waiting)

    async def begin(self, request: Coroutine[Any, Any, None]) -> None:
        """Run the request when it is its turn."""
        loop = asyncio.get_running_loop()
        if not self._taken:
            self._taken = True
            loop.call_soon(self._next)
        elif len(self._waiting) < limits.MAX_WAITING_TURN:
            turn = loop.create_future()
            self._waiting.append(turn)
            await turn
        await request

    def _next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # else its task was cancelled
                turn.set_result(None)
                asyncio.get_running_loop().call_soon(self._next)
                return
        self._taken = False
