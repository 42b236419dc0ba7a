"""The life of a generation: Reserve, Draw, Check, Put, Commit, always in this order.

Money is spent at Draw. Before Draw, database and storage have answered. From Draw on the generation does not depend on
a client's connection: it runs in its own task to its end, and its lease shows the other replicas that its owner is
alive.
"""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import anyio

from pixyproxy.core.exceptions import (
    DatabaseUnavailableError,
    InternalError,
    PixyProxyException,
    StorageUnavailableError,
)
from pixyproxy.core.exceptions.costs import nothing_spent
from pixyproxy.core.generations import Generation, GenerationRequest, GenerationState, RecordedRequest
from pixyproxy.core.inputs import InputFiles
from pixyproxy.core.keys import Caller, KeyLimits
from pixyproxy.core.protocols import GenerationRepository, ImageGenerator
from pixyproxy.service.generating.failures import record_failure
from pixyproxy.service.generating.finish_slots import FinishSlot, FinishSlots
from pixyproxy.service.generating.partials import Partials
from pixyproxy.service.generating.pictures import keep_valid
from pixyproxy.service.generating.places import Places
from pixyproxy.service.generating.store import Keeper, build_images
from pixyproxy.service.generating.wait import NO_INPUTS, RunningGeneration, mark_retrieved
from pixyproxy.service.money.quotes import Quotes
from pixyproxy.service.readiness import Readiness

RENEWALS = 3
"""Renewals per lease: two of them may fail."""
TRIES = 2
"""Generations that may run while the storage answers probes but refuses pictures. They show when it takes pictures
again."""
RENEW_AGAIN = 1.0
"""Seconds after which a failed renewal is repeated: when the database is back, it must come before any reconciler."""
logger = logging.getLogger(__name__)


class GenerationRunner:
    """Runs generations, at most `maximum` at once in this process, of which `finish_slots` are finished at once.

    `lease` is in seconds, and so is `patience`: how long recording a failure is tried.
    """

    def __init__(
        self,
        *,
        generations: GenerationRepository,
        generator: ImageGenerator,
        quotes: Quotes,
        keeper: Keeper,
        readiness: Readiness,
        maximum: int,
        finish_slots: int,
        lease: float,
        patience: float,
    ) -> None:
        self._generations = generations
        self._generator = generator
        self._quotes = quotes
        self._keeper = keeper
        self._readiness = readiness
        self.maximum = maximum
        self._places = Places(maximum)
        self._finishing = FinishSlots(finish_slots)
        self._lease = lease
        self._patience = patience
        self._running: dict[UUID, RunningGeneration] = {}
        self._leased: set[UUID] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(
        self,
        request: GenerationRequest,
        *,
        caller: Caller,
        idempotency_key: str | None = None,
        fingerprint: str | None = None,
        instead_of: UUID | None = None,
        inputs: InputFiles = NO_INPUTS,
        partials: Partials | None = None,
    ) -> RunningGeneration:
        """A generation that is reserved, durably, and runs. It shares its inputs, which the caller closes too.

        Raises `TooManyGenerationsError`, `ShuttingDownError` and the other kinds of `UnavailableError` before anything
        is spent, and `ConflictError` for an Idempotency-Key that another generation has (see
        `GenerationRepository.add`), and the refusal of inputs that cannot be drawn.
        """
        if inputs.refusal is not None:
            raise inputs.refusal
        self._readiness.require_process()
        with nothing_spent():
            await self._readiness.require_parts()
            quote = await self._quotes.quote(request, partials=partials.wanted if partials else 0)
        self._readiness.require_process()
        self._places.require(caller)
        if self._keeper.refused and len(self._running) >= TRIES:
            raise StorageUnavailableError("The storage takes no picture now.")
        now = datetime.now(UTC)
        generation = Generation(
            guid=uuid4(),
            api_key_id=caller.api_key_id,
            idempotency_key=idempotency_key,
            fingerprint=fingerprint,
            request=RecordedRequest(values=request.values()),
            expected_images=request.n or 1,
            state=GenerationState.RUNNING,
            quote=quote,
            created_at=now,
            updated_at=now,
        )
        self._places.take(generation.guid, caller)
        running = RunningGeneration(generation, request, inputs=inputs.share(), partials=partials)
        reserved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        reserved.add_done_callback(mark_retrieved)
        task = asyncio.create_task(self._live(running, reserved, instead_of=instead_of, limits=caller.limits))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(reserved)
        return running

    def get(self, guid: UUID) -> RunningGeneration | None:
        """The generation, if it runs in this process."""
        return self._running.get(guid)

    async def drain(self) -> None:
        """Begin no more generations, and return when all that run here have ended."""
        self._readiness.ending.set()
        while self._tasks:
            logger.info("generations that are still running: %d", len(self._tasks))
            await asyncio.wait(self._tasks)

    async def renew_leases(self) -> None:
        """Renew the leases of all that runs here, until cancelled."""
        pause = self._lease / RENEWALS
        while True:
            await asyncio.sleep(pause)
            try:
                await self._generations.renew(tuple(self._leased), lease=self._lease)
                pause = self._lease / RENEWALS
            except PixyProxyException as error:
                logger.warning("leases that were not renewed: %d: %s", len(self._leased), error.name)
                pause = min(pause, RENEW_AGAIN)
            except Exception:
                logger.exception("renewing leases failed")

    async def _live(
        self,
        running: RunningGeneration,
        reserved: "asyncio.Future[None]",
        *,
        instead_of: UUID | None,
        limits: KeyLimits,
    ) -> None:
        generation = running.generation
        try:
            self._running[generation.guid] = running
            self._leased.add(generation.guid)
            if await self._reserve(running, reserved, instead_of=instead_of, limits=limits):
                running.outcome.set_result(await self._run(running))
        except PixyProxyException as error:
            document = error.document()
            error.extra.setdefault("generation", str(generation.guid))
            # The caller is informed at once, however long recording takes.
            running.outcome.set_exception(error)
            await self._record_failure(generation, document)
        except Exception as error:
            # It is left running: its picture may be stored, and a reconciler finds it when its lease has run out.
            logger.exception("generation %s: a fault of ours", generation.guid)
            internal = InternalError(extra={"generation": str(generation.guid)})
            internal.__cause__ = error
            running.outcome.set_exception(internal)
        finally:
            running.inputs.close()
            if running.partials is not None:
                running.partials.end()
            self._places.free(generation.guid)
            self._leased.discard(generation.guid)
            del self._running[generation.guid]
            running.recorded.set()

    async def _reserve(
        self,
        running: RunningGeneration,
        reserved: "asyncio.Future[None]",
        *,
        instead_of: UUID | None,
        limits: KeyLimits,
    ) -> bool:
        try:
            with nothing_spent():
                await self._generations.add(running.generation, lease=self._lease, instead_of=instead_of, limits=limits)
        except Exception as error:  # noqa: BLE001 -- raised to the caller
            reserved.set_exception(error)
            running.outcome.set_exception(error)
            if isinstance(error, DatabaseUnavailableError):
                # The record may have been committed and the answer lost. Record that nothing was drawn.
                await self._record_failure(running.generation, error.document())
            return False
        reserved.set_result(None)
        return True

    async def _run(self, running: RunningGeneration) -> Generation:
        slot = self._finishing.slot()
        try:
            return await self._draw_and_keep(running, slot)
        finally:
            slot.give_back()

    async def _draw_and_keep(self, running: RunningGeneration, slot: FinishSlot) -> Generation:
        generation = running.generation

        def on_failed_try() -> None:
            if running.partials is not None:
                running.partials.forget()  # from now on it may take long: hold only the pictures
            self._places.free(generation.guid)
            slot.give_back()

        started = anyio.current_time()
        with nothing_spent():
            await self._readiness.require_storage()  # the probe before Reserve may be outdated by now
        drawing = await self._generator.draw(
            running.request, turn=slot.take, inputs=running.inputs.files, partials=running.partials
        )
        running.inputs.close()
        if running.partials is not None:
            running.partials.end()
        drawing, facts = keep_valid(drawing)
        drawn = anyio.current_time()
        kept = await self._keeper.keep(
            generation,
            drawing,
            images=build_images(generation, facts),
            on_failed_try=on_failed_try,
            on_patience_over=lambda: self._leased.discard(generation.guid),
        )
        logger.info(
            "generation %s: images %s, drawn in %.1f s, %s in %.0f ms",
            generation.guid,
            ",".join(str(image.guid) for image in kept.images) or "-",
            drawn - started,
            "kept" if kept.images else "left to a reconciler",
            (anyio.current_time() - drawn) * 1000,
        )
        return kept

    async def _record_failure(self, generation: Generation, document: dict[str, Any]) -> None:
        self._places.free(generation.guid)
        await record_failure(
            self._generations, generation, document, ending=self._readiness.ending, patience=self._patience
        )
