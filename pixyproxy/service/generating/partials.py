"""Partial images of a generation that this process runs, for every request that watches it.

Only the newest one is held. A watcher that is slower than the upstream misses some, and delays nobody.
"""

import asyncio
from collections.abc import AsyncIterator

from pixyproxy.core.generations import PartialImage


class Partials:
    """`PartialSink`; `wanted`: how many partial images the upstream is asked for."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self._newest: PartialImage | None = None
        self._published = 0
        self._changed = asyncio.Event()
        self._ended = False

    def publish(self, partial: PartialImage) -> None:
        """Show a partial image to whoever watches."""
        self._newest = partial
        self._published += 1
        self._wake()

    def end(self) -> None:
        """There are no more; the last one is forgotten."""
        self._ended, self._newest = True, None
        self._wake()

    async def watch(self) -> AsyncIterator[PartialImage]:
        """The newest partial image, then each that is the newest when the watcher asks for the next, until the end."""
        seen = 0
        while not self._ended:
            if self._published > seen and self._newest is not None:
                seen = self._published
                yield self._newest
            else:
                await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
