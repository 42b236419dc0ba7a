"""Private requests: whoever has an API key may have images drawn, see the lists, and delete."""

import asyncio
import hashlib
import json
import logging
import re
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID
from weakref import WeakValueDictionary

import anyio
from pydantic import ConfigDict, Field, TypeAdapter

from pixyproxy.core.exceptions import (
    ConflictError,
    DatabaseUnavailableError,
    GenerationRunningError,
    IdempotencyKeyReusedError,
    ImageDeletedError,
    InvalidIdempotencyKeyError,
    OutcomeUnknownError,
    PixyProxyException,
    recorded,
)
from pixyproxy.core.models import (
    Caller,
    Generation,
    GenerationPage,
    GenerationRequest,
    GenerationState,
    ImagePage,
    Model,
    SearchText,
)
from pixyproxy.core.protocols import GenerationRepository, ImageRepository, ImageStorage
from pixyproxy.service.generations import GenerationService, RunningGeneration
from pixyproxy.service.validation import revalidated

MAX_LIMIT = 500
DEFAULT_LIMIT = 50
MAX_IDEMPOTENCY_KEY = 255
POLL_AFTER = 2
"""Seconds after which a client may ask again for a generation that is running."""
TURN = 15.0
"""Seconds that a request waits behind others with its Idempotency-Key for the database."""
POLLS = (0.25, 0.5, 1.0, 2.0)
"""Seconds between looks at a generation that another replica runs; the last one again and again."""

logger = logging.getLogger(__name__)


class PageQuery(Model):
    """What a page of a list is asked with."""

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="Entries a page.")
    cursor: str | None = Field(default=None, max_length=200, description="From the `next` of a Link header.")


class ImageQuery(PageQuery):
    """What a page of images is asked with."""

    q: SearchText | None = Field(
        default=None, description="Only images whose prompt contains this, in upper or lower case."
    )


class GenerationQuery(PageQuery):
    """What a page of generations is asked with."""

    state: GenerationState | None = Field(default=None, description="Only generations in this state.")


@dataclass(frozen=True)
class Answer:
    """The generation of a request: succeeded, with its images, or still running. `replayed`: another one began it."""

    generation: Generation
    replayed: bool = False


class PrivateImageService:
    """What callers may do. `model` and `quality` fill in what a request leaves open; an empty quality is not sent.

    `sync_wait`: seconds that a request waits for its generation unless it says otherwise; 0 is for ever.
    """

    def __init__(
        self,
        *,
        images: ImageRepository,
        records: GenerationRepository,
        storage: ImageStorage,
        generations: GenerationService,
        model: str,
        quality: str | None,
        sync_wait: float,
    ) -> None:
        self._images = images
        self._records = records
        self._storage = storage
        self._generations = generations
        self._model = model
        self._quality = quality
        self._sync_wait = sync_wait
        self._beginning: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()

    async def create(
        self,
        request: GenerationRequest,
        *,
        caller: Caller,
        idempotency_key: str | None = None,
        wait: float | None = None,
    ) -> Answer:
        """A generation for the request; for an Idempotency-Key that is known, the one that it stands for.

        `wait`: seconds to wait for its end, which also joins one that is running; None: `sync_wait`, without joining.

        Raises what `GenerationService.begin` does before anything is spent; what `ImageGenerator.draw` raises, and
        `UpstreamAnswerError` for what is no picture; for a known key `IdempotencyKeyReusedError`,
        `GenerationRunningError`, `OutcomeUnknownError`, `ImageDeletedError`, or the recorded failure again.
        """
        request = revalidated(_REQUEST, request)
        filled = request.model_copy(
            update={"model": request.model or self._model, "quality": request.quality or self._quality}
        )
        seconds = (self._sync_wait or None) if wait is None else wait
        if idempotency_key is None:
            running = await self._generations.begin(filled, caller=caller)
            return Answer(succeeded_or_running(await running.wait(seconds)))
        key = checked_key(idempotency_key)
        lock = self._beginning.setdefault((caller.api_key_id, key), asyncio.Lock())
        try:
            async with asyncio.timeout(TURN):
                await lock.acquire()  # those who come to this process together ask the database in turn
        except TimeoutError:
            raise DatabaseUnavailableError("Other requests with this Idempotency-Key wait for the database.") from None
        try:
            begun = await self._begin_once(filled, caller=caller, key=key, fingerprint=fingerprint(request))
        finally:
            lock.release()
        if isinstance(begun, RunningGeneration):
            return Answer(succeeded_or_running(await begun.wait(seconds)))
        if begun.state is GenerationState.RUNNING:
            if wait is None:
                raise GenerationRunningError(
                    f"Generation {begun.guid} runs for this Idempotency-Key. Ask again, or send 'Prefer: wait=N' to "
                    "wait for its end.",
                    retry_after=POLL_AFTER,
                    extra={"generation": str(begun.guid)},
                )
            begun = await self._joined(begun, seconds)
        return Answer(succeeded_or_running(begun, replayed=True), replayed=True)

    async def list(self, query: ImageQuery) -> ImagePage:
        """A page of all images, newest first; `InvalidRequestError` for a cursor that no page carried."""
        query = revalidated(_IMAGES, query)
        return await self._images.search(limit=query.limit, cursor=query.cursor, q=query.q)

    async def delete(self, guid: UUID) -> None:
        """Delete an image: its record is gone at once, and its bytes now, or when the storage is back.

        `ImageNotFoundError` if there is none.
        """
        image = await self._images.mark_deleted(revalidated(_GUID, guid))
        try:
            await self._storage.delete(image.filename)
            await self._images.delete(image.guid)
        except PixyProxyException as error:
            logger.warning("image %s: a reconciler will finish its deletion: %s", image.guid, error.name)

    async def generation(self, guid: UUID) -> Generation:
        """The generation, whichever replica runs it; `GenerationNotFoundError` if there is none."""
        return await self._records.get(revalidated(_GUID, guid))

    async def generations(self, query: GenerationQuery) -> GenerationPage:
        """A page of all generations, newest first; `InvalidRequestError` for a cursor that no page carried."""
        query = revalidated(_GENERATIONS, query)
        return await self._records.list(limit=query.limit, cursor=query.cursor, state=query.state)

    async def _begin_once(
        self, filled: GenerationRequest, *, caller: Caller, key: str, fingerprint: str
    ) -> RunningGeneration | Generation:
        """The generation of this key: a new one that runs here, or the known one, which may not be bought again."""
        known = None
        for _ in range(3):
            known = await self._records.find(api_key_id=caller.api_key_id, idempotency_key=key)
            if known is not None:
                if known.fingerprint != fingerprint:
                    raise IdempotencyKeyReusedError
                if not cost_nothing(known):
                    return known
            try:
                return await self._generations.begin(
                    filled,
                    caller=caller,
                    idempotency_key=key,
                    fingerprint=fingerprint,
                    instead_of=None if known is None else known.guid,
                )
            except ConflictError:
                continue  # another replica was faster: its generation is found now
        raise GenerationRunningError("Other requests with this Idempotency-Key come and go.", retry_after=POLL_AFTER)

    async def _joined(self, generation: Generation, seconds: float | None) -> Generation:
        """A generation that another request began, when it has ended or the seconds are over."""
        running = self._generations.get(generation.guid)
        if running is None:
            return await self._watched(generation, seconds)
        try:
            return await running.wait(seconds)
        except PixyProxyException as error:  # as it will be recorded: wherever it is joined, the answer is the same
            return generation.model_copy(update={"state": GenerationState.FAILED, "error": error.document()})

    async def _watched(self, generation: Generation, seconds: float | None) -> Generation:
        """A generation that another replica runs, when it has ended or the seconds are over."""
        started, looks = anyio.current_time(), 0
        while True:
            pause = POLLS[min(looks, len(POLLS) - 1)]
            if seconds is not None:
                pause = min(pause, seconds - (anyio.current_time() - started))
            if pause <= 0:
                return generation
            await asyncio.sleep(pause)
            looks += 1
            with suppress(DatabaseUnavailableError):  # the generation runs on, whether it can be looked at or not
                generation = await self._records.get(generation.guid)
            if generation.state is not GenerationState.RUNNING:
                return generation


def checked_key(value: str) -> str:
    """The Idempotency-Key without the quotes and escapes of a string (RFC 8941, section 3.3.3), which it may have."""
    key = value.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = re.sub(r'\\(["\\])', r"\1", key[1:-1]).strip()
    if not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY or not all(" " <= character <= "~" for character in key):
        raise InvalidIdempotencyKeyError
    return key


def fingerprint(request: GenerationRequest) -> str:
    """The SHA-256 of what a client asked for, whatever its spelling; before defaults, which change with settings."""
    return hashlib.sha256(json.dumps(request.parameters(), sort_keys=True).encode()).hexdigest()


def cost_nothing(generation: Generation) -> bool:
    """Whether the generation failed in a way that provably cost nothing, so that it may be tried again."""
    return generation.state is GenerationState.FAILED and (generation.error or {}).get("cost") == "none"


def succeeded_or_running(generation: Generation, *, replayed: bool = False) -> Generation:
    """The generation, if it has images or will have; else it raises what its requests are answered."""
    if generation.state is GenerationState.FAILED:
        raise failure_of(generation, replayed=replayed)
    if generation.state is GenerationState.SUCCEEDED and not generation.images:
        deleted = ImageDeletedError(
            f"Generation {generation.guid} succeeded, and its image was deleted since. Take a new Idempotency-Key to "
            "buy another one."
        )
        deleted.replayed = replayed
        raise deleted
    return generation


def failure_of(generation: Generation, *, replayed: bool) -> PixyProxyException:
    """What a failed generation answers: its recorded failure, but to a request that would buy what may exist."""
    error = recorded(generation.error or {}, replayed=replayed)
    if not replayed or error.cost in ("none", "billed"):
        return error
    unknown = OutcomeUnknownError(
        f"Generation {generation.guid} had this Idempotency-Key. The upstream may have drawn and billed it, so it is "
        "not asked again; take a new Idempotency-Key to buy another picture.",
        extra={"generation": str(generation.guid), "cause": error.type},
    )
    unknown.replayed = True
    return unknown


_REQUEST: TypeAdapter[GenerationRequest] = TypeAdapter(GenerationRequest)
_IMAGES: TypeAdapter[ImageQuery] = TypeAdapter(ImageQuery)
_GENERATIONS: TypeAdapter[GenerationQuery] = TypeAdapter(GenerationQuery)
_GUID: TypeAdapter[UUID] = TypeAdapter(UUID, config=ConfigDict(hide_input_in_errors=True))
