"""Large pictures begin in turn: if many began at once, each turn of the event loop would be long for all requests."""

import asyncio
from collections import deque

LARGE = 1024 * 1024
"""Bytes from which on a picture begins in turn."""
PLACES = 4
"""Large pictures that are passed on at full speed at once: each until the client is slower than the storage."""
STEP = 0.005
"""Seconds after which one more begins without a free place. A storage that takes its time for each then bounds nothing;
when the event loop is busy, the moment comes later."""


class Place:
    """A picture's place, until `leave`."""

    def __init__(self, starts: "Starts | None") -> None:
        self._starts = starts

    def leave(self) -> None:
        """Free it; nothing happens if it is free already."""
        starts, self._starts = self._starts, None
        if starts is not None:
            starts.free()


NONE = Place(None)
"""Of what needs none."""


class Starts:
    """The places of a process. Small pictures need none."""

    def __init__(self, *, places: int = PLACES, step: float = STEP) -> None:
        self._places = places
        self._step = step
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def enter(self, size_bytes: int) -> Place:
        """Return when a picture of this size may begin."""
        if size_bytes < LARGE:
            return NONE
        if self._taken >= self._places or self._waiting:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            self._watch()
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.free()
                raise
        else:
            self._taken += 1
        return Place(self)

    def free(self) -> None:
        """One place less is taken."""
        self._taken -= 1
        if self._taken < self._places:
            self._admit()

    def _admit(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # else its task was cancelled
                self._taken += 1
                turn.set_result(None)
                return

    def _watch(self) -> None:
        if self._timer is None and self._waiting:
            self._timer = self._waiting[0].get_loop().call_later(self._step, self._on_step)

    def _on_step(self) -> None:
        self._timer = None
        self._admit()
        self._watch()
