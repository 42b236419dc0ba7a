"""Whether database and storage answer, without a probe at every request, and whether this process ends."""

import asyncio
import contextvars
import math
import time
from collections.abc import Awaitable, Callable

import anyio

from pixyproxy.core import limits
from pixyproxy.core.exceptions import (
    DatabaseUnavailableError,
    PixyProxyException,
    ShuttingDownError,
    StorageUnavailableError,
)
from pixyproxy.core.protocols import Database, ImageStorage

SUCCESS_AGE = 5.0
"""Seconds for which a successful probe is valid."""
DEADLINE = limits.PROBE_DEADLINE
"""Seconds that a part has to answer a probe."""
FAILURE_AGE = 1.0
"""Seconds for which a failed probe is valid."""


class Probe:
    """The last result of probing one part. Concurrent callers share one probe.

    A part that does not answer within `DEADLINE` seconds has failed with the exception that `silent` makes. It is
    probed again only when that probe has ended by the timeouts of its adapter: no threads pile up behind a hanging
    part.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[None]],
        *,
        silent: Callable[[], PixyProxyException],
        clock: Callable[[], float],
        success_age: float = SUCCESS_AGE,
    ) -> None:
        self._ask = ask
        self._silent = silent
        self._clock = clock
        self._success_age = success_age
        self._asking: asyncio.Task[None] | None = None
        self._fresh_until = -1.0
        self._failure: Exception | None = None

    async def check(self) -> None:
        """Return if the part answers; raise its error if not."""
        if self._clock() >= self._fresh_until:
            if self._asking is None or self._asking.done():
                # In a new context: the log lines of a probe belong to no request.
                self._asking = asyncio.create_task(self._note_the_answer(), context=contextvars.Context())
            done, _ = await asyncio.wait({self._asking}, timeout=DEADLINE)
            if not done:
                raise self._silent()
        if self._failure is not None:
            # A copy: its traceback would grow, and each request adds members of its own.
            failure = self._failure.copy() if isinstance(self._failure, PixyProxyException) else self._failure
            raise failure.with_traceback(None)

    async def _note_the_answer(self) -> None:
        asked_at = self._clock()
        try:
            await self._ask()
        except Exception as failure:  # noqa: BLE001 -- raised to the callers
            self._failure = failure
            self._fresh_until = self._clock() + FAILURE_AGE
        else:
            self._failure = None
            self._fresh_until = asked_at + self._success_age


class Readiness:
    """Whether the parts that a generation needs are ready, and whether this process still begins generations.

    `require_match` returns if database and storage belong together; it is called until it has returned. `ending` is set
    when the process begins no more generations.
    """

    def __init__(
        self,
        *,
        database: Database,
        storage: ImageStorage,
        require_match: Callable[[], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        def silent_storage() -> PixyProxyException:
            return StorageUnavailableError("The storage does not answer.")

        self.ending = asyncio.Event()
        self._end_announced = False
        self._probes = {
            "database": Probe(
                database.probe, silent=lambda: DatabaseUnavailableError("The database does not answer."), clock=clock
            ),
            "storage": Probe(storage.probe, silent=silent_storage, clock=clock),
        }
        self._match = Probe(require_match, silent=silent_storage, clock=clock, success_age=math.inf)

    async def require_parts(self) -> None:
        """Return if every part answered a probe that is at most 5 s old, and database and storage belong together.

        An `UnavailableError` if not.
        """
        for probe in self._probes.values():
            await probe.check()
        await self._match.check()

    async def require_storage(self) -> None:
        """Return if the storage answered a probe that is at most 5 s old; `StorageUnavailableError` if not."""
        await self._probes["storage"].check()

    def announce_end(self) -> None:
        """Report that this process ends. It still begins generations until `ending` is set."""
        self._end_announced = True

    def require_process(self) -> None:
        """Return if this process begins generations; `ShuttingDownError` if it is ending."""
        if self.ending.is_set():
            raise ShuttingDownError

    def process_failures(self) -> dict[str, PixyProxyException]:
        """`process`, if its end was announced."""
        return {"process": ShuttingDownError()} if self._end_announced or self.ending.is_set() else {}

    async def failures(self) -> dict[str, PixyProxyException]:
        """The parts that do not answer, and `process` if its end was announced; each with its error.

        `instance`, if all parts answer: database and storage do not belong together.
        """
        failures = self.process_failures()

        async def check(name: str, probe: Probe) -> None:
            try:
                await probe.check()
            except PixyProxyException as failure:
                failures[name] = failure

        async with anyio.create_task_group() as parts:
            for name, probe in self._probes.items():
                parts.start_soon(check, name, probe)
        if self._probes.keys().isdisjoint(failures):
            await check("instance", self._match)
        return failures
