"""The last place for pictures that were paid for: a folder, when storage and database are away and the process ends."""

import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from pixyproxy.core.exceptions import StorageUnavailableError
from pixyproxy.core.threads import Threads
from pixyproxy.storage.folder import children, file_errors, sync_folder, write_whole

T = TypeVar("T")

NAME = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.([0-9])")


class LocalParkingFolder:
    """`ParkingFolder` in a folder of this machine, made when it is needed. A file is `{generation}.{index}`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._threads = Threads(2, patience=60, busy=lambda: StorageUnavailableError("The parking folder is busy."))

    def _path(self, generation: UUID, index: int) -> Path:
        return self._folder / f"{generation}.{index}"

    async def add(self, generation: UUID, index: int, data: bytes) -> str:
        """Keep the picture durably; where it lies."""
        path = self._path(generation, index)

        def write() -> None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, data)
            sync_folder(self._folder.parent)

        await self._run(write)
        return str(path)

    async def probe(self) -> None:
        """Return if it takes pictures; `StorageUnavailableError` if not."""

        def write() -> None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = self._folder / f".probe-{secrets.token_hex(8)}"
            write_whole(probe, bytes(4096))
            probe.unlink()

        await self._run(write)

    async def list(self) -> tuple[tuple[UUID, int], ...]:
        """The generation and the index of every picture that lies there."""

        def found() -> tuple[tuple[UUID, int], ...]:
            names = [NAME.fullmatch(path.name) for path in children(self._folder)]
            return tuple((UUID(match[1]), int(match[2])) for match in names if match)

        return await self._run(found)

    async def get(self, generation: UUID, index: int) -> bytes:
        """The picture; `ObjectNotFoundError` if there is none."""
        return await self._run(self._path(generation, index).read_bytes, missing=True)

    async def delete(self, generation: UUID, index: int) -> None:
        """Remove the picture; nothing happens if there is none."""
        await self._run(lambda: self._path(generation, index).unlink(missing_ok=True))

    async def _run(self, work: Callable[[], T], *, missing: bool = False) -> T:
        def guarded() -> T:
            with file_errors(missing=missing):
                return work()

        return await self._threads.run(guarded)
