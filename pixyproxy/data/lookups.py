"""Keeps the results of lookups in memory for a short while, keys that were not found included."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from cachetools import FIFOCache, LRUCache

from pixyproxy.core.exceptions import NotFoundError
from pixyproxy.core.threads import Gate

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

ABSENCE = 1.0
"""Seconds for which a key that was not found is not looked up again."""
ABSENT = 10_000
"""The most keys that were not found: with the largest keys (64 characters) 3 MB."""
SEEN = 20_000
"""The most keys that were found before and need no gate: with the largest keys 5 MB."""


@dataclass(frozen=True)
class Found(Generic[V]):
    """A value, and until when it is valid."""

    value: V
    until: float


class Memory(Generic[K, V]):
    """Results of `look_up` by key. A value is valid for `ttl` seconds after its lookup began.

    A lookup of a key that was never found here goes through `gate`, so that a flood of invented keys takes few of the
    database's connections. A key that was found before needs no gate, even when its value is no longer valid.
    Concurrent lookups of one key share one call. With a `ttl` of 0 every call is a lookup of its own. `capacity` is in
    the units of `size_of`.
    """

    def __init__(
        self,
        look_up: Callable[[K], Awaitable[V]],
        *,
        absent: Callable[[], NotFoundError],
        gate: Gate,
        ttl: float,
        capacity: int,
        size_of: Callable[[V], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look_up = look_up
        self._not_found = absent
        self._gate = gate
        self._ttl = ttl
        self._clock = clock
        self._found: LRUCache[K, Found[V]] = LRUCache(capacity, getsizeof=lambda found: size_of(found.value))
        self._absent: FIFOCache[K, float] = FIFOCache(ABSENT)
        self._seen: LRUCache[K, None] = LRUCache(SEEN)
        self._looking_up: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K) -> V:
        """The value. Raises what `absent` makes if there is none, and what the gate or the lookup raises."""
        try:
            found = self._found[key]
        except KeyError:
            found = None
        if found is not None and self._clock() < found.until:
            return found.value
        if self._absent.get(key, 0.0) > self._clock():
            raise self._not_found()
        if not self._ttl:
            return await self._read(key)
        reading = self._looking_up.get(key)
        if reading is None:
            reading = asyncio.create_task(self._read(key))
            self._looking_up[key] = reading
        return await asyncio.shield(reading)

    async def _read(self, key: K) -> V:
        try:
            if key in self._seen:
                return await self._look_up_and_remember(key)
            async with self._gate:
                return await self._look_up_and_remember(key)
        finally:
            if self._is_current(key):
                del self._looking_up[key]

    async def _look_up_and_remember(self, key: K) -> V:
        asked_at = self._clock()
        try:
            value = await self._look_up(key)
        except NotFoundError:
            self._seen.pop(key, None)
            self._found.pop(key, None)  # no longer valid, and not to be held until the memory is full
            if self._is_current(key):
                self._absent[key] = asked_at + min(ABSENCE, self._ttl)
            raise
        self._seen[key] = None
        if self._is_current(key):
            self._found[key] = Found(value, asked_at + self._ttl)
        return value

    def _is_current(self, key: K) -> bool:
        """Whether the result of this lookup still holds: nothing has invalidated it since it began."""
        return self._looking_up.get(key) is asyncio.current_task()

    def forget(self, key: K) -> None:
        """Look the key up again at its next use. Running lookups of it no longer count."""
        self._looking_up.pop(key, None)
        self._found.pop(key, None)
        self._absent.pop(key, None)

    def forget_all(self) -> None:
        """Look every key up again at its next use."""
        self._looking_up.clear()
        self._found.clear()
        self._absent.clear()

    def mark_existing(self, keys: Iterable[K]) -> None:
        """These keys exist: their lookups need no gate, and earlier lookups that did not find them no longer count."""
        for key in keys:
            if key not in self._seen:
                self._looking_up.pop(key, None)  # it may have begun before the key existed
                self._absent.pop(key, None)
                self._seen[key] = None
