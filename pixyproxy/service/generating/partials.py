"""Partial images of a generation that this process runs, for every request that watches it.

Few are held: a watcher that is slower than the upstream misses the oldest, and delays nothing.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from pixyproxy.core.generations import PartialImage

MAX_HELD = 3
"""The most that the Images API sends."""
MAX_HELD_BYTES = 4 * 1024 * 1024
"""Of all but the newest one."""


class Partials:
    """`PartialSink`; `wanted`: how many partial images the upstream is asked for."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self._held: deque[tuple[int, PartialImage]] = deque(maxlen=MAX_HELD)
        self._published = 0
        self._changed = asyncio.Event()
        self._ended = False

    def publish(self, partial: PartialImage) -> None:
        """Show a partial image to all watchers."""
        self._published += 1
        self._held.append((self._published, partial))
        while len(self._held) > 1 and sum(len(each.data) for _, each in self._held) > MAX_HELD_BYTES:
            self._held.popleft()
        self._wake()

    def end(self) -> None:
        """No more will come. Watchers still see what is held."""
        self._ended = True
        self._wake()

    def forget(self) -> None:
        """Free what is held, seen or not."""
        self._held.clear()

    async def watch(self) -> AsyncIterator[PartialImage]:
        """The partial images that are held, and those that are published later, until the end."""
        seen = 0
        while True:
            found = next((each for each in self._held if each[0] > seen), None)
            if found is not None:
                seen, partial = found
                yield partial
            elif self._ended:
                return
            else:
                await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
