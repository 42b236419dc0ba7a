"""Uploads on their way to the upstream, in unnamed files: nothing is left of them when the process ends."""

import errno
import hashlib
import io
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pixyproxy.core.exceptions import StorageUnavailableError, UploadsFullError
from pixyproxy.core.limits import FOLDERS, FolderLimits
from pixyproxy.core.protocols import Chunk
from pixyproxy.core.threads import Threads

T = TypeVar("T")

THREADS = 4
CHUNK = 256 * 1024
"""Bytes of an upload that wait in memory. A thread writes them together: each switch to a thread costs some 100 µs."""
FULL = (errno.ENOSPC, errno.EDQUOT)
DISK_FULL = "The disk of the uploads is full."


class Budget:
    """The bytes that all uploads of the process may take together. Thread-safe: files are closed in any thread."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._used = 0
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """The bytes that are taken now."""
        return self._used

    def take(self, size: int) -> None:
        """Take bytes; `UploadsFullError` if there are not enough."""
        with self._lock:
            if self._used + size > self._size:
                raise UploadsFullError
            self._used += size

    def give_back(self, size: int) -> None:
        """Give bytes back."""
        with self._lock:
            self._used -= size


class SpooledFile(io.BufferedReader):
    """A file without a name. Closing it gives its bytes back to the budget, once."""

    def __init__(self, raw: io.FileIO, budget: Budget) -> None:
        super().__init__(raw, CHUNK)
        self._budget = budget
        self._taken = 0

    def take(self, size: int) -> None:
        """Take bytes of the budget for this file."""
        self._budget.take(size)
        self._taken += size

    def close(self) -> None:
        """Free the file and its bytes."""
        taken, self._taken = self._taken, 0
        self._budget.give_back(taken)
        super().close()


class FolderUpload:
    """`Upload` into a `SpooledFile`."""

    def __init__(self, raw: io.FileIO, *, budget: Budget, threads: Threads) -> None:
        self._raw = raw
        self._file = SpooledFile(raw, budget)
        self._threads = threads
        self._digest = hashlib.sha256()
        self._waiting = bytearray()  # chunks of one byte would each be an object

    async def write(self, chunk: Chunk) -> None:
        """Append bytes."""
        self._file.take(len(chunk))
        self._waiting += chunk
        if len(self._waiting) >= CHUNK:
            await self._flush()

    async def finish(self) -> tuple[SpooledFile, str]:
        """The file, which is read from its start, and the SHA-256 of its bytes."""
        await self._flush()
        self._raw.seek(0)
        return self._file, self._digest.hexdigest()

    def close(self) -> None:
        """Discard the file."""
        self._waiting.clear()
        self._file.close()

    async def _flush(self) -> None:
        chunks, self._waiting = self._waiting, bytearray()

        def append() -> None:
            data = memoryview(chunks)
            self._digest.update(data)
            while data:
                data = data[self._raw.write(data) :]

        await self._threads.run(guarded(append))


class UploadFolder:
    """`UploadSpool` in a folder of this machine, made when it is needed. `budget`: bytes of all uploads at once."""

    def __init__(self, folder: Path, *, budget: int, limits: FolderLimits = FOLDERS) -> None:
        self._folder = folder
        self.budget = Budget(budget)
        self._threads = Threads(
            THREADS, patience=limits.upload_wait, busy=lambda: UploadsFullError("The disk is busy.")
        )

    async def open(self) -> FolderUpload:
        """Begin an upload."""

        def open_file() -> io.FileIO:
            self._folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.mkdir(mode=0o700, exist_ok=True)
            # Linux makes the file without a name (O_TMPFILE). Elsewhere it has one until it is open.
            file: io.FileIO = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
            return file

        raw = await self._threads.run(guarded(open_file))
        return FolderUpload(raw, budget=self.budget, threads=self._threads)


def guarded(work: Callable[[], T]) -> Callable[[], T]:
    """The work; an `OSError` of it becomes one of our exceptions."""

    def run() -> T:
        try:
            return work()
        except OSError as error:
            if error.errno in FULL:
                raise UploadsFullError(DISK_FULL) from error
            raise StorageUnavailableError("The folder of the uploads cannot be used now.") from error

    return run
