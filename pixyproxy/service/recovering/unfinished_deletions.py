"""Finishes deletions: an image is marked as deleted, and an object of it or its row is still there."""

import asyncio
import logging
from collections.abc import AsyncIterator

from pixyproxy.core.exceptions import PixyProxyException, StorageError, StorageUnavailableError
from pixyproxy.core.images import DeletedImage
from pixyproxy.core.protocols import Stores
from pixyproxy.service.deletions import remove_objects
from pixyproxy.service.recovering.findings import Finding, Findings

BATCH = 100
"""Deletions per query."""
IN_PROGRESS = 1.0
"""Seconds after which an unfinished deletion no longer counts as running."""

logger = logging.getLogger(__name__)


class UnfinishedDeletions:
    """The images that are marked as deleted. With `apply` False nothing is changed."""

    def __init__(self, stores: Stores, *, findings: Findings, apply: bool) -> None:
        self._images = stores.images
        self._storage = stores.storage
        self._findings = findings
        self._apply = apply

    async def finish(self) -> None:
        """Try each deletion once: one that the storage refuses for good keeps no other waiting.

        An unavailable storage ends the run. Raises what the database raises.
        """
        if not self._apply:
            await self._report()
            return
        failed = 0
        failure: PixyProxyException | None = None
        async for image in self._marked():
            error = await self._finish(image)
            self._findings.add(Finding.DELETION, str(image.guid), fixed=error is None)
            if error is not None:
                failed, failure = failed + 1, error
            if isinstance(error, StorageUnavailableError):
                break
        if failure is not None:  # one line for all of them: each run may find the same ones
            logger.warning("%d deletions cannot be finished: %s: %s", failed, failure.name, failure.detail)

    async def _finish(self, image: DeletedImage) -> PixyProxyException | None:
        """Remove the objects and the row; the error if the storage does not do it."""
        try:
            await remove_objects(self._storage, image)
        except (StorageUnavailableError, StorageError) as error:
            return error
        await self._images.delete(image.guid)
        return None

    async def _report(self) -> None:
        """Report each deletion that does not finish within a second."""
        marked = [image.guid async for image in self._marked()]
        if not marked:
            return
        await asyncio.sleep(IN_PROGRESS)
        left = {image.guid async for image in self._marked()}
        for guid in marked:
            if guid in left:
                self._findings.add(Finding.DELETION, str(guid), fixed=False)

    async def _marked(self) -> AsyncIterator[DeletedImage]:
        cursor: str | None = None
        while True:
            page = await self._images.list_deleted(limit=BATCH, cursor=cursor)
            for image in page.images:
                yield image
            cursor = page.next_cursor
            if cursor is None:
                return
