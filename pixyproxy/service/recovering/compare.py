"""Compares all keys of storage and database, in both directions at once."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from pixyproxy.core.exceptions import ImageNotFoundError, ObjectNotFoundError
from pixyproxy.core.generations import MAX_IMAGES, GenerationState
from pixyproxy.core.images import ObjectFacts, image_guid
from pixyproxy.core.protocols import Stores
from pixyproxy.service.recovering.findings import Finding, Findings
from pixyproxy.service.recovering.recover import Recovery

PAGE = 1000
"""Keys that are compared at once."""


class Comparison:
    """Both stores list their keys in the same order: page by page, what only one of them has is looked at again."""

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
        """Compare all keys behind `after` in both stores; remove at most `most` objects that nobody can need.

        Such an object has a key of our shape, no row, no generation that may still record it, and is older than
        `grace`; all of that is looked at again just before. A row without an object is reported only. The result is the
        key from which to go on when `most` was reached, else None. Raises what database and storage raise.
        """
        removed = compared = 0
        while True:
            objects = await self._storage.list(after=after, limit=PAGE)
            sizes = await self._images.sizes(after=after, limit=PAGE)
            ends = [page[-1] for page in ([each.key for each in objects], list(sizes)) if len(page) == PAGE]
            end = min(ends, default=None)
            here = {each.key: each for each in objects if end is None or each.key <= end}
            there = {key: size for key, size in sizes.items() if end is None or key <= end}
            unsettled = await self._derived_guids() if here.keys() - there.keys() else {}
            for key in sorted(here.keys() | there.keys()):
                if key in here and key in there:
                    if here[key].size_bytes != there[key]:
                        self._findings.add(Finding.BROKEN, key, fixed=False)
                elif key in there:
                    await self._report_if_lost(key)
                elif removed == most and self._apply:
                    return after
                else:
                    removed += await self._judge(here[key], unsettled=unsettled, grace=grace)
                after = key
            compared += len(here.keys() | there.keys())
            if progress is not None:
                progress(compared, end or "")
            if end is None:
                return None
            after = end

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
            self._findings.add(Finding.LOST, filename, fixed=False)

    async def _judge(self, suspect: ObjectFacts, *, unsettled: dict[UUID, UUID], grace: timedelta) -> bool:
        """Say what an object without a row is; whether it was removed."""
        if await self._images.has(suspect.key):  # recorded since it was listed
            return False
        owner = unsettled.get(UUID(suspect.key[:36]))
        if owner is not None:
            generation = await self._generations.get(owner)
            if generation.state is not GenerationState.FAILED:
                return False  # it runs: its images are recorded soon
            if recovered := await self._recovery.collect(generation):
                if self._apply:
                    await self._recovery.complete(generation, recovered)
                self._findings.add(Finding.COMPLETED, str(owner), fixed=self._apply)
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
        # An object that was written again since it was listed is younger now, and has a generation that runs.
        for now in await self._storage.list(after=suspect.key[:-1], limit=1):
            if now == suspect and not await self._images.has(suspect.key):
                await self._storage.delete(suspect.key)
                self._findings.add(Finding.ORPHAN, suspect.key, fixed=True)
                return True
        return False
