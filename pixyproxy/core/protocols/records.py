"""The records: what the database keeps of images and generations."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from pixyproxy.core.generations import Drawing, Generation, GenerationPage, GenerationState, Origin
from pixyproxy.core.images import DeletedImage, DeletedImagePage, Image, ImagePage
from pixyproxy.core.keys import NO_LIMITS, KeyLimits
from pixyproxy.core.money import Cost


class Database(Protocol):
    """Whether the records can be reached."""

    async def probe(self) -> None:
        """Return if the database answers now; raise `DatabaseUnavailableError` or `DatabaseError` if not."""


class InstanceRepository(Protocol):
    """The identity of the database."""

    async def get(self) -> UUID:
        """The id of this database, made with its schema; its copies have the same."""


class ImageRepository(Protocol):
    """The records of images. Deleted images are never returned."""

    async def get(self, guid: UUID, *, fresh: bool = False) -> Image:
        """The image with this guid; `ImageNotFoundError` if there is none.

        `fresh`: read the record now, past every cache.
        """

    def mark_existing(self, guids: Iterable[UUID]) -> None:
        """These images are recorded. An earlier lookup that did not find them no longer counts."""

    async def search(
        self, *, limit: int, cursor: str | None = None, q: str | None = None, api_key_id: int | None = None
    ) -> ImagePage:
        """Images of this API key (of any if None) that `q` finds (see `Search.parse`), newest first, from `cursor` on.

        At most `limit`; with `q` a page may have fewer, or none, and still a next one: see `ImageSearch.page`. If the
        image at which a page ended is gone, those of its very moment are answered again.
        Raises `InvalidRequestError` for a cursor that no page ever carried, `SearchTooSlowError` if `q` takes too long.
        """

    async def mark_deleted(self, guid: UUID) -> DeletedImage:
        """Hide the image from every reader, durably; `ImageNotFoundError` if there is none, or no longer.

        With the last image of a generation its prompt is removed from the generation too. Works for records that this
        version cannot read.
        """

    async def add_thumbhash(self, guid: UUID, thumbhash: bytes) -> None:
        """Record the thumbhash, unless the image has one; `ImageNotFoundError` if there is no such image now.

        Looks past every cache.
        """

    async def list_deleted(self, *, limit: int, cursor: str | None = None) -> DeletedImagePage:
        """Images, readable or not, that are marked as deleted and still recorded, from `cursor` on, at most `limit`.

        Images that are removed between two pages move no other from one page to another.
        """

    async def delete(self, guid: UUID) -> None:
        """Remove the record of an image that is marked as deleted; nothing happens if there is none."""

    async def sizes(self, *, after: str, limit: int) -> dict[str, int]:
        """The sizes in bytes of all recorded images by key, in the order of the keys, behind `after`.

        Images marked as deleted are included.
        """

    async def has(self, filename: str, *, marked: bool = True) -> bool:
        """Whether an image with this key is recorded, readable or not; `marked`: also one that is marked as deleted."""


class GenerationRepository(Protocol):
    """The records of generations. Leases are in seconds, by the database's clock."""

    async def add(
        self,
        generation: Generation,
        *,
        lease: float,
        instead_of: UUID | None = None,
        limits: KeyLimits = NO_LIMITS,
    ) -> None:
        """Record a running generation, durably; `ConflictError` if its guid, or its Idempotency-Key, exists.

        It weighs the estimate of its quote from now on: see `BudgetRepository`. Nothing is recorded if it may not
        begin: `BudgetExhaustedError`, `PriceUnknownError`, and `RateLimitedError` for the `limits` of its key.

        `instead_of`: a failed generation that gives its Idempotency-Key to this one in the same transaction;
        `ConflictError` if it no longer has it.
        """

    async def get(self, guid: UUID) -> Generation:
        """The generation with this guid, and its images; `GenerationNotFoundError` if there is none."""

    async def find(self, *, api_key_id: int, idempotency_key: str) -> Generation | None:
        """The generation that this caller asked for with this key, and its images."""

    async def list(
        self,
        *,
        limit: int,
        cursor: str | None = None,
        state: GenerationState | None = None,
        api_key_id: int | None = None,
    ) -> GenerationPage:
        """Generations in this state, and of this API key (any if None), with their images, newest first, from `cursor`.

        Raises `InvalidRequestError` for a cursor that no page ever carried.
        """

    async def origins(self, images: Collection[UUID]) -> dict[UUID, Origin]:
        """Where these images come from, by their guids. An image that is no longer recorded is left out."""

    async def succeed(
        self,
        generation: Generation,
        *,
        images: tuple[Image, ...],
        drawing: Drawing | None = None,
        cost: Cost | None = None,
        parked: bool = True,
    ) -> bool:
        """Record the images, the success and its cost, and remove what was parked, in one transaction.

        `drawing` has the usage and the upstream's request id, where they are known and not yet recorded.
        Returns whether this call recorded an image: a generation that has succeeded already gets only the images that
        it lacks, and never one that was deleted. `ConflictError` if it failed, other than as interrupted, or if the
        images are fewer than it expects and no `drawing` shows that there are no more. `parked`: False if it is certain
        that none of its pictures were parked.
        """

    async def expect(self, guid: UUID, *, images: int) -> None:
        """Record how many images a running generation expects, now that they are drawn; nothing if it is settled."""

    async def fail(self, generation: Generation, *, error: dict[str, Any], claimed: datetime | None = None) -> None:
        """Record the failure; `ConflictError` if the generation no longer runs, or its lease is not the claimed one.

        Its cost is what the `cost` of the error says: nothing, or else the estimate of its quote.
        """

    async def renew(self, guids: Collection[UUID], *, lease: float) -> None:
        """Renew the leases of running generations: `lease` seconds from now. 0 ends them."""

    async def expired(self, *, limit: int, cursor: str | None = None) -> GenerationPage:
        """Running generations whose lease has run out, oldest lease first. From `cursor` on, without their images."""

    async def interrupted(self, *, within: float, limit: int, cursor: str | None = None) -> GenerationPage:
        """Generations failed as interrupted in the last `within` seconds, by the database's clock, newest first.

        From `cursor` on, without their images.
        """

    async def claim(self, guid: UUID, *, lease: float) -> datetime | None:
        """Take over a running generation whose lease has run out.

        The end of the new lease; None if another replica has it.

        Of concurrent claims exactly one succeeds. The owner, if it is alive, may still renew its lease: see `fail`. The
        generation is abandoned from here on: see `AdoptionRepository`.
        """

    async def unsettled(self) -> dict[UUID, GenerationState]:
        """The states of all that run or were failed as interrupted: their objects may still be recorded."""


class ParkedImageRepository(Protocol):
    """Pictures that wait in the database while the storage is unavailable."""

    async def add(self, generation: Generation, drawing: Drawing) -> None:
        """Park all pictures, record usage and request id, and end the lease, in one transaction.

        `GenerationRepository.succeed` removes them. `ConflictError` if the generation is settled, like `succeed`.
        """

    async def get(self, generation: UUID) -> tuple[bytes, ...]:
        """The parked pictures of a generation, in their order; none if there are none."""
