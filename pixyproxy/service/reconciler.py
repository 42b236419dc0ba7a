"""The reconciler: finishes what a process left behind, and compares the two stores.

What it relies on: guids of images are derived from their generation's, so keys are known without a record; the same
key always gets the same bytes; leases and claims are by the database's clock. Nothing that it does is undone by
another replica that does the same.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import groupby
from uuid import UUID

import anyio

from pixyproxy.core.exceptions import (
    ConflictError,
    DatabaseUnavailableError,
    GenerationInterruptedError,
    ImageNotFoundError,
    ObjectNotFoundError,
    PixyProxyException,
    StorageError,
    StorageUnavailableError,
    UpstreamAnswerError,
)
from pixyproxy.core.models import MAX_IMAGES, SUFFIXES, Generation, GenerationState, Image, ObjectFacts, image_guid
from pixyproxy.core.protocols import (
    GenerationRepository,
    ImageRepository,
    ImageStorage,
    ParkedImageRepository,
    ParkingFolder,
)
from pixyproxy.service.keeping import images_of
from pixyproxy.service.pictures import examine

BATCH = 100
"""Generations, or deletions, that are asked for at once."""
IN_PROGRESS = 1.0
"""Seconds after which a deletion that is still not finished is no longer taken for one that is under way."""
LOOK_AGAIN = 3600.0
"""Seconds for which a generation that was failed as interrupted is looked for in the storage again and again."""
PAGE = 1000
"""Keys that are compared at once."""

logger = logging.getLogger(__name__)


class Finding(StrEnum):
    """What the two stores disagree about. The values are said to people."""

    COMPLETED = "generation left behind, its pictures are there"
    INTERRUPTED = "generation left behind, without a picture"
    WAITING = "generation left behind, it cannot be finished now"
    FILE = "picture parked in a file"
    DELETION = "deletion that was not finished"
    ORPHAN = "object without a row"
    YOUNG = "object without a row, younger than the grace"
    LOST = "row without an object"


def logged(finding: Finding, name: str, mended: bool) -> None:  # noqa: FBT001 -- as the reconciler calls it
    """Where a finding goes that nobody watches for."""
    logger.info("%s: %s%s", finding, name, ", mended" if mended else "")


class Reconciler:
    """Brings storage and database into agreement. With `apply` False it changes nothing.

    `lease` is in seconds. `found` hears of every disagreement, with the guid, key or file it is about, and whether it
    was mended; `counts` has their numbers.
    """

    def __init__(
        self,
        *,
        images: ImageRepository,
        generations: GenerationRepository,
        parked: ParkedImageRepository,
        storage: ImageStorage,
        folder: ParkingFolder,
        lease: float,
        apply: bool,
        found: Callable[[Finding, str, bool], None] = logged,
    ) -> None:
        self._images = images
        self._generations = generations
        self._parked = parked
        self._storage = storage
        self._folder = folder
        self._lease = lease
        self._apply = apply
        self._found = found
        self.counts: Counter[Finding] = Counter()
        self.mended: Counter[Finding] = Counter()

    async def run(self, *, interval: float) -> None:
        """Settle what is left behind, every `interval` seconds, for ever."""
        while True:
            try:
                await self.settle()
            except PixyProxyException as error:
                logger.warning("the reconciler could not work: %s", error.name)
            except Exception:
                logger.exception("the reconciler failed")
            await asyncio.sleep(interval)

    async def settle(self) -> None:
        """Finish what processes left behind: pictures in files, generations whose lease ran out, deletions.

        What the storage cannot do now is left for the next time. Raises what the database raises.
        """
        await self._take_up_files()
        await self._finish_generations()
        await self._look_again()
        await self._finish_deletions()

    async def compare(
        self,
        *,
        after: str = "",
        grace: timedelta,
        most: int,
        progress: Callable[[int, str], None] | None = None,
    ) -> str | None:
        """Compare all keys behind `after` in both stores; remove at most `most` objects that nobody can need.

        Such an object has a key of our shape, no row, no generation that may still record it, and is older than
        `grace`; all of that is looked at again just before. A row without an object is reported only. The result is the
        key from which to go on when `most` was reached, else None. Raises what database and storage raise.
        """
        removed = compared = 0
        while True:
            objects = await self._storage.list(after=after, limit=PAGE)
            filenames = await self._images.filenames(after=after, limit=PAGE)
            ends = [page[-1] for page in ([each.key for each in objects], list(filenames)) if len(page) == PAGE]
            end = min(ends, default=None)
            here = {each.key: each for each in objects if end is None or each.key <= end}
            there = {name for name in filenames if end is None or name <= end}
            unsettled = await self._derived_guids() if set(here) - there else {}
            for key in sorted(set(here) ^ there):
                if key in there:
                    await self._report_if_lost(key)
                elif removed == most and self._apply:
                    return after
                else:
                    removed += await self._judge(here[key], unsettled=unsettled, grace=grace)
                after = key
            compared += len(here.keys() | there)
            if progress is not None:
                progress(compared, end or "")
            if end is None:
                return None
            after = end

    def _note(self, finding: Finding, name: str, *, mended: bool) -> None:
        self.counts[finding] += 1
        self.mended[finding] += mended
        self._found(finding, name, mended)

    # What processes left behind

    async def _take_up_files(self) -> None:
        try:
            files = sorted(await self._folder.list())
        except StorageUnavailableError as error:
            logger.error("the folder of parked pictures cannot be read", exc_info=error)
            return
        for guid, names in groupby(files, key=lambda name: name[0]):
            indexes = [index for _, index in names]
            if indexes != list(range(len(indexes))):  # another picture of it could not be written
                logger.error("the files of generation %s are not all here: they are left alone", guid)
                self._note(Finding.FILE, str(guid), mended=False)
                continue
            if not self._apply:
                self._note(Finding.FILE, str(guid), mended=False)
                continue
            try:
                generation = await self._generations.get(guid)
                if generation.state is not GenerationState.SUCCEEDED:
                    pictures = tuple([await self._folder.get(guid, index) for index in indexes])
                    await self._complete(generation, pictures)
                for index in indexes:
                    await self._folder.delete(guid, index)
            except DatabaseUnavailableError:
                raise
            except Exception:
                logger.exception("the file of generation %s cannot be taken up now", guid)
                self._note(Finding.FILE, str(guid), mended=False)
            else:
                self._note(Finding.FILE, str(guid), mended=True)

    async def _finish_generations(self) -> None:
        while True:
            expired = await self._generations.expired(limit=BATCH)
            pictureless: list[tuple[Generation, datetime | None]] = []
            began = anyio.current_time()
            for generation in expired:
                if pictureless and self._apply and anyio.current_time() - began > self._lease / 4:
                    break  # the first claim must outlive the pause of _interrupt
                claimed = await self._generations.claim(generation.guid, lease=self._lease) if self._apply else None
                if self._apply and claimed is None:
                    continue  # another replica was faster, or its owner lives
                try:
                    if not await self._finish(generation):
                        pictureless.append((generation, claimed))
                except StorageUnavailableError:
                    self._note(Finding.WAITING, str(generation.guid), mended=False)
                    await self._interrupt(pictureless)
                    return
                except DatabaseUnavailableError:
                    raise
                except Exception:
                    logger.exception("generation %s cannot be finished", generation.guid)
                    self._note(Finding.WAITING, str(generation.guid), mended=False)
            else:
                if len(expired) < BATCH or not self._apply:
                    await self._interrupt(pictureless)
                    return
            await self._interrupt(pictureless)

    async def _look_again(self) -> None:
        """Complete what was failed as interrupted a while ago, and was put after all by a process that was cut off."""
        for generation in await self._generations.interrupted(within=LOOK_AGAIN, limit=BATCH):
            try:
                images = await self._stored_images(generation)
            except StorageUnavailableError:
                return  # it is looked at again later, and so are the others
            except StorageError:
                logger.exception("generation %s cannot be looked for", generation.guid)
                continue
            if images:
                if self._apply:
                    await self._succeed(generation, images)
                self._note(Finding.COMPLETED, str(generation.guid), mended=self._apply)

    async def _finish(self, generation: Generation) -> bool:
        """Complete the generation if its pictures are there; whether they are."""
        if parked := await self._parked.get(generation.guid):
            if self._apply:
                await self._complete(generation, parked)
        elif images := await self._stored_images(generation):
            if self._apply:
                await self._succeed(generation, images)
        else:
            return False
        self._note(Finding.COMPLETED, str(generation.guid), mended=self._apply)
        return True

    async def _interrupt(self, pictureless: list[tuple[Generation, datetime | None]]) -> None:
        """Fail those that have no picture, unless their owner turns out to live.

        It has the time of more than a renewal for that: it may have been cut off from the database until just now.
        """
        if pictureless and self._apply:
            await asyncio.sleep(self._lease / 2)
        for generation, claimed in pictureless:
            if self._apply:
                try:
                    error = GenerationInterruptedError().document()
                    await self._generations.fail(generation, error=error, claimed=claimed)
                except ConflictError:
                    logger.info("generation %s: its owner lives, or it was settled elsewhere", generation.guid)
                    continue
            self._note(Finding.INTERRUPTED, str(generation.guid), mended=self._apply)

    async def _complete(self, generation: Generation, pictures: tuple[bytes, ...]) -> None:
        images = images_of(generation, tuple(examine(picture) for picture in pictures))
        for image, picture in zip(images, pictures, strict=True):
            await self._storage.put(image.filename, picture, content_type=image.content_type)
        await self._succeed(generation, images)

    async def _succeed(self, generation: Generation, images: tuple[Image, ...]) -> None:
        try:
            await self._generations.succeed(generation, images=images)
        except ConflictError:
            logger.info("generation %s: it was settled elsewhere", generation.guid)

    async def _stored_images(self, generation: Generation) -> tuple[Image, ...]:
        """The images whose objects exist and are whole, from the first on."""
        facts = []
        for index in range(MAX_IMAGES):
            data = await self._picture(generation.image_guid(index))
            if data is None:
                break
            try:
                facts.append(examine(data))
            except UpstreamAnswerError:
                break
        return images_of(generation, tuple(facts))

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

    async def _finish_deletions(self) -> None:
        while marked := await self._images.marked(limit=BATCH):
            if not self._apply:
                await asyncio.sleep(IN_PROGRESS)
                left = await self._images.marked(limit=BATCH)
                for image in marked:
                    if image in left:
                        self._note(Finding.DELETION, str(image.guid), mended=False)
                return
            mended = 0
            for image in marked:
                try:
                    await self._storage.delete(image.filename)
                    await self._images.delete(image.guid)
                except (StorageUnavailableError, StorageError) as error:
                    logger.warning("image %s: its deletion cannot be finished now: %s", image.guid, error.name)
                    self._note(Finding.DELETION, str(image.guid), mended=False)
                    if isinstance(error, StorageUnavailableError):
                        return
                else:
                    mended += 1
                    self._note(Finding.DELETION, str(image.guid), mended=True)
            if mended < BATCH:
                return

    # What the two stores disagree about

    async def _derived_guids(self) -> dict[UUID, UUID]:
        """The generation of every image guid that may still come to be recorded."""
        unsettled = await self._generations.unsettled()
        return {image_guid(guid, index): guid for guid in unsettled for index in range(MAX_IMAGES)}

    async def _report_if_lost(self, filename: str) -> None:
        try:
            await self._storage.head(filename)
        except ObjectNotFoundError:
            try:
                await self._images.get(UUID(filename[:36]))
            except ImageNotFoundError:  # deleted, or about to be
                return
            self._note(Finding.LOST, filename, mended=False)

    async def _judge(self, suspect: ObjectFacts, *, unsettled: dict[UUID, UUID], grace: timedelta) -> bool:
        """Say what an object without a row is; whether it was removed."""
        if await self._images.has(suspect.key):  # recorded since it was listed
            return False
        owner = unsettled.get(UUID(suspect.key[:36]))
        if owner is not None:
            generation = await self._generations.get(owner)
            if generation.state is not GenerationState.FAILED:
                return False  # it runs: its images are recorded soon
            if images := await self._stored_images(generation):
                if self._apply:
                    await self._succeed(generation, images)
                self._note(Finding.COMPLETED, str(owner), mended=self._apply)
                return False
        try:
            await self._storage.head(suspect.key)
        except ObjectNotFoundError:
            return False  # deleted since it was listed
        if datetime.now(UTC) - suspect.modified_at < grace:
            self._note(Finding.YOUNG, suspect.key, mended=False)
            return False
        if not self._apply:
            self._note(Finding.ORPHAN, suspect.key, mended=False)
            return False
        # An object that was written again since it was listed is younger now, and has a generation that runs.
        for now in await self._storage.list(after=suspect.key[:-1], limit=1):
            if now == suspect and not await self._images.has(suspect.key):
                await self._storage.delete(suspect.key)
                self._note(Finding.ORPHAN, suspect.key, mended=True)
                return True
        return False
