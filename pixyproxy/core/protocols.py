"""What the services need from the outside; the adapters fulfil it, and one contract suite holds each."""

from collections.abc import AsyncIterator
from typing import Any, Protocol
from uuid import UUID

from pixyproxy.core.models import ApiKey, Drawing, Generation, GenerationRequest, Image, ImagePage


class Database(Protocol):
    """Whether the records can be reached."""

    async def probe(self) -> None:
        """Return if the database answers now; raise `DatabaseUnavailableError` or `DatabaseError` if not."""


class ImageRepository(Protocol):
    """The records of images. Deleted images are never answered."""

    async def get(self, guid: UUID) -> Image:
        """The image with this guid; `ImageNotFoundError` if there is none."""

    async def search(self, *, limit: int, cursor: str | None = None, q: str | None = None) -> ImagePage:
        """Images whose prompt contains `q` (any if None), newest first, from `cursor` on, at most `limit`.

        Raises `InvalidRequestError` for a cursor that no page ever carried.
        """


class GenerationRepository(Protocol):
    """The records of generations."""

    async def add(self, generation: Generation) -> None:
        """Record a generation, durably; `ConflictError` if its guid exists."""

    async def get(self, guid: UUID) -> Generation:
        """The generation with this guid; `NotFoundError` if there is none."""

    async def succeed(self, generation: Generation, *, images: tuple[Image, ...], drawing: Drawing) -> None:
        """Record the images and the success in one transaction; `ConflictError` if it no longer runs."""

    async def fail(self, generation: Generation, *, error: dict[str, Any]) -> None:
        """Record the failure; `ConflictError` if the generation no longer runs."""


class ApiKeyRepository(Protocol):
    """The records of API keys, found by the SHA-256 of the key."""

    async def add(self, *, name: str, prefix: str, sha256: str) -> ApiKey:
        """Record a key; `ConflictError` if any key, revoked or not, has this name or this digest."""

    async def get(self, *, sha256: str) -> ApiKey:
        """The key with this digest, revoked or not; `NotFoundError` if there is none."""

    async def list(self) -> tuple[ApiKey, ...]:
        """All keys, oldest first."""

    async def revoke(self, *, name: str) -> None:
        """End the key with this name; `NotFoundError` if no unrevoked key has it."""


class StoredObject(Protocol):
    """An object opened for reading: its size is known and its bytes are on the way."""

    @property
    def size_bytes(self) -> int:
        """The object's size in bytes."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The bytes, in chunks; `StorageUnavailableError` if they break off."""

    async def aclose(self) -> None:
        """Give back what reading holds; safe to call twice."""


class ImageStorage(Protocol):
    """The place of the bytes. Keys are `{guid}.{png|webp|jpg}`.

    Any method raises `StorageUnavailableError` when the storage does not answer or refuses us for now, and
    `StorageError` when it refuses in a way that waiting does not mend.
    """

    async def put(self, key: str, data: bytes, *, content_type: str) -> None:
        """Store the bytes under the key, whole or not at all. The same key and bytes again change nothing."""

    async def open(self, key: str) -> StoredObject:
        """Open the object; `ObjectNotFoundError` if there is none, known before the first byte."""

    async def head(self, key: str) -> int:
        """The object's size in bytes; `ObjectNotFoundError` if there is none."""

    async def delete(self, key: str) -> None:
        """Remove the object; nothing happens if there is none."""

    async def probe(self) -> None:
        """Return if the storage answers, within seconds and with one attempt."""


class ImageGenerator(Protocol):
    """The upstream."""

    async def draw(self, request: GenerationRequest) -> Drawing:
        """Have the request drawn, once: one request goes out, whatever fails.

        Raises `UpstreamRefusedError`, `UpstreamUnavailableError` (both: nothing was billed),
        `UpstreamError` or one of its kinds, `UpstreamDeadlineError`.
        """
