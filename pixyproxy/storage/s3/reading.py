"""Reads objects of a bucket on the event loop: aiohttp asks, with URLs that botocore signs.

A reader holds no thread, and a slow reader no more memory than aiohttp's buffer: the rest stays with the server.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
from botocore.exceptions import ClientError
from cachetools import TTLCache
from yarl import URL

from pixyproxy.core.exceptions import ObjectNotFoundError, StorageError, StorageUnavailableError
from pixyproxy.core.limits import S3, S3Limits
from pixyproxy.storage.s3.connections import TRANSFER, Connections
from pixyproxy.storage.s3.errors import s3_errors

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
    except TRANSFER as error:
        raise StorageUnavailableError("The storage does not answer.") from error


class OpenS3Object:
    """The body of a GetObject on its way; the `StoredObject` of S3."""

    def __init__(self, response: aiohttp.ClientResponse, *, size_bytes: int) -> None:
        self._response = response
        self.size_bytes = size_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The bytes, in chunks as they come; `StorageUnavailableError` if they break off."""
        read = self._response.content.readchunk
        with transfer_errors():
            while True:
                chunk, end_of_http_chunk = await read()
                if chunk:
                    yield chunk
                elif not end_of_http_chunk:
                    return

    async def aclose(self) -> None:
        """Close the connection, unless the body was read to its end: then it is in its pool again."""
        self._response.close()


class S3Reading:
    """Opens objects. `sign` makes a signed URL for GetObject from the object's name and the seconds of its validity."""

    def __init__(
        self, connections: Connections, sign: Callable[[str, int], Awaitable[str]], *, limits: S3Limits = S3
    ) -> None:
        self._connections = connections
        self._limits = limits
        self._sign = sign
        self._urls: TTLCache[str, URL] = TTLCache(maxsize=SIGNATURES, ttl=SIGNATURE_AGE)

    async def open(self, name: str, *, part: range | None) -> OpenS3Object:
        """Open the object with this name, or a part of it.

        A failed attempt is repeated after `PAUSES`, with a new signature: the credentials may have changed. No attempt
        begins later than `limits.read` seconds after the first.
        """
        headers = None if part is None else {"Range": f"bytes={part.start}-{part.stop - 1}"}
        end = time.monotonic() + self._limits.read
        for pause in (*PAUSES, None):
            url = self._urls.get(name) or await self._url(name)
            last = pause is None
            try:
                response = await self._connections.session.get(
                    url, headers=headers, proxy=self._connections.proxy, allow_redirects=False
                )
                if response.status in (200, 206):
                    return object_from_answer(response, part=part)
                refusal = await error_from_answer(response, within=self._limits.read)
            except TRANSFER as error:
                if last or time.monotonic() > end:
                    raise StorageUnavailableError("The storage does not answer.") from error
            else:
                if last or time.monotonic() > end or response.status in (404, 416):
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
                response = await self._connections.session.get(
                    URL(url, encoded=True), proxy=self._connections.proxy, allow_redirects=False
                )
                if response.status in (200, 206):  # somebody created this object
                    response.close()
                    return
                refusal = await error_from_answer(response, within=self._limits.read)
        except TRANSFER as error:
            raise StorageUnavailableError("The storage does not answer.") from error
        with contextlib.suppress(ObjectNotFoundError), s3_errors():
            raise refusal

    async def _url(self, name: str) -> URL:
        url = URL(await self._sign(name, SIGNED_FOR), encoded=True)  # quoting it again would break the signature
        self._urls[name] = url
        return url


def object_from_answer(response: aiohttp.ClientResponse, *, part: range | None) -> OpenS3Object:
    """The object of a successful answer. `StorageError` if it ignores the Range or gives no size."""
    if part is None and response.status == 200 and response.content_length is not None:
        return OpenS3Object(response, size_bytes=response.content_length)
    content_range = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
    if part is None or response.status != 206 or content_range is None or int(content_range[1]) != part.start:
        response.close()
        raise StorageError
    if int(content_range[2]) != part.stop - 1:
        response.close()
        raise ObjectNotFoundError("The bucket holds no such part of an object.")
    return OpenS3Object(response, size_bytes=int(content_range[3]))


async def error_from_answer(response: aiohttp.ClientResponse, *, within: float) -> ClientError:
    """The error answer of a server as the exception that botocore would raise.

    Reads the body to its end or to `MAX_ERROR`.
    """
    text = b""
    try:
        async with asyncio.timeout(within):
            while len(text) < MAX_ERROR and (piece := await response.content.read(MAX_ERROR - len(text))):
                text += piece
    finally:
        response.close()
    found = {
        name: match[1].decode()
        for name in ("Code", "Region")
        if (match := re.search(rb"<%b>([A-Za-z0-9.-]{1,64})</%b>" % (name.encode(), name.encode()), text))
    }
    region = found.get("Region") or response.headers.get("x-amz-bucket-region", "")
    answer: Any = {
        "Error": {"Code": found.get("Code", str(response.status)), "Region": region},
        "ResponseMetadata": {"HTTPStatusCode": response.status},
    }
    return ClientError(answer, "GetObject")
