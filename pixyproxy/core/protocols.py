"""What the services need from the outside; the adapters fulfil it, and one contract suite holds each."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, Protocol
from uuid import UUID

from pixyproxy.core.generations import (
    Drawing,
    Generation,
    GenerationPage,
    GenerationRequest,
    GenerationState,
    PartialImage,
)
from pixyproxy.core.images import DeletedImage, Image, ImagePage, ObjectFacts
from pixyproxy.core.inputs import InputFile
from pixyproxy.core.keys import ApiKey


class Database(Protocol):
    """Whether the records can be reached."""

    async def probe(self) -> None:
        """Return if the database answers now; raise `DatabaseUnavailableError` or `DatabaseError` if not."""


class InstanceRepository(Protocol):
    """Which database this is."""

    async def get(self) -> UUID:
        """The id of this database, made with its schema; its copies have the same."""


class ImageRepository(Protocol):
    """The records of images. Deleted images are never answered."""

    async def get(self, guid: UUID, *, fresh: bool = False) -> Image:
        """The image with this guid; `ImageNotFoundError` if there is none.

        `fresh`: as it is recorded now, whatever is remembered.
        """

    def note(self, guids: Iterable[UUID]) -> None:
        """These images are recorded. An earlier lookup that did not find them no longer counts."""

    async def search(self, *, limit: int, cursor: str | None = None, q: str | None = None) -> ImagePage:
        """Images whose prompt contains `q` (any if None), newest first, from `cursor` on, at most `limit`.

        Raises `InvalidRequestError` for a cursor that no page ever carried, `SearchTooSlowError` if `q` takes too long.
        """

    async def mark_deleted(self, guid: UUID) -> DeletedImage:
        """Hide the image from every reader, durably; `ImageNotFoundError` if there is none, or no longer.

        With the last image of a generation its prompt is removed from the generation too. Works for records that this
        version cannot read.
        """

    async def list_deleted(self, *, limit: int) -> tuple[DeletedImage, ...]:
        """Images, readable or not, that are marked as deleted and still recorded, at most `limit`."""

    async def delete(self, guid: UUID) -> None:
        """Remove the record of an image that is marked as deleted; nothing happens if there is none."""

    async def sizes(self, *, after: str, limit: int) -> dict[str, int]:
        """The sizes in bytes of all recorded images by key, in the order of the keys, from behind `after`.

        The marked ones are included.
        """

    async def has(self, filename: str, *, marked: bool = True) -> bool:
        """Whether an image with this key is recorded, readable or not; `marked`: also one that is marked as deleted."""


class GenerationRepository(Protocol):
    """The records of generations. Leases are in seconds, by the database's clock."""

    async def add(self, generation: Generation, *, lease: float, instead_of: UUID | None = None) -> None:
        """Record a running generation, durably; `ConflictError` if its guid, or its Idempotency-Key, exists.

        `instead_of`: a failed generation that gives its Idempotency-Key to this one in the same transaction;
        `ConflictError` if it no longer has it.
        """

    async def get(self, guid: UUID) -> Generation:
        """The generation with this guid, and its images; `GenerationNotFoundError` if there is none."""

    async def find(self, *, api_key_id: int, idempotency_key: str) -> Generation | None:
        """The generation that this caller asked for with this key, and its images."""

    async def list(
        self, *, limit: int, cursor: str | None = None, state: GenerationState | None = None
    ) -> GenerationPage:
        """Generations in this state (any if None) with their images, newest first, from `cursor` on.

        Raises `InvalidRequestError` for a cursor that no page ever carried.
        """

    async def succeed(
        self, generation: Generation, *, images: tuple[Image, ...], drawing: Drawing | None = None
    ) -> bool:
        """Record the images and the success, and remove what was parked, in one transaction.

        `drawing` has the usage and the upstream's request id, where they are known and not yet recorded.
        Returns whether this call recorded an image: a generation that has succeeded already gets only the images that
        it lacks, and never one that was deleted. `ConflictError` if it failed, other than as interrupted, or if the
        images are fewer than it expects and no `drawing` shows that there are no more.
        """

    async def expect(self, guid: UUID, *, images: int) -> None:
        """Record how many images a running generation expects, now that they are drawn; nothing if it is settled."""

    async def fail(self, generation: Generation, *, error: dict[str, Any], claimed: datetime | None = None) -> None:
        """Record the failure; `ConflictError` if the generation no longer runs, or its lease is not the claimed one."""

    async def renew(self, guids: Collection[UUID], *, lease: float) -> None:
        """Give those that run a lease of so many seconds from now; 0 lets them go."""

    async def expired(self, *, limit: int, cursor: str | None = None) -> GenerationPage:
        """Running generations whose lease has run out, the longest first, from `cursor` on, without their images."""

    async def interrupted(self, *, within: float, limit: int, cursor: str | None = None) -> GenerationPage:
        """Those that were failed as interrupted in the last `within` seconds, by the database's clock, newest first.

        From `cursor` on, without their images.
        """

    async def claim(self, guid: UUID, *, lease: float) -> datetime | None:
        """Take over a running generation whose lease has run out: the end of the new lease, None if it is another's.

        Exactly one of those who try succeeds. Its owner, if it lives, may renew the lease still: see `fail`. The
        generation is abandoned from here on: see `AdoptionRepository`.
        """

    async def unsettled(self) -> dict[UUID, GenerationState]:
        """The states of all that run or were failed as interrupted: their objects may come to be recorded."""


@dataclass(frozen=True)
class EqualGeneration:
    """A generation that was asked for in the same words. `abandoned`: its client has left without its answer.

    `lease_expires_at` is only good for a comparison with itself: an owner that lives renews it.
    """

    generation: Generation
    abandoned: bool
    lease_expires_at: datetime


class AdoptionRepository(Protocol):
    """Which generations have lost their client, by the database's clock.

    A generation with a fingerprint and no Idempotency-Key that has ended counts as abandoned if its answer was not
    delivered within `limits.ANSWERED_WITHIN` seconds, and one that a reconciler claimed is abandoned at once.
    """

    async def equal(self, *, api_key_id: int, fingerprint: str, within: float) -> tuple[EqualGeneration, ...]:
        """Those of this caller begun in the last `within` seconds without an Idempotency-Key, oldest first.

        What has ended and was answered is left out.
        """

    async def abandon(self, guid: UUID) -> None:
        """Record that the client of the generation has left without its answer."""

    async def adopt(self, guid: UUID) -> bool:
        """Give an abandoned generation a new client. Of those who try exactly one succeeds: whether it was this one."""

    async def deliver(self, guid: UUID) -> None:
        """Record that the client of the generation has its answer."""


class ParkedImageRepository(Protocol):
    """Pictures that wait in the database while the storage is unavailable."""

    async def add(self, generation: Generation, drawing: Drawing) -> None:
        """Park all pictures, record usage and request id, and end the lease, in one transaction.

        `GenerationRepository.succeed` removes them. `ConflictError` if the generation is settled, like `succeed`.
        """

    async def get(self, generation: UUID) -> tuple[bytes, ...]:
        """The parked pictures of a generation, in their order; none if there are none."""


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


Chunk = bytes | memoryview


class StoredObject(Protocol):
    """An object opened for reading: its size is known and its bytes are on the way."""

    @property
    def size_bytes(self) -> int:
        """The whole object's size in bytes."""

    def __aiter__(self) -> AsyncIterator[Chunk]:
        """The bytes, or those of the part, in chunks; `StorageUnavailableError` if they break off."""

    async def aclose(self) -> None:
        """Give back what reading holds; safe to call twice."""


class ImageStorage(Protocol):
    """The place of the bytes. Keys are `{guid}.{png|webp|jpg}`.

    Any method raises `StorageUnavailableError` when the storage does not answer or refuses us for now, and
    `StorageError` when it refuses in a way that waiting does not fix.
    """

    async def put(self, key: str, data: bytes, *, content_type: str) -> None:
        """Store the bytes under the key, whole or not at all. The same key and bytes again change nothing."""

    async def open(self, key: str, *, part: range | None = None) -> StoredObject:
        """Open the object, or a part of it: positions of bytes, one after the other.

        `ObjectNotFoundError` if there is none, or none that has the part, known before the first byte.
        """

    async def head(self, key: str) -> int:
        """The object's size in bytes; `ObjectNotFoundError` if there is none."""

    async def list(self, *, after: str, limit: int) -> tuple[ObjectFacts, ...]:
        """Objects whose key has our shape, in the order of the keys, from behind `after`; under `limit`: the end."""

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

    `count` None: an older version wrote it, which did not note the count.
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


class Upload(Protocol):
    """Bytes that are received into a file without a name.

    Its methods raise `UploadsFullError` if there is no room, and `StorageUnavailableError`.
    """

    async def write(self, chunk: Chunk) -> None:
        """Append bytes."""

    async def finish(self) -> tuple[BinaryIO, str]:
        """The file, which is read from its start, and the SHA-256 of its bytes. Closing the file frees its room."""

    def close(self) -> None:
        """Discard the file, finished or not; safe to call twice."""


class UploadSpool(Protocol):
    """A place for uploads on their way to the upstream. Nothing is left there when the process ends."""

    async def open(self) -> Upload:
        """Begin an upload; raises what `Upload` raises."""


class PartialSink(Protocol):
    """Takes the partial images of a generation. `wanted`: how many the upstream is asked for."""

    @property
    def wanted(self) -> int:
        """0 to 3."""

    def publish(self, partial: PartialImage) -> None:
        """Take a partial image, at once and without an error."""


class ImageGenerator(Protocol):
    """The upstream."""

    async def draw(
        self,
        request: GenerationRequest,
        *,
        turn: Callable[[], Awaitable[None]],
        inputs: Sequence[InputFile] = (),
        partials: PartialSink | None = None,
    ) -> Drawing:
        """Have the request drawn, or the inputs edited, once: one request goes out, whatever fails.

        With `partials` the upstream is asked to stream; one that does not stream is fine too. `n` is then 1: the
        Images API streams no more.

        `turn` is awaited when the upstream has begun to answer with success and before its pictures are read. No
        deadline runs meanwhile, and little of the answer is held. Partial images are published before it.

        The drawing has as many pictures as the upstream sent, which can be fewer or more than were asked for.

        Raises `UpstreamRefusedError`, `UpstreamUnavailableError` (both: nothing was billed),
        `UpstreamError` or one of its kinds, `UpstreamDeadlineError`.
        """


@dataclass(frozen=True)
class Stores:
    """Everything that holds records or bytes."""

    instance: InstanceRepository
    images: ImageRepository
    generations: GenerationRepository
    adoption: AdoptionRepository
    parked: ParkedImageRepository
    storage: ImageStorage
    folder: ParkingFolder
