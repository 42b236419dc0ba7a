"""Put and Commit: what was paid for is kept, however long storage and database are unavailable.

A picture that cannot be put is parked in the database, or, if that is unavailable too when the process must end, in a
folder. A picture that is put but not recorded waits: the replica that takes over the generation finds it under its
derived key.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import anyio

from pixyproxy.core import limits
from pixyproxy.core.exceptions import (
    ConflictError,
    GenerationNotFoundError,
    PixyProxyException,
    StorageUnavailableError,
)
from pixyproxy.core.generations import Drawing, Generation, GenerationState
from pixyproxy.core.images import SUFFIXES, Image, Picture
from pixyproxy.core.protocols import ParkedFile, Stores
from pixyproxy.service.generating.pictures import PictureFacts
from pixyproxy.service.generating.wait import mark_retrieved
from pixyproxy.service.money.reckoning import reckon

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
"""Seconds between tries: they double from the first to the longest."""
LAST_PUT = limits.LAST_PUT
"""Seconds that a put may still take when the process is to end; then the picture is parked."""

logger = logging.getLogger(__name__)


def build_images(generation: Generation, facts: tuple[PictureFacts, ...]) -> tuple[Image, ...]:
    """The images of a generation whose pictures have these facts; their guids and keys are derived."""
    now = datetime.now(UTC)
    guids = [generation.image_guid(index) for index in range(len(facts))]
    return tuple(
        Image(
            guid=guid,
            filename=f"{guid}.{SUFFIXES[fact.content_type]}",
            prompt=generation.request.prompt or "",
            content_type=fact.content_type,
            size_bytes=fact.size_bytes,
            width=fact.width,
            height=fact.height,
            sha256=fact.sha256,
            model=generation.request.model,
            sources=generation.request.inputs,
            created_at=now,
            updated_at=now,
        )
        for guid, fact in zip(guids, facts, strict=True)
    )


def pauses() -> Iterator[float]:
    """Seconds to wait, from try to try."""
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * 2, LONGEST_PAUSE)


def report(generation: Generation, what: str, error: Exception) -> None:
    """Log an error after which the step is tried again; with a traceback if the error is not one of ours."""
    if isinstance(error, PixyProxyException):
        logger.warning("generation %s: %s: %s", generation.guid, what, error.name)
    else:
        logger.warning("generation %s: %s", generation.guid, what, exc_info=error)


async def pause_unless(event: asyncio.Event, seconds: float) -> None:
    """Wait so many seconds, or until the event is set."""
    happening = asyncio.create_task(event.wait())
    await asyncio.wait({happening}, timeout=seconds)
    happening.cancel()


class Keeper:
    """Keeps the pictures of a generation. `patience`: seconds of unavailable storage until they are parked."""

    def __init__(self, stores: Stores, *, ending: asyncio.Event, patience: float) -> None:
        self._generations = stores.generations
        self._prices = stores.prices
        self._parked = stores.parked
        self._storage = stores.storage
        self._folder = stores.folder
        self._ending = ending
        self._patience = patience
        self.refused = False
        """Whether the storage refused the last picture."""

    async def keep(
        self,
        generation: Generation,
        drawing: Drawing,
        *,
        images: tuple[Image, ...],
        on_failed_try: Callable[[], None],
        on_patience_over: Callable[[], None],
    ) -> Generation:
        """The generation as it is recorded: succeeded, or still running if its pictures wait for a reconciler.

        `on_failed_try` is called after each failed try, `on_patience_over` when the patience is over too. Between the
        tries only the pictures are held. Once the pictures are put, Commit is tried until the process ends; another
        process may commit meanwhile.
        """
        until = anyio.current_time() + self._patience
        stored = parked = False
        if len(images) != generation.expected_images:
            await self._expect(generation, len(images))
        try:
            for pause in pauses():
                try:
                    if not stored:
                        await self._put(images, drawing.pictures)
                        stored = True
                    return await self._commit(generation, drawing, images=images, parked=parked)
                except GenerationNotFoundError:
                    logger.error("generation %s: its record was removed: its objects belong to nobody", generation.guid)
                    return generation
                except Exception as error:  # noqa: BLE001 -- any exception: the pictures are paid for
                    report(generation, "its pictures are not kept yet", error)
                on_failed_try()
                ending = self._ending.is_set()
                if stored and ending:
                    break  # the objects wait for a reconciler
                if anyio.current_time() > until:
                    on_patience_over()
                if not stored and (ending or anyio.current_time() > until):
                    parked = True  # perhaps: an answer of the database may be lost
                    if await self._park(generation, drawing):
                        break
                    if ending:
                        await self._write(generation, drawing)
                        break
                await pause_unless(self._ending, pause)
        except asyncio.CancelledError:  # the process is made to end at once
            if not stored:
                await self._write(generation, drawing)
            raise
        return generation

    async def _expect(self, generation: Generation, count: int) -> None:
        """Record that there are more or fewer pictures than were asked for, so that a reconciler looks for them all."""
        try:
            await self._generations.expect(generation.guid, images=count)
        except Exception as error:  # noqa: BLE001 -- Commit and Park record it too
            report(generation, "its number of pictures is not recorded yet", error)

    async def _put(self, images: tuple[Image, ...], pictures: tuple[Picture, ...]) -> None:
        """Put the pictures; while the process ends, only if that takes no longer than `LAST_PUT`.

        A put that is left running does no harm if it succeeds later: same key, same bytes.
        """

        async def put() -> None:
            try:
                for image, picture in zip(images, pictures, strict=True):
                    await self._storage.put(
                        image.filename, picture.data, content_type=image.content_type, sha256=image.sha256
                    )
            except BaseException:
                self.refused = True
                raise
            self.refused = False

        putting = asyncio.create_task(put())
        ending = asyncio.create_task(self._ending.wait())
        await asyncio.wait({putting, ending}, return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        done, _ = await asyncio.wait({putting}, timeout=LAST_PUT)
        if not done:
            putting.add_done_callback(mark_retrieved)
            raise StorageUnavailableError("The storage did not take the picture in the time that was left.")
        putting.result()

    async def _commit(
        self, generation: Generation, drawing: Drawing, *, images: tuple[Image, ...], parked: bool
    ) -> Generation:
        cost = await reckon(self._prices, generation, usage=drawing.usage, answer=drawing.answer, images=len(images))
        try:
            settled = await self._generations.succeed(
                generation, images=images, drawing=drawing, cost=cost, parked=parked
            )
        except ConflictError:
            settled = False
        if not settled:
            # An earlier try was committed, though its answer was lost, or a reconciler was faster: read, not undone.
            return await self._generations.get(generation.guid)
        return generation.model_copy(
            update={
                "state": GenerationState.SUCCEEDED,
                "images": images,
                "usage": drawing.usage,
                "upstream_request_id": drawing.upstream_request_id,
                "answer": drawing.answer,
                "cost": cost,
                "updated_at": images[0].updated_at,
            }
        )

    async def _park(self, generation: Generation, drawing: Drawing) -> bool:
        try:
            await self._parked.add(generation, drawing)
        except ConflictError:
            logger.info("generation %s: it was settled elsewhere", generation.guid)
        except Exception as error:  # noqa: BLE001 -- any exception: the file remains as the last resort
            report(generation, "its pictures cannot be parked", error)
            return False
        else:
            logger.warning("generation %s: its pictures are parked in the database", generation.guid)
        return True

    async def _write(self, generation: Generation, drawing: Drawing) -> None:
        for index, picture in enumerate(drawing.pictures):
            file = ParkedFile(generation.guid, index=index, count=len(drawing.pictures))
            try:
                path = await self._folder.add(file, picture.data)
            except Exception:
                logger.exception(
                    "generation %s: its picture %d of %d is lost", generation.guid, index + 1, len(drawing.pictures)
                )
            else:
                logger.error(
                    "generation %s: its picture %d of %d is in neither store but in %s: the next start takes it up",
                    *(generation.guid, index + 1, len(drawing.pictures), path),
                )
