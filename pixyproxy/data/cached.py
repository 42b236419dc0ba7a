"""Keeps the records of images in memory for a short while: most public reads are of few images."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from cachetools import TLRUCache

from pixyproxy.core.images import Image, ImagePage
from pixyproxy.core.protocols import ImageRepository

SIZE = 20 * 1024 * 1024
"""Bytes of memory, as `size_of` reckons them."""


@dataclass(frozen=True)
class Known:
    """A record, and until when it may be believed."""

    image: Image
    until: float


def size_of(known: Known) -> int:
    """Bytes that a record takes at the most: those of its prompt, and of all the rest."""
    return 2048 + 4 * len(known.image.prompt)


class CachedImageRepository:
    """`ImageRepository` before another one. A record is believed for `ttl` seconds from before it was read.

    A deletion through this repository is seen at once, one by another process within `ttl` seconds. Readers that want
    one record at the same time ask for it once. That there is no such image is never remembered.
    """

    def __init__(self, images: ImageRepository, *, ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._images = images
        self._ttl = ttl
        self._clock = clock
        self._known: TLRUCache[UUID, Known] = TLRUCache(
            SIZE, ttu=lambda _, known, __: known.until, timer=clock, getsizeof=size_of
        )
        self._reading: dict[UUID, asyncio.Task[Image]] = {}

    async def get(self, guid: UUID, *, fresh: bool = False) -> Image:
        """The image with this guid; `ImageNotFoundError` if there is none. `fresh`: what is known is forgotten."""
        if fresh:
            self._forget(guid)
        known = self._known.get(guid)
        if known is not None:
            return known.image
        reading = self._reading.get(guid)
        if reading is None:
            reading = asyncio.create_task(self._read(guid))
            self._reading[guid] = reading
        return await asyncio.shield(reading)

    def _forget(self, guid: UUID) -> None:
        self._reading.pop(guid, None)
        self._known.pop(guid, None)

    async def _read(self, guid: UUID) -> Image:
        until = self._clock() + self._ttl
        this = asyncio.current_task()
        try:
            image = await self._images.get(guid)
            if self._reading.get(guid) is this:  # else it was deleted meanwhile
                self._known[guid] = Known(image, until)
            return image
        finally:
            if self._reading.get(guid) is this:
                del self._reading[guid]

    async def search(self, *, limit: int, cursor: str | None = None, q: str | None = None) -> ImagePage:
        """A page of the list, as it is recorded now."""
        return await self._images.search(limit=limit, cursor=cursor, q=q)

    async def mark_deleted(self, guid: UUID) -> Image:
        """Hide the image from every reader, from those of this process at once."""
        try:
            return await self._images.mark_deleted(guid)
        finally:
            self._forget(guid)

    async def list_deleted(self, *, limit: int) -> tuple[Image, ...]:
        """Images that are marked as deleted and still recorded."""
        return await self._images.list_deleted(limit=limit)

    async def delete(self, guid: UUID) -> None:
        """Remove the record of an image that is marked as deleted."""
        await self._images.delete(guid)

    async def sizes(self, *, after: str, limit: int) -> dict[str, int]:
        """The sizes of all recorded images by key, as they are recorded now."""
        return await self._images.sizes(after=after, limit=limit)

    async def has(self, filename: str) -> bool:
        """Whether an image with this key is recorded now."""
        return await self._images.has(filename)
