"""Whether the database and the storage answer, known without asking them at every request."""

import time
from collections.abc import Awaitable, Callable

import anyio

from pixyproxy.core.exceptions import PixyProxyException
from pixyproxy.core.protocols import Database, ImageStorage

SUCCESS_AGE = 5.0
"""Seconds for which a part that answered is taken to answer still."""
FAILURE_AGE = 1.0
"""Seconds for which a part that did not answer is not asked again."""


class Probe:
    """The last word of one part. Callers that come at the same time share one question."""

    def __init__(self, ask: Callable[[], Awaitable[None]], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self._asking = anyio.Lock()
        self._fresh_until = -1.0
        self._failure: PixyProxyException | None = None

    async def check(self) -> None:
        """Return if the part answers; raise what it raised if not."""
        async with self._asking:
            if self._clock() >= self._fresh_until:
                asked_at = self._clock()
                try:
                    await self._ask()
                except PixyProxyException as failure:
                    self._failure = failure
                    self._fresh_until = self._clock() + FAILURE_AGE
                else:
                    self._failure = None
                    self._fresh_until = asked_at + SUCCESS_AGE
        if self._failure is not None:
            raise self._failure.with_traceback(None)  # raised many times, it would grow


class Readiness:
    """The parts without which no generation may begin."""

    def __init__(self, *, database: Database, storage: ImageStorage) -> None:
        self._probes = {"database": Probe(database.probe), "storage": Probe(storage.probe)}

    async def require_storage(self) -> None:
        """Return if the storage answered a probe that is at most 5 s old; `StorageUnavailableError` if not."""
        await self._probes["storage"].check()

    async def failures(self) -> dict[str, PixyProxyException]:
        """The parts that do not answer, by name, each with what it raised."""
        failures: dict[str, PixyProxyException] = {}

        async def check(name: str, probe: Probe) -> None:
            try:
                await probe.check()
            except PixyProxyException as failure:
                failures[name] = failure

        async with anyio.create_task_group() as parts:
            for name, probe in self._probes.items():
                parts.start_soon(check, name, probe)
        return failures
