"""Fakes: the smallest implementations of the Protocols. Each passes the contract suite of the real thing."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pixyproxy.core.exceptions import (
    ConflictError,
    ImageNotFoundError,
    InvalidRequestError,
    NotFoundError,
    ObjectNotFoundError,
    StorageError,
)
from pixyproxy.core.models import (
    ApiKey,
    Drawing,
    Generation,
    GenerationRequest,
    GenerationState,
    Image,
    ImagePage,
)
from pixyproxy.generation.drawing import draw_picture
from pixyproxy.storage.keys import KEY


class FakeDatabase:
    """Answers, or raises what it is told to."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.probes = 0

    async def probe(self) -> None:
        self.probes += 1
        if self.failure is not None:
            raise self.failure


class FakeImageRepository:
    def __init__(self) -> None:
        self.images: dict[UUID, Image] = {}

    async def get(self, guid: UUID) -> Image:
        if guid not in self.images:
            raise ImageNotFoundError
        return self.images[guid]

    async def search(self, *, limit: int, cursor: str | None = None, q: str | None = None) -> ImagePage:
        found = sorted(self.images.values(), key=lambda image: (image.created_at, str(image.guid)), reverse=True)
        found = [image for image in found if q is None or q.lower() in image.prompt.lower()]
        if cursor is not None:
            at = [index for index, image in enumerate(found) if str(image.guid) == cursor]
            if not at:
                raise InvalidRequestError([{"detail": "is not a cursor", "pointer": "?cursor"}])
            found = found[at[0] + 1 :]
        page = tuple(found[:limit])
        return ImagePage(images=page, next_cursor=str(page[-1].guid) if len(found) > limit else None)


class FakeGenerationRepository:
    def __init__(self, images: FakeImageRepository) -> None:
        self.images = images
        self.generations: dict[UUID, Generation] = {}
        self.failure: Exception | None = None
        self.after_add: Callable[[], None] | None = None

    def _raise(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def add(self, generation: Generation) -> None:
        self._raise()
        if generation.guid in self.generations:
            raise ConflictError("It exists.")
        self.generations[generation.guid] = generation
        if self.after_add is not None:
            self.after_add()

    async def get(self, guid: UUID) -> Generation:
        if guid not in self.generations:
            raise NotFoundError("There is none.")
        return self.generations[guid]

    async def succeed(self, generation: Generation, *, images: tuple[Image, ...], drawing: Drawing) -> None:
        self._change(
            generation,
            state=GenerationState.SUCCEEDED,
            usage=drawing.usage,
            upstream_request_id=drawing.upstream_request_id,
        )
        self.images.images |= {image.guid: image for image in images}

    async def fail(self, generation: Generation, *, error: dict[str, Any]) -> None:
        self._change(generation, state=GenerationState.FAILED, error=error)

    def _change(self, generation: Generation, **change: Any) -> None:
        self._raise()
        if self.generations[generation.guid].state is not GenerationState.RUNNING:
            raise ConflictError("It no longer runs.")
        self.generations[generation.guid] = self.generations[generation.guid].model_copy(update=change)


class FakeApiKeyRepository:
    def __init__(self) -> None:
        self.keys: dict[str, ApiKey] = {}

    async def add(self, *, name: str, prefix: str, sha256: str) -> ApiKey:
        if sha256 in self.keys or any(key.name == name for key in self.keys.values()):
            raise ConflictError("It exists.")
        self.keys[sha256] = ApiKey(id=len(self.keys) + 1, name=name, prefix=prefix, created_at=datetime.now(UTC))
        return self.keys[sha256]

    async def get(self, *, sha256: str) -> ApiKey:
        if sha256 not in self.keys:
            raise NotFoundError("There is none.")
        return self.keys[sha256]

    async def list(self) -> tuple[ApiKey, ...]:
        return tuple(self.keys.values())

    async def revoke(self, *, name: str) -> None:
        for sha256, key in self.keys.items():
            if key.name == name and key.revoked_at is None:
                self.keys[sha256] = key.model_copy(update={"revoked_at": datetime.now(UTC)})
                return
        raise NotFoundError("There is none.")


class FakeObject:
    def __init__(self, data: bytes) -> None:
        self.size_bytes = len(data)
        self._data = data
        self.closed = False
        self.failure: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._data), 65_536):
            yield self._data[start : start + 65_536][: len(self._data) // 2 if self.failure else None]
            if self.failure is not None:
                raise self.failure

    async def aclose(self) -> None:
        self.closed = True


class FakeStorage:
    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.failure: Exception | None = None
        self.probes = 0
        self.opened: list[FakeObject] = []
        self.breaks_off: Exception | None = None

    def _check(self, key: str) -> None:
        if self.failure is not None:
            raise self.failure
        if not KEY.fullmatch(key):
            raise StorageError

    async def put(self, key: str, data: bytes, *, content_type: str) -> None:
        self._check(key)
        self.objects[key] = data

    async def open(self, key: str) -> FakeObject:
        self._check(key)
        if key not in self.objects:
            raise ObjectNotFoundError("There is none.")
        self.opened.append(FakeObject(self.objects[key]))
        self.opened[-1].failure = self.breaks_off
        return self.opened[-1]

    async def head(self, key: str) -> int:
        return (await self.open(key)).size_bytes

    async def delete(self, key: str) -> None:
        self._check(key)
        self.objects.pop(key, None)

    async def probe(self) -> None:
        self.probes += 1
        if self.failure is not None:
            raise self.failure


def tiny_picture(prompt: str = "a dot", *, output_format: str = "png") -> bytes:
    """A real picture of 32 x 16 pixels."""
    return draw_picture(prompt, width=32, height=16, output_format=output_format)


class FakeGenerator:
    """Draws tiny pictures, or does what it is told to."""

    def __init__(self) -> None:
        self.requests: list[GenerationRequest] = []
        self.failure: Exception | None = None
        self.pictures: tuple[bytes, ...] | None = None
        self.before: Callable[[], Any] | None = None

    async def draw(self, request: GenerationRequest) -> Drawing:
        self.requests.append(request)
        if self.before is not None:
            await self.before()
        if self.failure is not None:
            raise self.failure
        drawn = (tiny_picture(request.prompt, output_format=request.output_format or "png"),)
        return Drawing(pictures=self.pictures or drawn, usage={"total_tokens": 7}, upstream_request_id="req_fake")
