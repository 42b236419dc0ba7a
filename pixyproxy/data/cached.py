"""Keeps records of images and API keys in memory for a short while: most public reads are of few images."""

import time
from collections.abc import Callable, Collection, Iterable
from uuid import UUID

from cachetools import LRUCache

from pixyproxy.core.exceptions import DatabaseUnavailableError, ImageNotFoundError, NotFoundError
from pixyproxy.core.images import DeletedImage, DeletedImagePage, Image, ImagePage
from pixyproxy.core.keys import ApiKey
from pixyproxy.core.limits import DATABASE
from pixyproxy.core.protocols import ApiKeyRepository, ImageRepository
from pixyproxy.core.threads import Gate
from pixyproxy.data.lookups import Memory

SIZE = 20 * 1024 * 1024
"""Bytes of memory for the records of images, as `size_of` estimates them."""
KEYS = 10_000
"""API keys whose records are remembered, at most: 10 MB."""
KEY_TTL = 1.0
"""Seconds for which the record of an API key is valid: the longest that another process still accepts a revoked one."""

# Concurrent lookups of guids, and of keys, that this process has never found. They share the readers' connections (see
# `DatabaseLimits`) with the other reads, and can never take all of them.
UNSEEN_IMAGES = 4
UNSEEN_KEYS = 2


def size_of(image: Image) -> int:
    """Bytes that a record takes at most: its prompt, each source, and all the rest."""
    return 2048 + 4 * len(image.prompt) + 2048 * len(image.sources)


def too_many(what: str) -> Callable[[], DatabaseUnavailableError]:
    """The error of a lookup that waited too long for its turn."""
    return lambda: DatabaseUnavailableError(f"Too many requests with {what} that this process has not seen before.")


class CachedImageRepository:
    """An `ImageRepository` in front of another one. A record is valid for `ttl` seconds after its read began.

    A deletion through this repository takes effect at once, one by another process within `ttl` seconds. A guid that
    was not found is remembered for a second at most, and forgotten at once when `mark_existing` or a page of `search`
    names it.
    Lookups of guids that were never found here wait only for each other: `DatabaseUnavailableError` after `wait`
    seconds.
    """

    def __init__(
        self,
        images: ImageRepository,
        *,
        ttl: float,
        wait: float = DATABASE.read_wait,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._images = images
        self._memory: Memory[UUID, Image] = Memory(
            images.get,
            absent=ImageNotFoundError,
            gate=Gate(UNSEEN_IMAGES, patience=wait, busy=too_many("guids")),
            ttl=ttl,
            capacity=SIZE,
            size_of=size_of,
            clock=clock,
        )

    async def get(self, guid: UUID, *, fresh: bool = False) -> Image:
        """The image with this guid; `ImageNotFoundError` if there is none.

        `fresh`: the cached record is dropped first.
        """
        if fresh:
            self._memory.forget(guid)
        return await self._memory.get(guid)

    def mark_existing(self, guids: Iterable[UUID]) -> None:
        """These images are recorded. An earlier lookup that did not find them no longer counts."""
        self._memory.mark_existing(guids)

    async def search(
        self, *, limit: int, cursor: str | None = None, q: str | None = None, api_key_id: int | None = None
    ) -> ImagePage:
        """A page of the list, as it is recorded now."""
        page = await self._images.search(limit=limit, cursor=cursor, q=q, api_key_id=api_key_id)
        self.mark_existing(image.guid for image in page.images)
        return page

    async def mark_deleted(self, guid: UUID) -> DeletedImage:
        """Hide the image from every reader; those of this process at once."""
        try:
            return await self._images.mark_deleted(guid)
        finally:
            self._memory.forget(guid)

    async def add_thumbhash(self, guid: UUID, thumbhash: bytes) -> None:
        """Record the thumbhash; this process knows it at once, others when their records run out."""
        try:
            await self._images.add_thumbhash(guid, thumbhash)
        finally:
            self._memory.forget(guid)

    async def list_deleted(self, *, limit: int, cursor: str | None = None) -> DeletedImagePage:
        """Images that are marked as deleted and still recorded."""
        return await self._images.list_deleted(limit=limit, cursor=cursor)

    async def delete(self, guid: UUID) -> None:
        """Remove the record of an image that is marked as deleted."""
        await self._images.delete(guid)

    async def sizes(self, *, after: str, limit: int) -> dict[str, int]:
        """The sizes of all recorded images by key, as they are recorded now."""
        return await self._images.sizes(after=after, limit=limit)

    async def has(self, filename: str, *, marked: bool = True) -> bool:
        """Whether an image with this key is recorded now; `marked`: also one that is marked as deleted."""
        return await self._images.has(filename, marked=marked)


class CachedApiKeyRepository:
    """An `ApiKeyRepository` in front of another one. A record is valid for `ttl` seconds after its read began.

    What is added or revoked through this repository is known at once, what another process adds or revokes within `ttl`
    seconds. Lookups of keys that were never found here wait only for each other: `DatabaseUnavailableError` after
    `wait` seconds.
    """

    def __init__(
        self,
        keys: ApiKeyRepository,
        *,
        ttl: float = KEY_TTL,
        wait: float = DATABASE.read_wait,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._memory: Memory[str, ApiKey] = Memory(
            lambda sha256: keys.get(sha256=sha256),
            absent=lambda: NotFoundError("No API key has this digest."),
            gate=Gate(UNSEEN_KEYS, patience=wait, busy=too_many("keys")),
            ttl=ttl,
            capacity=KEYS,
            size_of=lambda _: 1,
            clock=clock,
        )
        self._names: LRUCache[int, str] = LRUCache(KEYS)

    async def add(self, *, name: str, prefix: str, sha256: str) -> ApiKey:
        """Record a key; `ConflictError` if any key, revoked or not, has this name or this digest."""
        try:
            return await self._keys.add(name=name, prefix=prefix, sha256=sha256)
        finally:
            self._memory.forget(sha256)

    async def get(self, *, sha256: str) -> ApiKey:
        """The key with this digest, revoked or not; `NotFoundError` if there is none."""
        key = await self._memory.get(sha256)
        self._names[key.id] = key.name
        return key

    async def list(self) -> tuple[ApiKey, ...]:
        """All keys, oldest first, as they are recorded now."""
        return await self._keys.list()

    async def names(self, ids: Collection[int]) -> dict[int, str]:
        """The names of the keys with these ids. A name never changes, so each is looked up once."""
        known = {each: name for each in ids if (name := self._names.get(each)) is not None}
        missing = [each for each in ids if each not in known]
        if missing:
            found = await self._keys.names(missing)
            self._names.update(found)
            known |= found
        return known

    async def find(self, *, name: str) -> ApiKey:
        """The key with this name, as it is recorded now; `NotFoundError` if there is none."""
        return await self._keys.find(name=name)

    async def revoke(self, *, name: str) -> None:
        """End the key with this name; `NotFoundError` if no unrevoked key has it."""
        try:
            await self._keys.revoke(name=name)
        finally:
            self._memory.forget_all()  # the digest of the name is not known here
