"""The last resort for pictures that were paid for: a folder on this machine.

It is used when storage and database are unavailable and the process must end.
"""

import errno
import logging
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from pixyproxy.core.exceptions import StorageUnavailableError
from pixyproxy.core.limits import FOLDERS, FolderLimits
from pixyproxy.core.protocols import ParkedFile
from pixyproxy.core.threads import Threads
from pixyproxy.storage.files import children, file_errors, sync_folder, write_whole

T = TypeVar("T")

NAME = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(?:([0-9])|([1-9]|10)-of-([1-9]|10))")
"""`{generation}.{number}-of-{count}`, counted from 1; older versions wrote `{generation}.{index}`, counted from 0."""

FULL = (errno.ENOSPC, errno.EDQUOT)

logger = logging.getLogger(__name__)


class LocalParkingFolder:
    """`ParkingFolder` in a folder of this machine, made when it is needed.

    `probe` reserves room with a file of `limits.reserve` bytes. When the disk is full, `add` frees it for pictures.
    """

    def __init__(self, folder: Path, *, limits: FolderLimits = FOLDERS) -> None:
        self._folder = folder
        self._reserve = limits.reserve
        self._ballast = folder / ".reserve"
        self._threads = Threads(
            2, patience=limits.park_wait, busy=lambda: StorageUnavailableError("The parking folder is busy.")
        )

    def _path(self, file: ParkedFile) -> Path:
        number = f"{file.index}" if file.count is None else f"{file.index + 1}-of-{file.count}"
        return self._folder / f"{file.generation}.{number}"

    async def add(self, file: ParkedFile, data: bytes) -> str:
        """Write the picture durably; returns its path."""
        path = self._path(file)

        def write() -> None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                write_whole(path, data)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                self._ballast.unlink(missing_ok=True)
                logger.warning("the disk is full: its reserve for parking is used, bytes free: %d", self._free_bytes())
                self._write_last(path, data)
            sync_folder(self._folder.parent)

        await self._run(write)
        return str(path)

    def _write_last(self, path: Path, data: bytes) -> None:
        try:
            write_whole(path, data)
        except OSError as error:
            raise StorageUnavailableError(
                f"The disk of {self._folder} has no room for a picture of {len(data)} bytes: "
                f"{self._free_bytes()} bytes are free."
            ) from error

    def _free_bytes(self) -> int:
        room = os.statvfs(self._folder)
        return room.f_bavail * room.f_frsize

    async def probe(self) -> bool:
        """Reserve room for some pictures; whether the disk has that room.

        `StorageUnavailableError` if nothing can be written.
        """

        def write() -> bool:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = self._folder / f".probe-{secrets.token_hex(8)}"
            write_whole(probe, bytes(4096))
            probe.unlink()
            return self._ballast.exists() or self._make_ballast()

        return await self._run(write)

    def _make_ballast(self) -> bool:
        partial = self._folder / f".reserve-{secrets.token_hex(8)}"  # another process may start at the same time
        try:
            with partial.open("xb") as file:
                os.posix_fallocate(file.fileno(), 0, self._reserve)
            partial.replace(self._ballast)
        except OSError:
            return False
        finally:
            partial.unlink(missing_ok=True)
        return True

    async def list(self) -> tuple[ParkedFile, ...]:
        """Every picture in the folder."""

        def read_names() -> tuple[ParkedFile, ...]:
            names = [NAME.fullmatch(path.name) for path in children(self._folder)]
            return tuple(file_of(match) for match in names if match)

        return await self._run(read_names)

    async def get(self, file: ParkedFile) -> bytes:
        """The picture; `ObjectNotFoundError` if there is none."""
        return await self._run(self._path(file).read_bytes, missing=True)

    async def delete(self, file: ParkedFile) -> None:
        """Remove the picture; nothing happens if there is none."""
        await self._run(lambda: self._path(file).unlink(missing_ok=True))

    async def _run(self, work: Callable[[], T], *, missing: bool = False) -> T:
        def guarded() -> T:
            with file_errors(missing=missing):
                return work()

        return await self._threads.run(guarded)


def file_of(name: re.Match[str]) -> ParkedFile:
    """The picture that a file's name stands for."""
    generation, index, number, count = name.groups()
    if count is None:
        return ParkedFile(UUID(generation), index=int(index), count=None)
    return ParkedFile(UUID(generation), index=int(number) - 1, count=int(count))
