"""Compares all keys of storage and database, in both directions at once."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from pixyproxy.core.exceptions import DatabaseError, ObjectNotFoundError
from pixyproxy.core.generations import MAX_IMAGES, GenerationState
from pixyproxy.core.images import SUFFIXES, ObjectFacts, image_guid
from pixyproxy.core.protocols import Stores
from pixyproxy.core.thumbnails import is_thumbnail_key
from pixyproxy.service.recovering.findings import Finding, Findings
from pixyproxy.service.recovering.recover import Recovery

PAGE = 1000
"""Keys that are compared at once."""

BEING_MADE = timedelta(minutes=1)
"""Age of a thumbnail whose process may be about to remove it: its image was deleted while it was made."""
FEW = 20
"""So many orphans are removed without `--force`, however few objects there are."""
SHARE = 100
"""A higher share of orphans than one in so many objects needs `--force`: the database may be the wrong one, or an old
copy."""


@dataclass(frozen=True)
class Orphans:
    """How many objects are orphans, and of how many."""

    count: int
    objects: int

    @property
    def too_many(self) -> bool:
        """Whether so many orphans suggest a wrong database rather than dead processes."""
        return self.count > FEW and self.count * SHARE > self.objects


@dataclass(frozen=True)
class Owner:
    """The generation of an image, and its state when it was listed."""

    guid: UUID
    state: GenerationState


@dataclass(frozen=True)
class Page:
    """Keys of both stores up to `end`, or to the last one if that is None. `here`: the objects of images.

    `thumbnails`: those of thumbnails. `there`: the recorded sizes. `unsettled`: the owner of every image guid that
    may still be recorded, if there is an object without a row.
    """

    here: Mapping[str, ObjectFacts]
    thumbnails: Mapping[str, ObjectFacts]
    there: Mapping[str, int]
    unsettled: Mapping[UUID, Owner]
    end: str | None


class Comparison:
    """Both stores list their keys in the same order. Page by page, keys that only one of them has are checked again."""

    def __init__(self, stores: Stores, *, recovery: Recovery, findings: Findings, apply: bool) -> None:
        self._images = stores.images
        self._generations = stores.generations
        self._storage = stores.storage
        self._recovery = recovery
        self._findings = findings
        self._apply = apply

    async def run(
        self,
        *,
        after: str = "",
        grace: timedelta,
        most: int,
        progress: Callable[[int, str], None] | None = None,
    ) -> str | None:
        """Compare all keys behind `after` in both stores; remove at most `most` orphans.

        Such an object has a key of our shape, no row, no generation that may still record it, and is older than
        `grace`. All of that is checked again just before the removal. A thumbnail without a row is removed too, however
        young it is: it can be made again. A row without an object is only reported. Returns
        the key to continue after if `most` was reached, else None. Raises what database and storage raise.
        """
        removed = compared = 0
        async for page in self._pages(after=after):
            recorded = {key[:36] for key in page.there}
            for key in sorted(page.here.keys() | page.there.keys() | page.thumbnails.keys()):
                if key in page.thumbnails and key[:36] in recorded:
                    pass
                elif key in page.here and key in page.there:
                    if page.here[key].size_bytes != page.there[key]:
                        self._findings.add(Finding.BROKEN, key, fixed=False)
                elif key in page.there:
                    await self._report_if_lost(key)
                elif removed == most and self._apply:
                    return after
                elif key in page.thumbnails:
                    removed += await self._judge_thumbnail(page.thumbnails[key])
                else:
                    removed += await self._judge(page.here[key], unsettled=page.unsettled, grace=grace)
                after = key
            compared += len(page.here.keys() | page.there.keys()) + len(page.thumbnails)
            if progress is not None:
                progress(compared, page.end or "")
        return None

    async def count_orphans(self, *, after: str = "", grace: timedelta) -> Orphans:
        """How many objects behind `after` `run` may remove now, and how many there are.

        Those of an interrupted generation are counted, though `run` completes it if all its pictures exist. Changes
        nothing. Raises what database and storage raise.
        """
        orphans = objects = 0
        async for page in self._pages(after=after):
            objects += len(page.here)
            for key in page.here.keys() - page.there.keys():
                young = datetime.now(UTC) - page.here[key].modified_at < grace
                owner = page.unsettled.get(UUID(key[:36]))
                orphans += not young and (owner is None or owner.state is not GenerationState.RUNNING)
        return Orphans(orphans, objects)

    async def _pages(self, *, after: str) -> AsyncIterator[Page]:
        """All keys behind `after`, in their order."""
        end: str | None = after
        while end is not None:
            objects = await self._storage.list(after=end, limit=PAGE)
            sizes = await self._images.sizes(after=end, limit=PAGE)
            ends = [page[-1] for page in ([each.key for each in objects], list(sizes)) if len(page) == PAGE]
            end = min(ends, default=None)
            listed = {each.key: each for each in objects if end is None or each.key <= end}
            here = {key: each for key, each in listed.items() if not is_thumbnail_key(key)}
            thumbnails = {key: each for key, each in listed.items() if is_thumbnail_key(key)}
            there = {key: size for key, size in sizes.items() if end is None or key <= end}
            unsettled = await self._derived_guids() if here.keys() - there.keys() else {}
            yield Page(here, thumbnails, there, unsettled, end)

    async def _derived_guids(self) -> dict[UUID, Owner]:
        """The owner of every image guid that may still be recorded."""
        owners = [Owner(guid, state) for guid, state in (await self._generations.unsettled()).items()]
        return {image_guid(owner.guid, index): owner for owner in owners for index in range(MAX_IMAGES)}

    async def _report_if_lost(self, filename: str) -> None:
        try:
            await self._storage.head(filename)
        except ObjectNotFoundError:
            if await self._images.has(filename, marked=False):  # else it is deleted, or soon will be
                self._findings.add(Finding.LOST, filename, fixed=False)

    async def _judge_thumbnail(self, suspect: ObjectFacts) -> bool:
        """Report a thumbnail without a row; whether it was removed. No thumbnail is made before its row exists."""
        for suffix in SUFFIXES.values():
            if await self._images.has(f"{suspect.key[:36]}.{suffix}"):
                return False
        try:
            await self._storage.head(suspect.key)
        except ObjectNotFoundError:
            return False  # deleted since it was listed
        if self._apply:
            await self._storage.delete(suspect.key)
        elif datetime.now(UTC) - suspect.modified_at < BEING_MADE:
            return False
        self._findings.add(Finding.THUMBNAIL, suspect.key, fixed=self._apply)
        return self._apply

    async def _judge(self, suspect: ObjectFacts, *, unsettled: Mapping[UUID, Owner], grace: timedelta) -> bool:
        """Report an object without a row; whether it was removed."""
        if await self._images.has(suspect.key):  # recorded since it was listed
            return False
        owner = unsettled.get(UUID(suspect.key[:36]))
        if owner is not None:
            try:
                generation = await self._generations.get(owner.guid)
            except DatabaseError:
                self._findings.add(Finding.UNREADABLE, suspect.key, fixed=False)
                return False  # it may still record the object
            if generation.state is not GenerationState.FAILED:
                return False  # it runs: its images are recorded soon
            if recovered := await self._recovery.collect(generation):
                completed = self._apply and await self._recovery.complete(generation, recovered)
                self._findings.add(Finding.COMPLETED, str(owner.guid), fixed=completed)
                return False
        try:
            await self._storage.head(suspect.key)
        except ObjectNotFoundError:
            return False  # deleted since it was listed
        if datetime.now(UTC) - suspect.modified_at < grace:
            self._findings.add(Finding.YOUNG, suspect.key, fixed=False)
            return False
        if not self._apply:
            self._findings.add(Finding.ORPHAN, suspect.key, fixed=False)
            return False
        # An object that was written again since the listing is younger, and its generation runs.
        for now in await self._storage.list(after=suspect.key[:-1], limit=1):
            if now == suspect and not await self._images.has(suspect.key):
                await self._storage.delete(suspect.key)
                self._findings.add(Finding.ORPHAN, suspect.key, fixed=True)
                return True
        return False
