"""Thumbnails by their image and size: read from the storage, or made and put there."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import NamedTuple

import anyio
from cachetools import TLRUCache

from pixyproxy.core.exceptions import ObjectNotFoundError, PixyProxyException, ThumbnailImpossibleError
from pixyproxy.core.images import Image
from pixyproxy.core.protocols import ImageRepository, ImageStorage, StoredObject
from pixyproxy.core.thumbnails import CONTENT_TYPE, Size, thumbnail_key
from pixyproxy.service.public import PublicImageService
from pixyproxy.service.thumbnails.newest_first import MOST_WAITING, NewestFirst
from pixyproxy.service.thumbnails.process import Shrinker
from pixyproxy.service.thumbnails.worker import MAX_PIXELS

REMEMBERED, REMEMBERED_END = 600.0, 30.0
"""Seconds for which a thumbnail is not tried again: one that the decoder refused, and one at which it was ended."""
MOST_REMEMBERED = 10_000
AT_ONCE = 3
"""Thumbnails of a process whose picture is read, made small or put: while one is made, others are read and put."""

logger = logging.getLogger(__name__)


class Reason(NamedTuple):
    """Why a thumbnail could not be made, and whether the decoder refused its picture."""

    detail: str
    refused: bool


class Thumbnails:
    """The thumbnails of this process. They are disposable: one that is gone is made again at its next request.

    `originals` reads the pictures. They pass no cache: each is read once, and would displace what is read often.
    """

    def __init__(
        self,
        *,
        images: ImageRepository,
        storage: ImageStorage,
        originals: PublicImageService,
        shrinker: Shrinker,
        at_once: int = AT_ONCE,
        most_waiting: int = MOST_WAITING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._images = images
        self._storage = storage
        self._originals = originals
        self._shrinker = shrinker
        self._queue: NewestFirst[bytes] = NewestFirst(at_once=at_once, most_waiting=most_waiting)
        self._impossible: TLRUCache[str, Reason] = TLRUCache(MOST_REMEMBERED, ttu=forgotten_at, timer=clock)
        self.stop = self._queue.stop

    async def get(self, image: Image, size: Size) -> bytes:
        """The thumbnail of an image that a service returned.

        `ThumbnailImpossibleError` if it cannot be made, `TooManyThumbnailsError` if too many newer ones are waited for.
        Raises what `PublicImageService.open_content` and the storage raise. A caller that leaves cancels nothing.
        """
        self.require_possible(image, size)
        key = thumbnail_key(image.guid, size)
        if not self._queue.has(key):
            try:
                return await bytes_of(await self._storage.open(key))
            except ObjectNotFoundError:
                pass
        return await self._queue.run(key, lambda: self._make(image, size, key=key))

    def require_possible(self, image: Image, size: Size) -> None:
        """`ThumbnailImpossibleError` if it is known that the thumbnail cannot be made; asks no storage."""
        if image.width * image.height > MAX_PIXELS:
            raise ThumbnailImpossibleError(f"The image has more than {MAX_PIXELS // 1_000_000} megapixels.")
        reason = self._impossible.get(thumbnail_key(image.guid, size))
        if reason is not None:
            raise ThumbnailImpossibleError(reason.detail, refused=reason.refused)

    async def aclose(self) -> None:
        """End what runs, and the process that makes thumbnails."""
        await asyncio.gather(self._queue.aclose(), self._shrinker.aclose())

    async def _make(self, image: Image, size: Size, *, key: str) -> bytes:
        data = await bytes_of(await self._originals.open_content(image))
        try:
            small = await self._shrinker.shrink(data, edge=size)
        except ThumbnailImpossibleError as error:
            self._impossible[key] = Reason(error.detail, refused=error.refused)
            logger.warning("image %s: no thumbnail of %d pixels: %s", image.guid, size, error.detail)
            raise
        await self._storage.put(key, small.webp, content_type=CONTENT_TYPE)
        try:
            # A deletion marks the image before it removes the thumbnails: either it sees this object, or this the mark.
            if image.thumbhash is None:
                await self._images.add_thumbhash(image.guid, small.thumbhash)
            else:
                await self._images.get(image.guid, fresh=True)
        except PixyProxyException:
            await self._storage.delete(key)
            raise
        return small.webp


def forgotten_at(_: str, reason: Reason, now: float) -> float:
    """When a thumbnail is tried again that could not be made for this reason."""
    return now + (REMEMBERED if reason.refused else REMEMBERED_END)


async def bytes_of(content: StoredObject) -> bytes:
    """All bytes of an opened object, which is closed."""
    try:
        return b"".join([chunk async for chunk in content])
    finally:
        with anyio.CancelScope(shield=True):
            await content.aclose()
