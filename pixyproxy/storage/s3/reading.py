"""Reads objects of a bucket on the event loop, with URLs that botocore signs.

A reader holds no thread, and a slow reader no more memory than a buffer: the rest stays with the server.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from cachetools import TTLCache

from pixyproxy.core.exceptions import ObjectNotFoundError, StorageError, StorageUnavailableError
from pixyproxy.core.limits import S3, S3Limits
from pixyproxy.storage.s3.address import Url
from pixyproxy.storage.s3.connections import Connections
from pixyproxy.storage.s3.errors import s3_errors
from pixyproxy.storage.s3.http_reader import Exchange

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNED_FOR = 900
"""Seconds for which a URL is signed."""
SIGNATURE_AGE = 300.0
"""Seconds for which it is used: credentials of an instance role are renewed 10 minutes before they expire."""
SIGNATURES = 4096
PAUSES = (0.1, 0.5)
"""Seconds before a second and a third attempt."""
MAX_ERROR = 16 * 1024
"""Bytes of an error's body that are read."""


@contextmanager
def transfer_errors() -> "Iterator[None]":
    """A transfer that breaks off means that the storage is unavailable."""
    try:
        yield
    except OSError as error:
        raise StorageUnavailableError("The storage does not answer.") from error


class OpenS3Object:
    """The body of a GetObject on its way; the `StoredObject` of S3."""

    def __init__(self, answer: Exchange, *, length: int, size_bytes: int) -> None:
        self._answer: Exchange | None = answer
        self._left = length
        self.size_bytes = size_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The bytes, in chunks as they come; `StorageUnavailableError` if they break off."""
        while self._answer is not None and self._left:
            with transfer_errors():
                piece = await self._answer.piece()
            self._left -= len(piece)
            if not self._left:
                await self.aclose()
            yield piece

    async def aclose(self) -> None:
        """Close the connection, unless everything was read: then another reader may have it."""
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.close()


class S3Reading:
    """Opens objects. `sign` makes a signed URL for GetObject from the object's name and the seconds of its validity."""

    def __init__(
        self, connections: Connections, sign: Callable[[str, int], Awaitable[str]], *, limits: S3Limits = S3
    ) -> None:
        self._reader = connections.reader
        self._limits = limits
        self._sign = sign
        self._urls: TTLCache[str, Url] = TTLCache(maxsize=SIGNATURES, ttl=SIGNATURE_AGE)

    async def open(self, name: str, *, part: range | None) -> OpenS3Object:
        """Open the object with this name, or a part of it.

        A failed attempt is repeated after `PAUSES`, with a new signature: the credentials may have changed. No attempt
        begins later than `limits.read` seconds after the first.
        """
        header = "" if part is None else f"Range: bytes={part.start}-{part.stop - 1}\r\n"
        end = time.monotonic() + self._limits.read
        for pause in (*PAUSES, None):
            url = self._urls.get(name) or await self._url(name)
            last = pause is None
            try:
                answer = await self._reader.get(url, header=header)
                if answer.status in (200, 206):
                    return object_from_answer(answer, part=part)
                refusal = await error_from_answer(answer, within=self._limits.read)
            except OSError as error:
                if last or time.monotonic() > end:
                    raise StorageUnavailableError("The storage does not answer.") from error
            else:
                if last or time.monotonic() > end or answer.status in (404, 416):
                    with s3_errors():
                        raise refusal
                self._urls.pop(name, None)
            await asyncio.sleep(pause or 0)
        raise AssertionError("unreachable")

    async def probe(self, url: str) -> None:
        """Return if the server answers this signed URL of a missing object with 404.

        One attempt, with the settings of `open`. Raises the translated error for any other answer.
        """
        try:
            async with asyncio.timeout(self._limits.probe):
                answer = await self._reader.get(Url(url))
                if answer.status in (200, 206):  # somebody created this object
                    answer.close()
                    return
                refusal = await error_from_answer(answer, within=self._limits.read)
        except OSError as error:
            raise StorageUnavailableError("The storage does not answer.") from error
        with contextlib.suppress(ObjectNotFoundError), s3_errors():
            raise refusal

    async def _url(self, name: str) -> Url:
        url = Url(await self._sign(name, SIGNED_FOR))
        self._urls[name] = url
        return url


def object_from_answer(answer: Exchange, *, part: range | None) -> OpenS3Object:
    """The object of a successful answer. `StorageError` if it ignores the Range or has no Content-Length."""
    length = answer.length
    if part is None and answer.status == 200 and length is not None:
        return OpenS3Object(answer, length=length, size_bytes=length)
    content_range = re.fullmatch(rb"bytes (\d+)-(\d+)/(\d+)", answer.headers.get(b"content-range", b""))
    if part is None or answer.status != 206 or content_range is None or int(content_range[1]) != part.start:
        answer.close()
        raise StorageError
    if int(content_range[2]) != part.stop - 1:
        answer.close()
        raise ObjectNotFoundError("The bucket holds no such part of an object.")
    if length != len(part):
        answer.close()
        raise StorageError
    return OpenS3Object(answer, length=length, size_bytes=int(content_range[3]))


async def error_from_answer(answer: Exchange, *, within: float) -> ClientError:
    """The error answer of a server as the exception that botocore would raise.

    Reads the body to its end or to `MAX_ERROR`.
    """
    text = b""
    try:
        async with asyncio.timeout(within):
            while len(text) < MAX_ERROR and (piece := await answer.piece()):
                text += piece
    finally:
        answer.close()
    found = {
        name: match[1].decode()
        for name in ("Code", "Region")
        if (match := re.search(rb"<%b>([A-Za-z0-9.-]{1,64})</%b>" % (name.encode(), name.encode()), text))
    }
    region = found.get("Region") or answer.headers.get(b"x-amz-bucket-region", b"").decode("latin-1")
    refusal: Any = {
        "Error": {"Code": found.get("Code", str(answer.status)), "Region": region},
        "ResponseMetadata": {"HTTPStatusCode": answer.status},
    }
    return ClientError(refusal, "GetObject")
