"""Keeps records of images in memory for a short while: most public reads are of few images."""

import time
from collections.abc import Callable, Iterable
from uuid import UUID

from pixyproxy.core.exceptions import DatabaseUnavailableError, ImageNotFoundError
from pixyproxy.core.images import DeletedImage, DeletedImagePage, Image, ImagePage
from pixyproxy.core.limits import DATABASE
from pixyproxy.core.protocols import ImageRepository
from pixyproxy.core.threads import Gate
from pixyproxy.data.lookups import Memory

SIZE = 20 * 1024 * 1024
"""Bytes of memory for the records of images, as `size_of` estimates them."""

UNSEEN_IMAGES = 4
"""Concurrent lookups of guids that this process has never found. They share the readers' connections (see
`DatabaseLimits`) with the other reads, and can never take all of them."""


def size_of(image: Image) -> int:
    """Bytes that a record takes at most: its prompt, each source, and all the rest."""
    return 2048 + 4 * len(image.prompt) + 2048 * len(image.sources)


def too_many(what: str) -> Callable[[], DatabaseUnavailableError]:
    """The error of a lookup that waited too long for its turn."""
    return lambda: DatabaseUnavailableError(f"Too many requests with {what} that this process has not seen before.")


class CachedImageRepository:
    """An `ImageRepository` in front of another one. A record is valid for `ttl` seconds after its read began.

    A deletion through this repository takes effect at once, one by another process within `ttl` seconds. A guid that
    was not found is remembered for a second at most, and forgotten at once when `mark_existing` or a page of `search`
    names it.
    Lookups of guids that were never found here wait only for each other: `DatabaseUnavailableError` after `wait`
    seconds.
    """

    def __init__(
        self,
        images: ImageRepository,
        *,
        ttl: float,
        wait: float = DATABASE.read_wait,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._images = images
        self._memory: Memory[UUID, Image] = Memory(
            images.get,
            absent=ImageNotFoundError,
            gate=Gate(UNSEEN_IMAGES, patience=wait, busy=too_many("guids")),
            ttl=ttl,
            capacity=SIZE,
            size_of=size_of,
            clock=clock,
        )

    async def get(self, guid: UUID, *, fresh: bool = False) -> Image:
        """The image with this guid; `ImageNotFoundError` if there is none.

        `fresh`: the cached record is dropped first.
        """
        if fresh:
            self._memory.forget(guid)
        return await self._memory.get(guid)

    def mark_existing(self, guids: Iterable[UUID]) -> None:
        """These images are recorded. An earlier lookup that did not find them no longer counts."""
        self._memory.mark_existing(guids)

    async def search(
        self, *, limit: int, cursor: str | None = None, q: str | None = None, api_key_id: int | None = None
    ) -> ImagePage:
        """A page of the list, as it is recorded now."""
        page = await self._images.search(limit=limit, cursor=cursor, q=q, api_key_id=api_key_id)
        self.mark_existing(image.guid for image in page.images)
        return page

    async def mark_deleted(self, guid: UUID) -> DeletedImage:
        """Hide the image from every reader; those of this process at once."""
        try:
            return await self._images.mark_deleted(guid)
        finally:
            self._memory.forget(guid)

    async def add_thumbhash(self, guid: UUID, thumbhash: bytes) -> None:
        """Record the thumbhash; this process knows it at once, others when their records run out."""
        try:
            await self._images.add_thumbhash(guid, thumbhash)
        finally:
            self._memory.forget(guid)

    async def list_deleted(self, *, limit: int, cursor: str | None = None) -> DeletedImagePage:
        """Images that are marked as deleted and still recorded."""
        return await self._images.list_deleted(limit=limit, cursor=cursor)

    async def delete(self, guid: UUID) -> None:
        """Remove the record of an image that is marked as deleted."""
        await self._images.delete(guid)

    async def sizes(self, *, after: str, limit: int) -> dict[str, int]:
        """The sizes of all recorded images by key, as they are recorded now."""
        return await self._images.sizes(after=after, limit=limit)

    async def has(self, filename: str, *, marked: bool = True) -> bool:
        """Whether an image with this key is recorded now; `marked`: also one that is marked as deleted."""
        return await self._images.has(filename, marked=marked)
