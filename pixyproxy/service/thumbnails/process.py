"""The worker process, as the server sees it."""

import asyncio
import os
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol, cast

from pixyproxy.core.exceptions import ShuttingDownError, ThumbnailImpossibleError, TooManyThumbnailsError
from pixyproxy.core.thumbnails import SmallPicture
from pixyproxy.service.thumbnails.worker import ANSWER, JOB, READY

MODULE = "pixyproxy.service.thumbnails.worker"
COMMAND = (sys.executable, "-P", "-m", MODULE)
"""`-P`: what stands in the working directory is not imported."""
KEPT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")
"""The variables that the worker gets: none that holds a secret."""
PATIENCE = 10.0
"""Seconds that a job may take."""
ATTEMPTS = 2
"""How often a job is done at which the process ends or takes too long: the load of the machine may be the cause."""
START = 20.0
"""Seconds that the start may take."""
REST = 60.0
"""Seconds without a job after which the process ends."""
ENDED = (OSError, asyncio.IncompleteReadError, RuntimeError)
"""What reading from and writing to a process raises that has ended; the last one is uvloop's."""
PIECE = 256 * 1024
MAX_RESULT = 8 * 1024 * 1024
MAX_HASH = 25


class Shrinker(Protocol):
    """Makes small pictures."""

    async def shrink(self, data: bytes, *, edge: int, most: int = 0) -> SmallPicture:
        """A WebP of at most `edge` pixels a side and `most` bytes (0: any number).

        `ThumbnailImpossibleError` if it cannot be made of this picture, not `refused` if that may pass;
        `TooManyThumbnailsError` or `ShuttingDownError` if none can be made now.
        """

    async def aclose(self) -> None:
        """End what runs."""


class WorkerProcess:
    """A `Shrinker` in a process that is started with its first job, and again after each end. One job at a time.

    A picture at which the process ends, or for which it needs longer than `patience` seconds, is impossible if that
    happens twice.
    """

    def __init__(self, *, command: Sequence[str] = COMMAND, patience: float = PATIENCE, rest: float = REST) -> None:
        self._command = command
        self._patience = patience
        self._rest = rest
        self._turn = asyncio.Lock()
        self._process: Process | None = None
        self._resting: asyncio.TimerHandle | None = None
        self._closed = False

    async def shrink(self, data: bytes, *, edge: int, most: int = 0) -> SmallPicture:
        """A WebP of at most `edge` pixels a side and `most` bytes (0: any number)."""
        async with self._turn:
            self._stop_resting()
            try:
                return await self._attempts(data, edge=edge, most=most)
            finally:
                self._resting = asyncio.get_running_loop().call_later(self._rest, self._kill)

    async def aclose(self) -> None:
        """End the process, with the job that it does, and start none any more."""
        self._closed = True
        self._stop_resting()
        await self._end()

    async def _attempts(self, data: bytes, *, edge: int, most: int) -> SmallPicture:
        reason = ""
        for _ in range(ATTEMPTS):
            process = self._process or await self._start()
            try:
                async with asyncio.timeout(self._patience):
                    return await do(process, data, edge=edge, most=most)
            except TimeoutError:
                reason = f"Decoding this picture takes more than {self._patience:g} s."
            except ENDED:
                reason = "The decoder crashed at this picture."
            except asyncio.CancelledError:
                self._kill()
                raise
            await self._end()
        self._require_open()
        raise ThumbnailImpossibleError(reason, refused=False)

    async def _start(self) -> Process:
        self._require_open()
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=environment
            )
            async with asyncio.timeout(START):
                await read(self._process, len(READY))
        except ENDED as error:
            await self._end()
            self._require_open()
            raise TooManyThumbnailsError("The process that makes thumbnails cannot be started now.") from error
        except asyncio.CancelledError:
            self._kill()
            raise
        process = self._process
        if self._closed:  # while it was forked
            await self._end()
        self._require_open()
        return process

    def _require_open(self) -> None:
        if self._closed:
            raise ShuttingDownError

    async def _end(self) -> None:
        process = self._process
        self._kill()
        if process is not None:
            await process.wait()

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()

    def _stop_resting(self) -> None:
        if self._resting is not None:
            self._resting.cancel()


async def do(process: Process, data: bytes, *, edge: int, most: int) -> SmallPicture:
    """Send the job, and read the answer; `ThumbnailImpossibleError` if it is that there is none.

    `OSError` or `IncompleteReadError` if the process ends before, or answers with more than it may.
    """
    jobs = cast("StreamWriter", process.stdin)
    jobs.write(JOB.pack(edge, most, len(data)))
    for start in range(0, len(data), PIECE):  # in pieces, so that the loop's buffer holds no copy of the whole
        jobs.write(memoryview(data)[start : start + PIECE])
        await jobs.drain()
    size, hashed = ANSWER.unpack(await read(process, ANSWER.size))
    if size > MAX_RESULT or hashed > MAX_HASH:
        raise OSError("the answer is too large")
    if not size:
        raise ThumbnailImpossibleError("This picture cannot be decoded.")
    return SmallPicture(webp=await read(process, size), thumbhash=await read(process, hashed))


async def read(process: Process, size: int) -> bytes:
    """The next bytes of its output; `IncompleteReadError` if it ends before."""
    return await cast("StreamReader", process.stdout).readexactly(size)
