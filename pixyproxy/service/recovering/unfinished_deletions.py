"""Finishes deletions: an image is marked as deleted, and its object or its row is still there."""

import asyncio
import logging
from uuid import UUID

from pixyproxy.core.exceptions import PixyProxyException, StorageError, StorageUnavailableError
from pixyproxy.core.images import DeletedImage
from pixyproxy.core.protocols import Stores
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
        failed, last_error = 0, None
        cursor: str | None = None
        while not isinstance(last_error, StorageUnavailableError):
            page = await self._images.list_deleted(limit=BATCH, cursor=cursor)
            for image in page.images:
                error = await self._finish(image)
                self._findings.add(Finding.DELETION, str(image.guid), fixed=error is None)
                if error is not None:
                    failed, last_error = failed + 1, error
                if isinstance(error, StorageUnavailableError):
                    break
            cursor = page.next_cursor
            if cursor is None:
                break
        if last_error is not None:  # one line for all of them: the same ones may be refused in every run
            logger.warning("%d deletions cannot be finished: %s: %s", failed, last_error.name, last_error.detail)

    async def _finish(self, image: DeletedImage) -> PixyProxyException | None:
        """Remove the object and the row; the error if the storage does not do it."""
        try:
            await self._storage.delete(image.filename)
        except (StorageUnavailableError, StorageError) as error:
            return error
        await self._images.delete(image.guid)
        return None

    async def _report(self) -> None:
        """Report each deletion that does not finish within a second."""
        marked = await self._marked()
        if not marked:
            return
        await asyncio.sleep(IN_PROGRESS)
        left = await self._marked()
        for guid in marked:
            if guid in left:
                self._findings.add(Finding.DELETION, str(guid), fixed=False)

    async def _marked(self) -> dict[UUID, DeletedImage]:
        marked: dict[UUID, DeletedImage] = {}
        cursor: str | None = None
        while True:
            page = await self._images.list_deleted(limit=BATCH, cursor=cursor)
            marked.update((image.guid, image) for image in page.images)
            cursor = page.next_cursor
            if cursor is None:
                return marked
