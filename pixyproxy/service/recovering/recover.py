"""Completes a generation that another process began, from pictures that exist."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from pixyproxy.core.exceptions import ConflictError, ObjectNotFoundError, UpstreamAnswerError
from pixyproxy.core.generations import Drawing, Generation, GenerationState
from pixyproxy.core.images import SUFFIXES, Image, Picture
from pixyproxy.core.protocols import Stores
from pixyproxy.service.generating.pictures import PictureFacts, examine
from pixyproxy.service.generating.store import build_images
from pixyproxy.service.money.reckoning import reckon

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recovered:
    """All images of a generation, and the pictures that are still to be put, by index.

    `drawing`: what the upstream sent, if the pictures were parked in files.
    """

    images: tuple[Image, ...]
    to_put: Mapping[int, Picture]
    drawing: Drawing | None


def has_succeeded(generation: Generation, *, images: int) -> bool:
    """Whether the generation is recorded as succeeded with at least so many images, deleted ones included."""
    return generation.state is GenerationState.SUCCEEDED and generation.expected_images >= images


class Recovery:
    """Repeats Put and Commit. The guids are derived, so the keys are known; the same key gets the same bytes."""

    def __init__(self, stores: Stores) -> None:
        self._generations = stores.generations
        self._prices = stores.prices
        self._storage = stores.storage

    async def collect(
        self, generation: Generation, parked: Mapping[int, bytes] | None = None, *, drawn: int | None = None
    ) -> Recovered | None:
        """All images of a generation, from its parked pictures and its objects; None if one is missing.

        `drawn`: how many pictures the upstream sent, if parked files say it; None: as many as the generation expects.
        """
        to_put = {index: Picture.of(data) for index, data in (parked or {}).items()}
        facts: list[PictureFacts] = []
        for index in range(drawn or generation.expected_images):
            if index in to_put:
                facts.append(examine(to_put[index]))
                continue
            stored = await self._stored_facts(generation.image_guid(index))
            if stored is None:
                return None
            facts.append(stored)
        drawing = None
        if drawn is not None:
            drawing = Drawing(pictures=tuple(to_put.values()), usage=None, upstream_request_id=None)
        return Recovered(images=build_images(generation, tuple(facts)), to_put=to_put, drawing=drawing)

    async def complete(self, generation: Generation, recovered: Recovered) -> bool:
        """Put the missing pictures, and record the generation as succeeded.

        Returns whether it is now recorded with at least these images, by this call or by another process.
        """
        for index, picture in recovered.to_put.items():
            image = recovered.images[index]
            await self._storage.put(image.filename, picture.data, content_type=image.content_type, sha256=image.sha256)
        cost = await reckon(
            self._prices,
            generation,
            usage=generation.usage,
            answer=generation.answer,
            images=len(recovered.images),
        )
        try:
            await self._generations.succeed(generation, images=recovered.images, drawing=recovered.drawing, cost=cost)
        except ConflictError:
            known = await self._generations.get(generation.guid)
            logger.info("generation %s: it was settled elsewhere: %s", generation.guid, known.state)
            return has_succeeded(known, images=len(recovered.images))
        return True

    async def _stored_facts(self, guid: UUID) -> PictureFacts | None:
        """The facts of an image's object; None if there is no object, or it is not a complete picture."""
        for suffix in SUFFIXES.values():
            try:
                content = await self._storage.open(f"{guid}.{suffix}")
            except ObjectNotFoundError:
                continue
            try:
                data = b"".join([chunk async for chunk in content])
            finally:
                await content.aclose()
            if len(data) != content.size_bytes:
                return None
            try:
                return examine(Picture.of(data))
            except UpstreamAnswerError:
                return None
        return None
