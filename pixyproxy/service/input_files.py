"""Receives one input into the spool, and checks it by its bytes."""

from collections.abc import AsyncIterable
from typing import BinaryIO

import anyio
import anyio.to_thread

from pixyproxy.core import limits
from pixyproxy.core.content_types import ContentType
from pixyproxy.core.exceptions import ImageContentLostError, InvalidRequestError, UnsupportedFileError
from pixyproxy.core.images import Image
from pixyproxy.core.inputs import Input, InputFile, Role
from pixyproxy.core.protocols import Chunk, Upload, UploadSpool
from pixyproxy.service.generating.pictures import magic_content_type
from pixyproxy.service.pixels import BOMBS, UNREADABLE, pixels_of

MAX_SIZES: dict[Role, int] = {"image": limits.MAX_INPUT, "mask": limits.MAX_MASK, "markup": limits.MAX_INPUT}
MAGIC = 12
"""First bytes of a picture that show its type."""
READERS = 2
"""Headers that are read at the same time: a malicious picture can have a header of some 50 MB."""
MIB = 1024 * 1024
TOO_MANY_PIXELS = f"must have at most {limits.MAX_INPUT_PIXELS // 1_000_000} megapixels"


class InputReceiver:
    """Receives inputs. The types and names that the client claims are ignored."""

    def __init__(self, spool: UploadSpool) -> None:
        self._spool = spool
        self._reading = anyio.CapacityLimiter(READERS)

    async def receive(
        self, role: Role, chunks: AsyncIterable[Chunk], *, pointer: str, image: Image | None = None
    ) -> InputFile:
        """The input; `image`: it is stored here, and must have its bytes (`ImageContentLostError`).

        `InvalidRequestError` and `UnsupportedFileError` name the `pointer`. Nothing of a refused input is kept.
        """
        upload = await self._spool.open()
        try:
            size, content_type = await self._write(upload, role, chunks, pointer)
            file, sha256 = await upload.finish()
            if image is not None and sha256 != image.sha256:
                raise ImageContentLostError(f"The storage holds other bytes for image {image.guid}.")
            await self._check_pixels(file, content_type, pointer)
        except BaseException:
            upload.close()
            raise
        guid = None if image is None else image.guid
        return InputFile(Input(role=role, sha256=sha256, content_type=content_type, size_bytes=size, guid=guid), file)

    async def _write(
        self, upload: Upload, role: Role, chunks: AsyncIterable[Chunk], pointer: str
    ) -> tuple[int, ContentType]:
        """Write the upload; returns its size and type. Refuses it as soon as the bytes received so far break a rule."""
        size, head = 0, b""
        content_type: ContentType | None = None
        async for chunk in chunks:
            size += len(chunk)
            require_size(role, size, pointer)
            if content_type is None:
                head += bytes(chunk[:MAGIC])
                content_type = type_of(role, head, pointer) if len(head) >= MAGIC else None
            await upload.write(chunk)
        return size, content_type or type_of(role, head, pointer)

    async def _check_pixels(self, file: BinaryIO, content_type: ContentType, pointer: str) -> None:
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


def require_size(role: Role, size: int, pointer: str) -> None:
    """`InvalidRequestError` for an input that is too large for its role."""
    most = MAX_SIZES[role]
    if size >= most:
        raise invalid(f"must have less than {most // MIB} MiB", pointer)


def require_type(role: Role, content_type: ContentType, pointer: str) -> None:
    """`UnsupportedFileError` for an input that its role cannot have."""
    if role == "mask" and content_type != "image/png":
        raise UnsupportedFileError([{"detail": "must be PNG", "pointer": pointer}])


def type_of(role: Role, head: bytes, pointer: str) -> ContentType:
    """The type of an input by its first bytes; `UnsupportedFileError`."""
    content_type = magic_content_type(head)
    if content_type is None:
        raise UnsupportedFileError([{"detail": "is neither PNG, WebP nor JPEG", "pointer": pointer}])
    require_type(role, content_type, pointer)
    return content_type
