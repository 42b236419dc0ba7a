"""The inputs of edits: uploads and stored images, checked and spooled before anything is bought."""

import re
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from typing import BinaryIO
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

import anyio
import anyio.to_thread

from pixyproxy.core import limits
from pixyproxy.core.content_types import ContentType
from pixyproxy.core.exceptions import (
    ImageContentLostError,
    ImageNotFoundError,
    InvalidRequestError,
    ObjectNotFoundError,
    UnsupportedFileError,
)
from pixyproxy.core.images import SUFFIXES, Image
from pixyproxy.core.inputs import Input, InputFile, InputFiles, Role
from pixyproxy.core.protocols import Chunk, ImageRepository, ImageStorage, Upload, UploadSpool
from pixyproxy.service.data_urls import decoded
from pixyproxy.service.generating.pictures import magic_content_type
from pixyproxy.service.pixels import BOMBS, UNREADABLE, pixels_of

MAX_SIZES: dict[Role, int] = {"image": limits.MAX_INPUT, "mask": limits.MAX_MASK, "markup": limits.MAX_INPUT}
MAX_COUNTS: dict[Role, int] = {"image": limits.MAX_INPUTS, "mask": 1, "markup": 1}
ORDER: tuple[Role, ...] = ("image", "mask", "markup")
MAGIC = 12
"""The first bytes of a picture, by which its type is known."""
READERS = 2
"""Headers that are read at once: one of a picture that is meant to do harm may have some 50 MB."""
MIB = 1024 * 1024

NOT_FOUND = "names no image that is stored here; it may have been deleted"
FOREIGN = (
    "must be an upload, a data: URL, or the guid or URL of an image that is stored here. No other URL is fetched: "
    "PixyProxy would make requests that it does not know to be harmless"
)
TOO_MANY_PIXELS = f"must have at most {limits.MAX_INPUT_PIXELS // 1_000_000} megapixels"

GUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
IMAGE_PATH = re.compile(rf"/image/({GUID})(?:/content|\.([a-z]{{3,4}}))?/?")
"""The public names of an image's details and content."""


class Uploads:
    """Makes the collectors of requests. `public_url`: what the URLs of stored images begin with, if it is set."""

    def __init__(
        self, spool: UploadSpool, *, images: ImageRepository, storage: ImageStorage, public_url: str | None = None
    ) -> None:
        self._spool = spool
        self._images = images
        self._storage = storage
        self._public_url = public_url
        self._reading = anyio.CapacityLimiter(READERS)

    def collect(self, *, base_url: str | None = None) -> "InputCollector":
        """A collector for one request. `base_url`: with which the client reached this service."""
        own = [urlsplit(url) for url in (self._public_url, base_url) if url is not None]
        return InputCollector(
            self._spool, images=self._images, storage=self._storage, reading=self._reading, base_urls=own
        )


class InputCollector:
    """Takes the inputs of one request, in any order. Close it, unless `inputs` was called, which passes them on.

    The methods raise `InvalidRequestError` and `UnsupportedFileError` with the `pointer` that they are given,
    `UploadsFullError` and `StorageUnavailableError`. Nothing of an input that is refused is left.
    """

    def __init__(
        self,
        spool: UploadSpool,
        *,
        images: ImageRepository,
        storage: ImageStorage,
        reading: anyio.CapacityLimiter,
        base_urls: list[SplitResult],
    ) -> None:
        self._spool = spool
        self._images = images
        self._storage = storage
        self._reading = reading
        self._base_urls = base_urls
        self._files: list[InputFile] = []

    async def take(self, role: Role, chunks: AsyncIterable[Chunk], *, pointer: str) -> None:
        """An upload, by its bytes: what the client says of its type and name counts for nothing."""
        self._require_place(role, pointer)
        await self._receive(role, chunks, pointer=pointer)

    async def stored(self, role: Role, guid: UUID, *, pointer: str) -> None:
        """An image that is stored here; `ImageContentLostError` if its bytes are lost."""
        self._require_place(role, pointer)
        image = await self._find(guid, pointer)
        async with aclosing(self._content(image)) as content:
            await self._receive(role, content, pointer=pointer, image=image)

    async def resolve(self, role: Role, text: str, *, pointer: str) -> None:
        """A guid or a URL of an image that is stored here, or a `data:` URL. No URL is fetched."""
        if re.fullmatch(GUID, text):
            await self.stored(role, UUID(text), pointer=pointer)
        elif text[:5].lower() == "data:":
            async with aclosing(decoded(text)) as chunks:
                await self.take(role, chunks, pointer=pointer)
        else:
            path = self._own_path(text, pointer)
            found = IMAGE_PATH.fullmatch(path)
            if found is None:
                raise invalid("is a URL of this service, but not of an image or its content", pointer)
            guid = UUID(found[1])
            image = await self._find(guid, pointer)
            if found[2] not in (None, SUFFIXES[image.content_type]):
                raise invalid(NOT_FOUND, pointer)
            await self.stored(role, guid, pointer=pointer)

    def has(self, role: Role) -> bool:
        """Whether an input has this role."""
        return any(each.facts.role == role for each in self._files)

    def inputs(self) -> InputFiles:
        """All inputs, the images first. From now on they are the caller's, who closes them."""
        files, self._files = self._files, []
        return InputFiles(sorted(files, key=lambda each: ORDER.index(each.facts.role)))

    def close(self) -> None:
        """Free what was taken; safe to call twice."""
        self.inputs().close()

    def _require_place(self, role: Role, pointer: str) -> None:
        if sum(each.facts.role == role for each in self._files) >= MAX_COUNTS[role]:
            most = MAX_COUNTS[role]
            raise invalid(f"at most {most} images can be edited at once" if most > 1 else "came twice", pointer)

    async def _find(self, guid: UUID, pointer: str) -> Image:
        try:
            return await self._images.get(guid, fresh=True)  # no money is spent on an image that was deleted
        except ImageNotFoundError as error:
            raise invalid(NOT_FOUND, pointer) from error

    async def _content(self, image: Image) -> AsyncGenerator[Chunk, None]:
        try:
            content = await self._storage.open(image.filename)
        except ObjectNotFoundError as error:
            raise ImageContentLostError(f"The storage holds no object for image {image.guid}.") from error
        try:
            async for chunk in content:
                yield chunk
        finally:
            await content.aclose()

    def _own_path(self, text: str, pointer: str) -> str:
        """The path of a URL of this service, below its base; `InvalidRequestError` for everything else."""
        try:
            url = urlsplit(text)
            for base in self._base_urls:
                same = (url.scheme, url.hostname, url.port) == (base.scheme, base.hostname, base.port)
                if same and url.path.startswith(base.path):
                    return url.path.removeprefix(base.path)
        except ValueError:
            pass
        raise invalid(FOREIGN, pointer)

    async def _receive(
        self, role: Role, chunks: AsyncIterable[Chunk], *, pointer: str, image: Image | None = None
    ) -> None:
        upload = await self._spool.open()
        try:
            try:
                size, content_type = await self._spooled(upload, role, chunks, pointer)
            except ValueError as error:
                raise invalid("must be a data: URL in base64", pointer) from error
            file, sha256 = await upload.finish()
            if image is not None and sha256 != image.sha256:
                raise ImageContentLostError(f"The storage holds other bytes for image {image.guid}.")
            await self._check_header(file, content_type, pointer)
        except BaseException:
            upload.close()
            raise
        facts = Input(
            role=role,
            sha256=sha256,
            content_type=content_type,
            size_bytes=size,
            guid=None if image is None else image.guid,
        )
        self._files.append(InputFile(facts=facts, file=file))

    async def _spooled(
        self, upload: Upload, role: Role, chunks: AsyncIterable[Chunk], pointer: str
    ) -> tuple[int, ContentType]:
        """Write the upload; returns its size and type. It is refused as soon as what came shows that it must be."""
        size, head = 0, b""
        content_type: ContentType | None = None
        most = MAX_SIZES[role]
        async for chunk in chunks:
            size += len(chunk)
            if size >= most:
                raise invalid(f"must have less than {most // MIB} MiB", pointer)
            if content_type is None:
                head += bytes(chunk[:MAGIC])
                content_type = checked_type(role, head, pointer) if len(head) >= MAGIC else None
            await upload.write(chunk)
        return size, content_type or checked_type(role, head, pointer)

    async def _check_header(self, file: BinaryIO, content_type: ContentType, pointer: str) -> None:
        def pixels() -> int:
            try:
                width, height = pixels_of(file, content_type)
            finally:
                file.seek(0)
            return width * height

        try:
            found = await anyio.to_thread.run_sync(pixels, limiter=self._reading)
        except BOMBS as error:
            raise invalid(TOO_MANY_PIXELS, pointer) from error
        except UNREADABLE as error:
            raise UnsupportedFileError([{"detail": "cannot be read as a picture", "pointer": pointer}]) from error
        if found > limits.MAX_INPUT_PIXELS:
            raise invalid(TOO_MANY_PIXELS, pointer)


def invalid(detail: str, pointer: str) -> InvalidRequestError:
    """The refusal of an input."""
    return InvalidRequestError([{"detail": detail, "pointer": pointer}])


def checked_type(role: Role, head: bytes, pointer: str) -> ContentType:
    """The type of an input by its first bytes; `UnsupportedFileError`."""
    content_type = magic_content_type(head)
    if content_type is None:
        raise UnsupportedFileError([{"detail": "is neither PNG, WebP nor JPEG", "pointer": pointer}])
    if role == "mask" and content_type != "image/png":
        raise UnsupportedFileError([{"detail": "must be PNG", "pointer": pointer}])
    return content_type
