"""The bytes of images: their storage, and the folder for pictures that neither storage nor database takes."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from pixyproxy.core.images import ObjectFacts

Chunk = bytes | memoryview


class StoredObject(Protocol):
    """An object opened for reading: its size is known and its bytes are on the way."""

    @property
    def size_bytes(self) -> int:
        """The whole object's size in bytes."""

    def __aiter__(self) -> AsyncIterator[Chunk]:
        """The bytes, or those of the part, in chunks; `StorageUnavailableError` if they break off."""

    async def aclose(self) -> None:
        """Release what reading holds; safe to call twice."""


class ImageStorage(Protocol):
    """The place of the bytes. Keys are `{guid}.{png|webp|jpg}`, and `{guid}.{400|800}.webp` for thumbnails.

    Any method raises `StorageUnavailableError` when the storage does not answer or refuses us for now, and
    `StorageError` when it refuses in a way that waiting does not fix.
    """

    async def put(self, key: str, data: bytes, *, content_type: str, sha256: str | None = None) -> None:
        """Store the bytes under the key, whole or not at all. The same key and bytes again change nothing.

        `sha256`: that of the bytes in hexadecimal digits, if it is known already.
        """

    async def open(self, key: str, *, part: range | None = None) -> StoredObject:
        """Open the object, or a part of it: a range of byte positions.

        `ObjectNotFoundError` if there is none, or none that has the part, known before the first byte.
        """

    async def head(self, key: str) -> int:
        """The object's size in bytes; `ObjectNotFoundError` if there is none."""

    async def list(self, *, after: str, limit: int) -> tuple[ObjectFacts, ...]:
        """Objects with a key of our shape behind `after`, in the order of the keys.

        Fewer than `limit`: the end is reached.
        """

    async def delete(self, key: str) -> None:
        """Remove the object; nothing happens if there is none."""

    async def get_instance(self) -> UUID | None:
        """The id of the database that the objects belong to; None if none is recorded yet."""

    async def add_instance(self, instance: UUID) -> None:
        """Record the id durably, unless there is one already: it is never overwritten."""

    async def probe(self) -> None:
        """Return if the storage answers, and its objects can be read, within seconds and with one attempt."""

    async def aclose(self) -> None:
        """Close its connections. Nothing is called afterwards."""


@dataclass(frozen=True)
class ParkedFile:
    """The name of a parked picture: number `index`, from 0, of the `count` pictures of a generation.

    `count` None: an older version wrote it and did not record the count.
    """

    generation: UUID
    index: int
    count: int | None


class ParkingFolder(Protocol):
    """The last place for a picture that was paid for: storage and database are unavailable and the process must end."""

    async def add(self, file: ParkedFile, data: bytes) -> str:
        """Write the picture durably; returns its path. `StorageUnavailableError` if even that fails."""

    async def probe(self) -> bool:
        """Whether room for some pictures is reserved; `StorageUnavailableError` if it takes no picture."""

    async def list(self) -> tuple[ParkedFile, ...]:
        """Every picture in the folder."""

    async def get(self, file: ParkedFile) -> bytes:
        """The picture; `ObjectNotFoundError` if there is none."""

    async def delete(self, file: ParkedFile) -> None:
        """Remove the picture; nothing happens if there is none."""
