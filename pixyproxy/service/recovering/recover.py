"""Completes a generation that another process began, from pictures that exist."""

import logging
from uuid import UUID

from pixyproxy.core.exceptions import ConflictError, ObjectNotFoundError, UpstreamAnswerError
from pixyproxy.core.generations import MAX_IMAGES, Generation
from pixyproxy.core.images import SUFFIXES, Image, Picture
from pixyproxy.core.protocols import Stores
from pixyproxy.service.generating.pictures import examine
from pixyproxy.service.generating.store import build_images

logger = logging.getLogger(__name__)


class Recovery:
    """Put and Commit once more: the guids are derived, so the keys are known, and the same key gets the same bytes."""

    def __init__(self, stores: Stores) -> None:
        self._generations = stores.generations
        self._storage = stores.storage

    async def complete(self, generation: Generation, pictures: tuple[bytes, ...]) -> None:
        """Put the pictures, and record the generation as succeeded."""
        images = build_images(generation, tuple(examine(Picture.of(data)) for data in pictures))
        for image, data in zip(images, pictures, strict=True):
            await self._storage.put(image.filename, data, content_type=image.content_type)
        await self.succeed(generation, images)

    async def succeed(self, generation: Generation, images: tuple[Image, ...]) -> None:
        """Record the images of a generation, unless somebody else has."""
        try:
            await self._generations.succeed(generation, images=images)
        except ConflictError:
            logger.info("generation %s: it was settled elsewhere", generation.guid)

    async def stored_images(self, generation: Generation) -> tuple[Image, ...]:
        """The images whose objects exist and are whole, from the first on."""
        facts = []
        for index in range(MAX_IMAGES):
            data = await self._picture(generation.image_guid(index))
            if data is None:
                break
            try:
                facts.append(examine(Picture.of(data)))
            except UpstreamAnswerError:
                break
        return build_images(generation, tuple(facts))

    async def _picture(self, guid: UUID) -> bytes | None:
        for suffix in SUFFIXES.values():
            key = f"{guid}.{suffix}"
            try:
                content = await self._storage.open(key)
            except ObjectNotFoundError:
                continue
            try:
                data = b"".join([chunk async for chunk in content])
            finally:
                await content.aclose()
            return data if len(data) == content.size_bytes else None
        return None
