"""The reconciler: finishes what a process left behind.

It relies on three facts. Guids of images are derived from their generation's guid, so keys are known without a record.
The same key always gets the same bytes. Leases and claims use the database's clock. Several replicas may reconcile at
the same time: none undoes the work of another.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import anyio

from pixyproxy.core.exceptions import (
    ConflictError,
    DatabaseUnavailableError,
    GenerationInterruptedError,
    PixyProxyException,
    StorageError,
    StorageUnavailableError,
)
from pixyproxy.core.generations import Generation
from pixyproxy.core.protocols import Stores
from pixyproxy.service.recovering.audit import Audit
from pixyproxy.service.recovering.compare import Comparison
from pixyproxy.service.recovering.completion import Completion
from pixyproxy.service.recovering.findings import Finding, Findings, Found, log_finding
from pixyproxy.service.recovering.instance import require_match
from pixyproxy.service.recovering.parked_files import ParkedFiles
from pixyproxy.service.recovering.recover import Recovery
from pixyproxy.service.recovering.unfinished_deletions import UnfinishedDeletions

BATCH = 100
"""Generations per query."""
SHORTEST_PAUSE = 0.1
"""Seconds between two runs, however long one takes."""
COMPLETING = 5.0
"""Seconds of a run in which records of older versions are completed, and again as many in which the usage of days that
are over is added up; the next run goes on."""
LOOK_AGAIN = 3600.0
"""Seconds for which each run looks in the storage for the pictures of a generation that was failed as interrupted."""
FORGET_AFTER = timedelta(days=1)
"""Codes and sessions that expired so long ago are removed: no replica's clock is that wrong."""
FORGET_AT_ONCE = 1000
"""The most of each that one run removes."""

logger = logging.getLogger(__name__)


class Reconciler:
    """Brings storage and database into agreement. With `apply` False it changes nothing.

    `lease` is in seconds. `report` is called with every disagreement; `counts` and `fixed` have their numbers.
    `compare` and `count_orphans` are those of `Comparison`, `audit_ledger` and `audit_usage` those of `Audit`: only
    commands call them, so that only commands remove objects without a row.
    """

    def __init__(
        self, stores: Stores, *, lease: float, apply: bool, report: Callable[[Found], None] = log_finding
    ) -> None:
        self._stores = stores
        self._generations = stores.generations
        self._parked = stores.parked
        self._lease = lease
        self._apply = apply
        self._findings = Findings(report)
        self.counts, self.fixed = self._findings.counts, self._findings.fixed
        self._recovery = Recovery(stores)
        self._parked_files = ParkedFiles(stores, recovery=self._recovery, findings=self._findings, apply=apply)
        self._deletions = UnfinishedDeletions(stores, findings=self._findings, apply=apply)
        self._completion = Completion(stores.completion)
        comparison = Comparison(stores, recovery=self._recovery, findings=self._findings, apply=apply)
        self.compare, self.count_orphans = comparison.run, comparison.count_orphans
        audit = Audit(stores, findings=self._findings, apply=apply)
        self.audit_ledger, self.audit_usage = audit.ledger, audit.usage

    async def run(self, *, interval: float) -> None:
        """Settle what is left behind, every `interval` seconds from start to start, until it is cancelled.

        While the storage belongs to another database it does nothing.
        """
        matches = False
        while True:
            began = anyio.current_time()
            try:
                if not matches:
                    await require_match(self._stores)
                    matches = True
                await self.settle()
            except PixyProxyException as error:
                logger.warning("the reconciler could not work: %s: %s", error.name, error.detail)
            except Exception:
                logger.exception("the reconciler failed")
            await asyncio.sleep(max(began + interval - anyio.current_time(), SHORTEST_PAUSE))

    async def settle(self) -> None:
        """Finish what processes left behind: pictures in files, generations whose lease ran out, deletions.

        Login codes and sessions that ended are removed. For some seconds records that an older version wrote are
        completed, and the usage of days that are over is added up. What the storage cannot do now is left for the next
        run. Raises what the database raises.
        """
        await self._parked_files.take_up()
        await self._finish_generations()
        await self._look_again()
        await self._deletions.finish()
        if self._apply:
            before = datetime.now(UTC) - FORGET_AFTER
            await self._stores.sessions.delete_expired(before=before, limit=FORGET_AT_ONCE)
            await self._completion.finish(seconds=COMPLETING)
            await self._stores.usage.store(seconds=COMPLETING)

    async def _finish_generations(self) -> None:
        cursor: str | None = None
        while True:
            page = await self._generations.expired(limit=BATCH, cursor=cursor)
            pictureless: list[tuple[Generation, datetime | None]] = []
            began = anyio.current_time()
            for generation in page.generations:
                if pictureless and self._apply and anyio.current_time() - began > self._lease / 4:
                    break  # the first claim must not run out during the pause of _interrupt
                claimed = await self._generations.claim(generation.guid, lease=self._lease) if self._apply else None
                if self._apply and claimed is None:
                    continue  # another replica was faster, or its owner is alive
                try:
                    if not await self._finish(generation):
                        pictureless.append((generation, claimed))
                except StorageUnavailableError:
                    self._findings.add(Finding.WAITING, str(generation.guid), fixed=False)
                    await self._interrupt(pictureless)
                    return
                except DatabaseUnavailableError:
                    raise
                except Exception:
                    logger.exception("generation %s cannot be finished", generation.guid)
                    self._findings.add(Finding.WAITING, str(generation.guid), fixed=False)
            else:
                cursor = page.next_cursor
                if cursor is None:
                    await self._interrupt(pictureless)
                    return
            await self._interrupt(pictureless)

    async def _look_again(self) -> None:
        """Complete generations failed as interrupted whose pictures were stored later by a process that was cut off."""
        cursor: str | None = None
        while True:
            page = await self._generations.interrupted(within=LOOK_AGAIN, limit=BATCH, cursor=cursor)
            for generation in page.generations:
                try:
                    recovered = await self._recovery.collect(generation)
                except StorageUnavailableError:
                    return  # the next run looks again, for the others too
                except StorageError:
                    logger.exception("generation %s cannot be looked for", generation.guid)
                    continue
                if recovered is not None:
                    completed = self._apply and await self._recovery.complete(generation, recovered)
                    self._findings.add(Finding.COMPLETED, str(generation.guid), fixed=completed)
            cursor = page.next_cursor
            if cursor is None:
                return

    async def _finish(self, generation: Generation) -> bool:
        """Complete the generation if all its pictures exist; whether they do."""
        parked = await self._parked.get(generation.guid)
        recovered = await self._recovery.collect(generation, dict(enumerate(parked)))
        if recovered is None:
            return False
        completed = self._apply and await self._recovery.complete(generation, recovered)
        self._findings.add(Finding.COMPLETED, str(generation.guid), fixed=completed)
        return True

    async def _interrupt(self, pictureless: list[tuple[Generation, datetime | None]]) -> None:
        """Fail generations without a picture, unless their owner turns out to be alive.

        Wait half a lease first: an owner that was cut off from the database gets a chance to renew.
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
            self._findings.add(Finding.INTERRUPTED, str(generation.guid), fixed=self._apply)
