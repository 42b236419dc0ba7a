"""Private requests: callers with an API key have images drawn, read the lists, and delete."""

import asyncio
import logging
from dataclasses import dataclass
from uuid import UUID

from pydantic import ConfigDict, Field, TypeAdapter

from pixyproxy.core import limits
from pixyproxy.core.exceptions import GenerationRunningError, PixyProxyException
from pixyproxy.core.generations import Generation, GenerationPage, GenerationRequest, GenerationState
from pixyproxy.core.images import DeletedImage, ImagePage
from pixyproxy.core.keys import Caller
from pixyproxy.core.model import Model, SearchText
from pixyproxy.core.protocols import Stores
from pixyproxy.service.generating.begin import POLL_AFTER, IdempotentBeginner, parse_idempotency_key
from pixyproxy.service.generating.outcome import require_success
from pixyproxy.service.generating.run import GenerationRunner
from pixyproxy.service.generating.wait import RunningGeneration, poll
from pixyproxy.service.validation import revalidated

MAX_LIMIT = 500
DEFAULT_LIMIT = 50
DELETION_PATIENCE = limits.DELETION_WAIT
"""Seconds that a DELETE waits for the storage."""

logger = logging.getLogger(__name__)


class PageQuery(Model):
    """The parameters of a page of a list."""

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="Entries a page.")
    cursor: str | None = Field(default=None, max_length=200, description="From the `next` of a Link header.")


class ImageQuery(PageQuery):
    """The parameters of a page of images."""

    q: SearchText | None = Field(
        default=None, description="Only images whose prompt contains this, in upper or lower case."
    )


class GenerationQuery(PageQuery):
    """The parameters of a page of generations."""

    state: GenerationState | None = Field(default=None, description="Only generations in this state.")


@dataclass(frozen=True)
class Created:
    """The generation of a request: succeeded, with its images, or still running.

    `replayed`: an earlier request with the same Idempotency-Key began it.
    """

    generation: Generation
    replayed: bool = False


class PrivateImageService:
    """What callers may do. `model` and `quality` fill in what a request leaves open; no quality is not sent.

    `sync_wait`: seconds that a request waits for its generation unless it says otherwise; 0: without a limit. From
    `ending` on no request waits for a generation of another replica.
    """

    def __init__(
        self,
        stores: Stores,
        *,
        runner: GenerationRunner,
        model: str,
        quality: str | None,
        sync_wait: float,
        ending: asyncio.Event,
    ) -> None:
        self._stores = stores
        self._runner = runner
        self._beginner = IdempotentBeginner(stores.generations, runner=runner)
        self._model = model
        self._quality = quality
        self._sync_wait = sync_wait
        self._ending = ending
        self._removals: set[asyncio.Task[None]] = set()  # asyncio itself holds a task only weakly

    async def create(
        self,
        request: GenerationRequest,
        *,
        caller: Caller,
        idempotency_key: str | None = None,
        wait: float | None = None,
    ) -> Created:
        """A generation for the request. A known Idempotency-Key gives the generation that it began.

        `wait`: seconds to wait for the end, also of a generation that another request began. None: `sync_wait`, and a
        generation that another request began is not waited for.

        Raises what `GenerationRunner.begin` raises before anything is spent; what `ImageGenerator.draw` raises, and
        `UpstreamAnswerError` for bytes that are not a picture. For a known key `IdempotencyKeyReusedError`,
        `GenerationRunningError`, `OutcomeUnknownError`, `ImageDeletedError`, or the recorded failure again.
        """
        request = revalidated(_REQUEST, request)
        filled = request.model_copy(
            update={"model": request.model or self._model, "quality": request.quality or self._quality}
        )
        seconds = (self._sync_wait or None) if wait is None else wait
        if idempotency_key is None:
            running = await self._runner.begin(filled, caller=caller)
            return self._created(await running.wait(seconds))
        key = parse_idempotency_key(idempotency_key)
        begun = await self._beginner.begin(filled, caller=caller, key=key, asked=request)
        if isinstance(begun, RunningGeneration):
            return self._created(await begun.wait(seconds))
        if begun.state is GenerationState.RUNNING:
            if wait is None:
                raise GenerationRunningError(
                    f"Generation {begun.guid} runs for this Idempotency-Key. Ask again, or send 'Prefer: wait=N' to "
                    "wait for its end.",
                    retry_after=POLL_AFTER,
                    extra={"generation": str(begun.guid)},
                )
            begun = await self._join(begun, seconds)
        return self._created(begun, replayed=True)

    async def list(self, query: ImageQuery) -> ImagePage:
        """A page of all images, newest first; `InvalidRequestError` for a cursor that no page carried."""
        query = revalidated(_IMAGES, query)
        return await self._stores.images.search(limit=query.limit, cursor=query.cursor, q=query.q)

    async def delete(self, guid: UUID) -> None:
        """Delete an image: its record is gone at once, its bytes within `DELETION_PATIENCE` or later.

        `ImageNotFoundError` if there is no such image.
        """
        image = await self._stores.images.mark_deleted(revalidated(_GUID, guid))
        removal = asyncio.create_task(self._remove(image))
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)
        done, _ = await asyncio.wait({removal}, timeout=DELETION_PATIENCE)
        if done:
            removal.result()
        else:
            logger.warning("image %s: the storage is slow: the deletion is finished later", image.guid)

    async def _remove(self, image: DeletedImage) -> None:
        """Remove the object and the record of an image that is marked as deleted, or leave it to a reconciler."""
        try:
            await self._stores.storage.delete(image.filename)
            await self._stores.images.delete(image.guid)
        except PixyProxyException as error:
            logger.warning("image %s: a reconciler will finish its deletion: %s", image.guid, error.name)

    async def generation(self, guid: UUID) -> Generation:
        """The generation, whichever replica runs it; `GenerationNotFoundError` if there is no such generation."""
        generation = await self._stores.generations.get(revalidated(_GUID, guid))
        self._note_images(generation)
        return generation

    async def generations(self, query: GenerationQuery) -> GenerationPage:
        """A page of all generations, newest first; `InvalidRequestError` for a cursor that no page carried."""
        query = revalidated(_GENERATIONS, query)
        page = await self._stores.generations.list(limit=query.limit, cursor=query.cursor, state=query.state)
        self._note_images(*page.generations)
        return page

    def _created(self, generation: Generation, *, replayed: bool = False) -> Created:
        succeeded = require_success(generation, replayed=replayed)
        self._note_images(succeeded)
        return Created(succeeded, replayed=replayed)

    def _note_images(self, *generations: Generation) -> None:
        """Make the images of an answer readable here at once, even if somebody asked for them too early."""
        self._stores.images.note(image.guid for generation in generations for image in generation.images)

    async def _join(self, generation: Generation, seconds: float | None) -> Generation:
        """A generation that another request began, when it has ended, after so many seconds, or at `ending`."""
        running = self._runner.get(generation.guid)
        if running is None:
            return await poll(self._stores.generations, generation, seconds=seconds, ending=self._ending)
        try:
            return await running.wait(seconds)
        except PixyProxyException as error:  # as it will be recorded: every replica answers the same
            return generation.model_copy(update={"state": GenerationState.FAILED, "error": error.document()})


_REQUEST: TypeAdapter[GenerationRequest] = TypeAdapter(GenerationRequest)
_IMAGES: TypeAdapter[ImageQuery] = TypeAdapter(ImageQuery)
_GENERATIONS: TypeAdapter[GenerationQuery] = TypeAdapter(GenerationQuery)
_GUID: TypeAdapter[UUID] = TypeAdapter(UUID, config=ConfigDict(hide_input_in_errors=True))
