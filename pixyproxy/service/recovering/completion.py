"""Completes the records of images that a version without the search wrote, and makes the search anew.

A replica of such a version writes such records during an upgrade, so the reconciler of every newer replica looks for
them, too.
"""

import logging
import math
from collections.abc import Callable

import anyio

from pixyproxy.core.protocols import ImageCompletion

BATCH = 100
"""Images of a transaction."""

Progress = Callable[[int, str | None], None]
"""Called with how many images are done, and where to go on."""

logger = logging.getLogger(__name__)


def no_progress(_count: int, _cursor: str | None) -> None:
    """Nobody looks."""


class Completion:
    """The work on all records: batch after batch, each a short transaction. Raises what the database raises."""

    def __init__(self, records: ImageCompletion) -> None:
        self._records = records

    async def count(self, *, most: int) -> int:
        """How many records are not complete, counted up to `most`."""
        return await self._records.count(most=most)

    async def finish(self, *, seconds: float = math.inf, progress: Progress = no_progress) -> int:
        """Complete records for so long, or until all are complete; returns how many were."""
        until, done, found = anyio.current_time() + seconds, 0, BATCH
        while found == BATCH and anyio.current_time() < until:
            found = await self._records.complete(limit=BATCH)
            done += found
            progress(done, None)
        if done:
            logger.info("%d records of images that an older version wrote were completed", done)
        return done

    async def renew(self, *, after: str | None = None, progress: Progress = no_progress) -> int:
        """Take all images out of the search and put them in again, newest first; returns how many were put in.

        `after`: where an earlier call was interrupted that had taken out all of them.
        """
        while after is None and await self._records.clear():
            progress(0, None)
        done = 0
        while True:
            refilled = await self._records.refill(limit=BATCH, cursor=after)
            done, after = done + refilled.count, refilled.next_cursor
            if after is None:
                return done
            progress(done, after)
