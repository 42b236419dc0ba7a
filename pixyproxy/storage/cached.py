"""Keeps objects in memory, up to a number of bytes. Objects never change, so a copy never goes stale.

Objects on their way into memory and objects that slow clients still read count too, so any number of readers stays
within the bound. When the bound is reached, objects are streamed without being kept.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Literal
from uuid import UUID

from cachetools import LRUCache

from pixyproxy.core.exceptions import PixyProxyException, StorageUnavailableError
from pixyproxy.core.images import ObjectFacts
from pixyproxy.core.protocols import Chunk, ImageStorage, StoredObject

SHARE = 8
"""An object may take at most one eighth of the bound; a larger one would evict too many others."""


class Copy:
    """An object in memory, or on its way there. The reader that is furthest ahead fetches the next chunk for all."""

    def __init__(self, key: str, source: StoredObject) -> None:
        self.key = key
        self.size_bytes = source.size_bytes
        self.readers = 0
        self.forgotten = False
        self._source: StoredObject | None = source
        self._coming: AsyncIterator[Chunk] | None = aiter(source)
        self._chunks: list[Chunk] = []
        self._received = 0
        self._turn = asyncio.Lock()
        self.broken = False

    @property
    def whole(self) -> bool:
        """Whether every byte is here."""
        return self._received == self.size_bytes

    def merge(self) -> None:
        """Join the chunks: a copy that is read a second time is read often."""
        if len(self._chunks) > 1:
            self._chunks = [b"".join(self._chunks)]

    async def chunk(self, number: int) -> Chunk | None:
        """The chunk with this number, which may have to be fetched; None behind the last one."""
        while number >= len(self._chunks):
            if self.whole:
                return None
            async with self._turn:
                if number >= len(self._chunks) and not self.whole:
                    await self._fetch()
        return self._chunks[number]

    async def _fetch(self) -> None:
        chunk = None
        if self._coming is not None and not self.broken:
            self.broken = True  # unless a chunk comes; a failed iterator is not used again
            chunk = await anext(self._coming, None)
        if chunk is None:
            raise StorageUnavailableError("The storage broke off.")
        self.broken = False
        self._chunks.append(chunk)
        self._received += len(chunk)

    async def aclose(self) -> None:
        """Stop fetching, and close the source."""
        source, self._source, self._coming = self._source, None, None
        if source is not None:
            await source.aclose()


class Reader:
    """One reader of a copy; a `StoredObject`."""

    def __init__(self, cache: "CachedImageStorage", copy: Copy, *, part: range | None) -> None:
        self._cache = cache
        self._copy = copy
        self._part = range(copy.size_bytes) if part is None else part
        self._open = True

    @property
    def size_bytes(self) -> int:
        """The whole object's size in bytes."""
        return self._copy.size_bytes

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        """The bytes, or those of the part, in chunks; `StorageUnavailableError` if they break off."""
        number, begin = 0, 0
        while begin < self._part.stop and (chunk := await self._copy.chunk(number)) is not None:
            first, last = max(self._part.start - begin, 0), min(self._part.stop - begin, len(chunk))
            if first < last:
                yield chunk if last - first == len(chunk) else memoryview(chunk)[first:last]
            number, begin = number + 1, begin + len(chunk)

    async def aclose(self) -> None:
        """Read no more."""
        if self._open:
            self._open = False
            await self._cache.release(self._copy)


class CachedImageStorage:
    """An `ImageStorage` in front of another one, with up to `capacity` bytes of its objects in memory.

    Concurrent readers of an object that is not in memory share one request. A part is served from a complete copy, or
    by the storage. A deletion drops the copy; its current readers finish.
    """

    def __init__(self, storage: ImageStorage, *, capacity: int) -> None:
        self._storage = storage
        self._capacity = capacity
        self._kept: LRUCache[str, Copy] = LRUCache(capacity, getsizeof=lambda copy: copy.size_bytes)
        self._used: dict[str, Copy] = {}
        self._used_bytes = 0
        self._opening: dict[str, asyncio.Future[Outcome]] = {}

    async def put(self, key: str, data: bytes, *, content_type: str, sha256: str | None = None) -> None:
        """Store the bytes under the key."""
        try:
            await self._storage.put(key, data, content_type=content_type, sha256=sha256)
        finally:
            self._forget(key)

    async def open(self, key: str, *, part: range | None = None) -> StoredObject:
        """Open the object, or a part of it; `ObjectNotFoundError` if there is none, or none that has the part."""
        while True:
            copy = self._used.get(key) or self._take(key)
            if copy is not None and copy.broken:
                copy = None  # its readers get the error; new ones ask the storage
            if copy is not None and (part is None or (copy.whole and part.stop <= copy.size_bytes)):
                return self._reader(copy, part=part)
            if part is not None:
                return await self._storage.open(key, part=part)
            opening = self._opening.get(key)
            if opening is None:
                return await self._open(key)
            outcome = await asyncio.shield(opening)
            if isinstance(outcome, PixyProxyException):
                raise outcome.with_traceback(None)  # raised many times, it would grow
            if outcome == "passed on":
                return await self._storage.open(key)

    async def head(self, key: str) -> int:
        """The object's size in bytes, as the storage has it now."""
        return await self._storage.head(key)

    async def list(self, *, after: str, limit: int) -> tuple[ObjectFacts, ...]:
        """Objects in the order of their keys, as the storage has them now."""
        return await self._storage.list(after=after, limit=limit)

    async def delete(self, key: str) -> None:
        """Remove the object, and forget the copy."""
        try:
            await self._storage.delete(key)
        finally:
            self._forget(key)

    async def get_instance(self) -> UUID | None:
        """The id of the database that the objects belong to; None if none is recorded yet."""
        return await self._storage.get_instance()

    async def add_instance(self, instance: UUID) -> None:
        """Record the id, unless there is one already."""
        await self._storage.add_instance(instance)

    async def aclose(self) -> None:
        """Close the storage's connections."""
        await self._storage.aclose()

    async def probe(self) -> None:
        """Return if the storage answers."""
        await self._storage.probe()

    async def release(self, copy: Copy) -> None:
        """Called by a reader that has finished. After the last one the copy is kept or dropped."""
        copy.readers -= 1
        if copy.readers:
            return
        self._used_bytes -= copy.size_bytes
        if self._used.get(copy.key) is copy:
            del self._used[copy.key]
        if copy.whole and not copy.forgotten:
            self._kept[copy.key] = copy
            self._make_room()
        await copy.aclose()

    async def _open(self, key: str) -> StoredObject:
        opening: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._opening[key] = opening
        outcome: Outcome = "failed"
        try:
            source = await self._storage.open(key)
            if source.size_bytes * SHARE > self._capacity or self._used_bytes + source.size_bytes > self._capacity:
                outcome = "passed on"
                return source
            outcome = "in memory"
            return self._reader(Copy(key, source), part=None)
        except PixyProxyException as error:
            outcome = error
            raise
        finally:
            del self._opening[key]
            opening.set_result(outcome)

    def _take(self, key: str) -> Copy | None:
        copy = self._kept.pop(key, None)
        if copy is not None:
            copy.merge()
        return copy

    def _reader(self, copy: Copy, *, part: range | None) -> Reader:
        if not copy.readers:
            self._used[copy.key] = copy
            self._used_bytes += copy.size_bytes
            self._make_room()
        copy.readers += 1
        return Reader(self, copy, part=part)

    def _make_room(self) -> None:
        while self._kept and self._kept.currsize + self._used_bytes > self._capacity:
            self._kept.popitem()

    def _forget(self, key: str) -> None:
        self._kept.pop(key, None)
        copy = self._used.pop(key, None)
        if copy is not None:
            copy.forgotten = True


Outcome = PixyProxyException | Literal["in memory", "passed on", "failed"]
"""The result of an opening that others wait for."""
