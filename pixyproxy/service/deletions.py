"""Deletes images: the record is hidden at once, the object is removed now or later."""

import asyncio
import logging
from uuid import UUID

from pixyproxy.core.exceptions import PixyProxyException
from pixyproxy.core.images import DeletedImage
from pixyproxy.core.limits import DELETION_WAIT
from pixyproxy.core.protocols import ImageStorage, Stores
from pixyproxy.core.thumbnails import thumbnail_keys

logger = logging.getLogger(__name__)


async def remove_objects(storage: ImageStorage, image: DeletedImage) -> None:
    """Remove the object of an image that is marked as deleted, and its thumbnails. Raises what the storage raises."""
    for key in (image.filename, *thumbnail_keys(image.guid)):
        await storage.delete(key)


class Deletions:
    """The deletions of this process. What the storage does not remove in time, or not at all, a reconciler removes."""

    def __init__(self, stores: Stores) -> None:
        self._images = stores.images
        self._storage = stores.storage
        self._removals: set[asyncio.Task[None]] = set()  # asyncio itself holds a task only weakly

    async def delete(self, guid: UUID) -> None:
        """Hide the image and remove its objects; `ImageNotFoundError` if there is no such image.

        Returns after `DELETION_WAIT` seconds at the latest, and the removal continues.
        """
        image = await self._images.mark_deleted(guid)
        removal = asyncio.create_task(self._remove(image))
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)
        done, _ = await asyncio.wait({removal}, timeout=DELETION_WAIT)
        if done:
            removal.result()
        else:
            logger.warning("image %s: the storage is slow: the deletion is finished later", image.guid)

    async def _remove(self, image: DeletedImage) -> None:
        """Remove the objects and the record of an image that is marked as deleted, or leave it to a reconciler."""
        try:
            await remove_objects(self._storage, image)
            await self._images.delete(image.guid)
        except PixyProxyException as error:
            logger.warning("image %s: a reconciler will finish its deletion: %s", image.guid, error.name)
