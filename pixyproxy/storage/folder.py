"""The bytes in a folder, spread over subfolders by the first characters of their keys."""

import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from pixyproxy.core.exceptions import ObjectNotFoundError, StorageUnavailableError
from pixyproxy.core.threads import Threads
from pixyproxy.storage.keys import checked

T = TypeVar("T")

THREADS = 16
PATIENCE = 3.0
CHUNK = 256 * 1024


@contextmanager
def file_errors() -> Iterator[None]:
    """A missing file is a missing object; whatever else the system says, the folder cannot be used now."""
    try:
        yield
    except FileNotFoundError as error:
        raise ObjectNotFoundError("The folder holds no such object.") from error
    except OSError as error:
        raise StorageUnavailableError("The folder of the images cannot be used now.") from error


def sync_folder(folder: Path) -> None:
    """Make the entries of a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class OpenFile:
    """A file opened for reading; the `StoredObject` of the folder."""

    def __init__(self, file: BinaryIO, *, size_bytes: int, threads: Threads) -> None:
        self._file = file
        self._size_bytes = size_bytes
        self._threads = threads

    @property
    def size_bytes(self) -> int:
        """The object's size in bytes."""
        return self._size_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The bytes, in chunks."""

        def read() -> bytes:
            with file_errors():
                return self._file.read(CHUNK)

        while chunk := await self._threads.run(read):
            yield chunk

    async def aclose(self) -> None:
        """Close the file."""
        self._file.close()


class FolderImageStorage:
    """`ImageStorage` in a folder of this machine, which is made on the first `put`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._threads = Threads(
            THREADS, patience=PATIENCE, busy=lambda: StorageUnavailableError("The storage is busy.")
        )

    def path(self, key: str) -> Path:
        """Where the object of a key lies: 65,536 subfolders keep each one small."""
        checked(key)
        return self._folder / key[:2] / key[2:4] / key

    async def put(self, key: str, data: bytes, *, content_type: str) -> None:  # noqa: ARG002 -- the name tells it
        """Store the bytes whole or not at all: written beside, made durable, then renamed."""
        path = self.path(key)

        def write() -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{key}.{secrets.token_hex(8)}")
            try:
                with temporary.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            for folder in (path.parent, path.parent.parent, self._folder):
                sync_folder(folder)

        await self._run(write)

    async def open(self, key: str) -> OpenFile:
        """Open the object; `ObjectNotFoundError` if there is none."""
        path = self.path(key)

        def opened() -> OpenFile:
            file = path.open("rb")
            return OpenFile(file, size_bytes=os.fstat(file.fileno()).st_size, threads=self._threads)

        return await self._run(opened)

    async def head(self, key: str) -> int:
        """The object's size in bytes; `ObjectNotFoundError` if there is none."""
        path = self.path(key)
        return await self._run(lambda: path.stat().st_size)

    async def delete(self, key: str) -> None:
        """Remove the object; nothing happens if there is none."""
        path = self.path(key)
        await self._run(lambda: path.unlink(missing_ok=True))

    async def probe(self) -> None:
        """Return if the folder can be written."""

        def writable() -> None:
            self._folder.mkdir(parents=True, exist_ok=True)
            probe = self._folder / f".probe-{secrets.token_hex(8)}"
            probe.touch(exist_ok=False)
            probe.unlink()

        await self._run(writable)

    async def _run(self, work: Callable[[], T]) -> T:
        def guarded() -> T:
            with file_errors():
                return work()

        return await self._threads.run(guarded)
