"""The life of a generation: Reserve, Draw, Check, Put, Commit, in this order and never another.

Money is spent at Draw. Before it, everything is known to answer. A picture that was drawn and then could not be kept
leaves its generation `running`: it may lie in the storage, and whoever takes the generation over finds its key.
"""

import logging
import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from pixyproxy.core.exceptions import PictureNotKeptError, PixyProxyException, TooManyGenerationsError
from pixyproxy.core.models import (
    SUFFIXES,
    Caller,
    Generation,
    GenerationRequest,
    GenerationState,
    Image,
)
from pixyproxy.core.protocols import GenerationRepository, ImageGenerator, ImageStorage
from pixyproxy.service.pictures import PictureFacts, examine
from pixyproxy.service.readiness import Readiness

LEASE_MARGIN = timedelta(seconds=300)
"""What Check, Put and Commit may take, with their waits and retries, after the upstream's deadline."""

logger = logging.getLogger(__name__)


class GenerationService:
    """Runs generations. `deadline` is the upstream's, in seconds; `maximum` counts what runs in this process."""

    def __init__(
        self,
        *,
        generations: GenerationRepository,
        storage: ImageStorage,
        generator: ImageGenerator,
        readiness: Readiness,
        deadline: float,
        maximum: int,
    ) -> None:
        self._generations = generations
        self._storage = storage
        self._generator = generator
        self._readiness = readiness
        self._lease = timedelta(seconds=deadline) + LEASE_MARGIN
        self._maximum = maximum
        self._running = 0

    async def run(self, request: GenerationRequest, *, model: str, caller: Caller) -> tuple[Image, ...]:
        """The images, durable in both stores.

        Raises `TooManyGenerationsError` and the other kinds of `UnavailableError` before anything is spent, what
        `ImageGenerator.draw` raises, and `UpstreamAnswerError` for what is no picture.
        """
        if self._running >= self._maximum:
            raise TooManyGenerationsError(f"{self._maximum} generations are running here; try again soon.")
        self._running += 1
        try:
            return await self._run(request, model=model, caller=caller)
        finally:
            self._running -= 1

    async def _run(self, request: GenerationRequest, *, model: str, caller: Caller) -> tuple[Image, ...]:
        generation = await self._reserve(request, caller=caller)
        started = time.monotonic()
        try:
            await self._readiness.require_storage()  # what the probe of _reserve said may be old by now
            drawing = await self._generator.draw(request)
            facts = tuple(examine(picture) for picture in drawing.pictures)
        except PixyProxyException as error:
            await self._record_failure(generation, error)
            raise
        drawn = time.monotonic()
        images = self._images(generation, facts=facts, model=model)
        try:
            for image, picture in zip(images, drawing.pictures, strict=True):
                await self._storage.put(image.filename, picture, content_type=image.content_type)
            await self._generations.succeed(generation, images=images, drawing=drawing)
        except PixyProxyException as error:
            raise PictureNotKeptError(
                f"The picture of generation {generation.guid} was drawn and paid for, but it could not be stored or "
                "recorded. Asking again would buy another one.",
                extra={"generation": str(generation.guid)},
            ) from error
        logger.info(
            "generation %s: images %s, drawn in %.1f s, kept in %.0f ms",
            generation.guid,
            ",".join(str(image.guid) for image in images),
            drawn - started,
            (time.monotonic() - drawn) * 1000,
        )
        return images

    async def _reserve(self, request: GenerationRequest, *, caller: Caller) -> Generation:
        await self._readiness.require_storage()
        now = datetime.now(UTC)
        generation = Generation(
            guid=uuid4(),
            api_key_id=caller.api_key_id,
            request=request,
            state=GenerationState.RUNNING,
            lease_expires_at=now + self._lease,
            created_at=now,
            updated_at=now,
        )
        await self._generations.add(generation)
        return generation

    def _images(self, generation: Generation, *, facts: tuple[PictureFacts, ...], model: str) -> tuple[Image, ...]:
        now = datetime.now(UTC)
        guids = [generation.image_guid(index) for index in range(len(facts))]
        return tuple(
            Image(
                guid=guid,
                filename=f"{guid}.{SUFFIXES[fact.content_type]}",
                prompt=generation.request.prompt,
                content_type=fact.content_type,
                size_bytes=fact.size_bytes,
                width=fact.width,
                height=fact.height,
                sha256=fact.sha256,
                model=model,
                created_at=now,
                updated_at=now,
            )
            for guid, fact in zip(guids, facts, strict=True)
        )

    async def _record_failure(self, generation: Generation, error: PixyProxyException) -> None:
        try:
            await self._generations.fail(generation, error=error.document())
        except PixyProxyException as failure:
            # The caller hears what went wrong with the upstream, not that it could not be noted.
            logger.warning("generation %s: its failure was not recorded: %s", generation.guid, failure.name)
