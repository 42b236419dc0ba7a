"""Private requests: callers with an API key have images drawn, read the lists, and delete."""

import asyncio
import math
from collections.abc import AsyncGenerator
from functools import partial
from uuid import UUID

from pydantic import TypeAdapter

from pixyproxy.core.budgets import without_sums
from pixyproxy.core.exceptions import BudgetExhaustedError, GenerationRunningError, PixyProxyException
from pixyproxy.core.generations import Generation, GenerationPage, GenerationRequest, GenerationState, PartialImage
from pixyproxy.core.images import ImagePage
from pixyproxy.core.inputs import Input, InputFiles
from pixyproxy.core.keys import Caller, Scope
from pixyproxy.core.protocols import Stores
from pixyproxy.service.callers import Callers
from pixyproxy.service.defaults import Defaults
from pixyproxy.service.deletions import Deletions
from pixyproxy.service.generating.adopt import AdoptingBeginner, require_end
from pixyproxy.service.generating.begin import POLL_AFTER, IdempotentBeginner, parse_idempotency_key
from pixyproxy.service.generating.client import Client
from pixyproxy.service.generating.created import Created, Streamed
from pixyproxy.service.generating.outcome import require_success
from pixyproxy.service.generating.partials import Partials
from pixyproxy.service.generating.run import GenerationRunner
from pixyproxy.service.generating.wait import NO_INPUTS, RunningGeneration, poll
from pixyproxy.service.generating.watch import watch
from pixyproxy.service.models import ModelCatalogue
from pixyproxy.service.queries import GenerationQuery, ImageQuery
from pixyproxy.service.reading import Reading
from pixyproxy.service.rights import require, sees_all_costs
from pixyproxy.service.validation import revalidated


class PrivateImageService:
    """The private requests. `models` and `quality` fill in what a request leaves open; without a quality none is sent.

    `sync_wait`: seconds that a request waits for its generation unless it says otherwise; 0: without a limit. Once
    `ending` is set, no request waits for a generation of another replica. `identify_callers`: a request without a
    safety identifier gets one of its API key.
    """

    def __init__(
        self,
        stores: Stores,
        *,
        callers: Callers,
        runner: GenerationRunner,
        models: ModelCatalogue,
        quality: str | None,
        sync_wait: float,
        ending: asyncio.Event,
        identify_callers: bool = False,
    ) -> None:
        self._stores = stores
        self._runner = runner
        self._beginner = IdempotentBeginner(stores.generations)
        self._adopting = AdoptingBeginner(stores.adoption, runner=runner, ending=ending)
        self._defaults = Defaults(models, quality=quality, identify_callers=identify_callers)
        self._sync_wait = sync_wait
        self._ending = ending
        self._reading = Reading(stores, callers=callers)
        self._deletions = Deletions(stores)

    async def create(
        self,
        request: GenerationRequest,
        *,
        caller: Caller,
        idempotency_key: str | None = None,
        wait: float | None = None,
        inputs: InputFiles = NO_INPUTS,
        client: Client | None = None,
        partial_images: int = 0,
    ) -> Created:
        """A generation for the request. A known Idempotency-Key gives the generation that it began.

        `wait`: seconds to wait for the end (`math.inf`: without a limit), also of a generation that another request
        began. None: `sync_wait`, and a generation that another request began is not waited for. `inputs`: what is
        edited; they are closed when the upstream has them, or they are no longer needed. `client`: without an
        Idempotency-Key its retry adopts the generation that it left (see `AdoptingBeginner`); `wait` is to be
        `math.inf`. `partial_images`: how many are requested from the upstream, for callers of `watch`.

        Raises `NotAllowedError` without `draw`, `ModelNotFoundError`, and what `GenerationRunner.begin` raises before
        anything is spent; what `ImageGenerator.draw` raises, and `UpstreamAnswerError` for bytes that are not a
        picture. For a known key
        `IdempotencyKeyReusedError`, `GenerationRunningError`, `OutcomeUnknownError`, `ImageDeletedError`, or the
        recorded failure again.
        """
        seconds = (self._sync_wait or None) if wait is None else (None if wait == math.inf else wait)
        partials = Partials(partial_images) if partial_images else None
        begun = await self._begin(
            request, caller=caller, idempotency_key=idempotency_key, inputs=inputs, partials=partials, client=client
        )
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
        if idempotency_key is None and client is not None:
            require_end(begun, client)
        return self._created(begun, replayed=idempotency_key is not None)

    async def stream(
        self,
        request: GenerationRequest,
        *,
        caller: Caller,
        idempotency_key: str | None = None,
        inputs: InputFiles = NO_INPUTS,
        partial_images: int | None = 0,
        client: Client | None = None,
    ) -> Streamed:
        """Like `create`, without a time limit. `partial_images` None: no stream is requested from the upstream.

        What `create` raises before it waits is raised here, and the rest by the events. A caller that is slow misses
        partial images. Closing the events ends nothing.
        """
        partials = None if partial_images is None else Partials(partial_images)
        begun = await self._begin(
            request, caller=caller, idempotency_key=idempotency_key, inputs=inputs, partials=partials, client=client
        )
        adopter = client if idempotency_key is None else None
        if isinstance(begun, Generation) and begun.state is GenerationState.FAILED:
            require_success(begun, replayed=adopter is None)
        guid = begun.guid if isinstance(begun, Generation) else begun.generation.guid
        return Streamed(guid, self._events(begun, adopter=adopter))

    async def _events(
        self, begun: RunningGeneration | Generation, *, adopter: Client | None
    ) -> AsyncGenerator[PartialImage | Created, None]:
        running = self._runner.get(begun.guid) if isinstance(begun, Generation) else begun
        if running is not None and running.partials is not None:
            async for shown in running.partials.watch():
                yield shown
        if isinstance(begun, RunningGeneration):
            yield self._created(await begun.wait(None))
            return
        ended = await self._join(begun, None) if begun.state is GenerationState.RUNNING else begun
        if adopter is not None:
            require_end(ended, adopter)
        yield self._created(ended, replayed=adopter is None)

    async def _begin(
        self,
        request: GenerationRequest,
        *,
        caller: Caller,
        idempotency_key: str | None,
        inputs: InputFiles,
        partials: Partials | None = None,
        client: Client | None = None,
    ) -> RunningGeneration | Generation:
        """A new generation that runs here, the recorded one of this Idempotency-Key, or one that a retry adopts."""
        try:
            require(caller, Scope.DRAW)
            request = revalidated(_REQUEST, request).model_copy(update={"inputs": inputs.facts})
            filled = self._defaults.fill_in(request, caller=caller)
            begin = partial(self._runner.begin, filled, caller=caller, inputs=inputs, partials=partials)
            if idempotency_key is not None:
                key = parse_idempotency_key(idempotency_key)
                return await self._beginner.begin(begin, caller=caller, key=key, asked=request, filled=filled)
            if client is not None:
                return await self._adopting.begin(begin, caller=caller, client=client, asked=request)
            return await begin()
        except BudgetExhaustedError as error:
            if error.extra["everybody"] and not sees_all_costs(caller):
                raise without_sums(error) from error
            raise
        finally:
            inputs.close()

    async def recorded_inputs(self, *, caller: Caller, idempotency_key: str) -> tuple[Input, ...]:
        """What the generation edits that this Idempotency-Key began; `InvalidIdempotencyKeyError`."""
        known = await self._stores.generations.find(
            api_key_id=caller.api_key_id, idempotency_key=parse_idempotency_key(idempotency_key)
        )
        return () if known is None else known.request.inputs

    async def drain(self) -> None:
        """Return when all deliveries are recorded. Called when all requests have ended."""
        await self._adopting.drain()

    async def list(self, query: ImageQuery, *, caller: Caller) -> ImagePage:
        """A page of the images that the query asks for, newest first: see `ImageRepository.search`.

        Those of the caller, or with `read-all` of everybody; none for the name of a key that the caller may not know.
        `NotAllowedError`, `InvalidRequestError` for a cursor that no page carried, `SearchTooSlowError`.
        """
        return await self._reading.images(query, caller=caller)

    async def delete(self, guid: UUID, *, caller: Caller) -> None:
        """Delete an image: its record is hidden at once, its bytes are removed within seconds or later.

        `NotAllowedError`; `ImageNotFoundError` if there is no such image, or none that the caller may delete.
        """
        await self._deletions.delete(await self._reading.deletable(guid, caller=caller))

    async def generation(self, guid: UUID, *, caller: Caller) -> Generation:
        """The generation, whichever replica runs it.

        `NotAllowedError`; `GenerationNotFoundError` if there is no such generation, or none that the caller may read.
        """
        return await self._reading.generation(guid, caller=caller)

    async def begun(self, guid: UUID, *, caller: Caller) -> Generation:
        """A generation that this caller has begun, which it may know without `read`; `GenerationNotFoundError`."""
        return await self._reading.begun(guid, caller=caller)

    def watch(self, generation: Generation) -> AsyncGenerator[Generation | PartialImage, None]:
        """The life of a generation from its state that `generation` returned, whichever replica runs it.

        See `watch.watch`. Partial images only if it runs here. A watcher that is slow misses partial images. Closing
        the iterator ends nothing.
        """
        return watch(generation, running=self._runner.get(generation.guid), join=self._join, ending=self._ending)

    async def generations(self, query: GenerationQuery, *, caller: Caller) -> GenerationPage:
        """A page of generations, newest first, of the caller, or with `read-all` of everybody.

        `NotAllowedError`, `InvalidRequestError` for a cursor that no page carried.
        """
        return await self._reading.generations(query, caller=caller)

    def _created(self, generation: Generation, *, replayed: bool = False) -> Created:
        succeeded = require_success(generation, replayed=replayed)
        self._reading.mark_existing(succeeded)
        return Created(succeeded, replayed=replayed)

    async def _join(self, generation: Generation, seconds: float | None) -> Generation:
        """A generation that another request began: at its end, after so many seconds, or at `ending`."""
        running = self._runner.get(generation.guid)
        if running is None:
            return await poll(self._stores.generations, generation, seconds=seconds, ending=self._ending)
        try:
            return await running.wait(seconds)
        except PixyProxyException as error:  # as it will be recorded: every replica answers the same
            return generation.model_copy(update={"state": GenerationState.FAILED, "error": error.document()})


_REQUEST: TypeAdapter[GenerationRequest] = TypeAdapter(GenerationRequest)
