"""The bytes in a folder, spread over subfolders by the first characters of their keys."""

import contextlib
import os
import secrets
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, TypeVar
from uuid import UUID

from pixyproxy.core.exceptions import ObjectNotFoundError, StorageUnavailableError
from pixyproxy.core.images import ObjectFacts
from pixyproxy.core.limits import FOLDERS, FolderLimits
from pixyproxy.core.threads import Threads
from pixyproxy.storage.files import children, file_errors, sync_folder, write_new, write_whole
from pixyproxy.storage.instance import NAME, parse_instance
from pixyproxy.storage.keys import OBJECT_KEY, checked_object_key

T = TypeVar("T")

THREADS = 16
CHUNK = 256 * 1024
MINIMUM_ROOM = 64 * 1024 * 1024


class OpenFile:
    """A file that is read from its first requested byte on; the `StoredObject` of the folder."""

    def __init__(self, file: BinaryIO, *, size_bytes: int, wanted: int, threads: Threads) -> None:
        self._file = file
        self._size_bytes = size_bytes
        self._wanted = wanted
        self._threads = threads

    @property
    def size_bytes(self) -> int:
        """The whole object's size in bytes."""
        return self._size_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The bytes, or those of the part, in chunks; `StorageUnavailableError` if the file ends before."""
        missing = self._wanted

        def read() -> bytes:
            with file_errors():
                return self._file.read(min(CHUNK, missing))

        while missing:
            chunk = await self._threads.run(read)
            if not chunk:
                raise StorageUnavailableError("A file in the folder of the images has become shorter.")
            missing -= len(chunk)
            yield chunk

    async def aclose(self) -> None:
        """Close the file."""
        self._file.close()


class FolderImageStorage:
    """`ImageStorage` in a folder of this machine.

    A missing folder counts as unavailable: it may be an unmounted volume. Only `make` creates it.
    """

    def __init__(self, folder: Path, *, limits: FolderLimits = FOLDERS) -> None:
        self._folder = folder
        self._limits = limits
        self._reading, self._writing, self._probing = (
            Threads(size, patience=limits.read_wait, busy=lambda: StorageUnavailableError("The storage is busy."))
            for size in (THREADS, THREADS, 1)
        )

    def path(self, key: str) -> Path:
        """The path of a key's object. 65,536 subfolders keep each folder small."""
        checked_object_key(key)
        return self._folder / key[:2] / key[2:4] / key

    async def put(
        self,
        key: str,
        data: bytes,
        *,
        content_type: str,  # noqa: ARG002 -- the name has the extension
        sha256: str | None = None,  # noqa: ARG002
    ) -> None:
        """Store the bytes whole or not at all."""
        path = self.path(key)

        def write() -> None:
            self._require_folder()
            write_whole(path, data)
            for folder in (path.parent.parent, self._folder, self._folder.parent):
                sync_folder(folder)

        await self._run(write, self._writing, patience=self._limits.put_wait)

    async def open(self, key: str, *, part: range | None = None) -> OpenFile:
        """Open the object, or a part of it; `ObjectNotFoundError` if there is none, or none that has the part."""
        path = self.path(key)

        def open_file() -> OpenFile:
            file = path.open("rb")
            size = os.fstat(file.fileno()).st_size
            wanted = range(size) if part is None else part
            if wanted.stop > size:
                file.close()
                raise ObjectNotFoundError("The folder holds no such part of an object.")
            file.seek(wanted.start)
            return OpenFile(file, size_bytes=size, wanted=len(wanted), threads=self._reading)

        return await self._run(open_file, self._reading, missing=True)

    async def head(self, key: str) -> int:
        """The object's size in bytes; `ObjectNotFoundError` if there is none."""
        path = self.path(key)
        return await self._run(lambda: path.stat().st_size, self._reading, missing=True)

    async def list(self, *, after: str, limit: int) -> tuple[ObjectFacts, ...]:
        """Objects in the order of their keys, from behind `after`; files that are not our objects are skipped."""

        def found() -> tuple[ObjectFacts, ...]:
            if self._folder.exists() and not self._folder.is_dir():
                raise StorageUnavailableError("The folder of the images is no folder.")
            objects = []
            for path in self._keys_after(after):
                try:
                    facts = path.stat()
                except FileNotFoundError:  # deleted since it was listed
                    continue
                if not stat.S_ISREG(facts.st_mode):
                    continue
                modified = datetime.fromtimestamp(facts.st_mtime, UTC)
                objects.append(ObjectFacts(key=path.name, size_bytes=facts.st_size, modified_at=modified))
                if len(objects) == limit:
                    break
            return tuple(objects)

        return await self._run(found, self._reading)

    def _keys_after(self, after: str) -> Iterator[Path]:
        for first in children(self._folder):
            if first.name < after[:2]:
                continue
            for second in children(first):
                if first.name + second.name < after[:4]:
                    continue
                for path in children(second):
                    if path.name > after and OBJECT_KEY.fullmatch(path.name) and path == self.path(path.name):
                        yield path

    async def delete(self, key: str) -> None:
        """Remove the object; nothing happens if there is none."""
        path = self.path(key)

        def remove() -> None:
            path.unlink(missing_ok=True)
            if path.parent.exists():
                sync_folder(path.parent)

        await self._run(remove, self._writing, missing=True)

    async def get_instance(self) -> UUID | None:
        """The id of the database that the objects belong to; None if none is recorded yet."""

        def read() -> UUID | None:
            try:
                return parse_instance((self._folder / NAME).read_bytes())
            except FileNotFoundError:
                return None

        return await self._run(read, self._probing)

    async def add_instance(self, instance: UUID) -> None:
        """Record the id, unless there is one already."""

        def write() -> None:
            self._require_folder()
            with contextlib.suppress(FileExistsError):
                write_new(self._folder / NAME, f"{instance}\n".encode())

        await self._run(write, self._probing)

    async def aclose(self) -> None:
        """Nothing is open."""

    async def probe(self) -> None:
        """Return if the folder takes bytes, and has room for the largest picture."""

        def writable() -> None:
            self._require_folder()
            room = os.statvfs(self._folder)
            if room.f_bavail * room.f_frsize < MINIMUM_ROOM:
                raise StorageUnavailableError(
                    f"The disk of the images has less than {MINIMUM_ROOM // (1024 * 1024)} MiB left."
                )
            probe = self._folder / f".probe-{secrets.token_hex(8)}"
            try:
                with probe.open("xb") as file:
                    file.write(bytes(4096))
                    file.flush()
                    os.fsync(file.fileno())
            finally:
                probe.unlink(missing_ok=True)

        await self._run(writable, self._probing)

    async def make(self) -> None:
        """Create the folder, for a service that has no image yet."""
        await self._run(lambda: self._folder.mkdir(parents=True, exist_ok=True), self._probing)

    def _require_folder(self) -> None:
        if not self._folder.is_dir():
            raise StorageUnavailableError("The folder of the images is not there.")

    async def _run(
        self, work: Callable[[], T], threads: Threads, *, missing: bool = False, patience: float | None = None
    ) -> T:
        def guarded() -> T:
            with file_errors(missing=missing):
                if missing:
                    self._require_folder()
                return work()

        return await threads.run(guarded, patience=patience)
