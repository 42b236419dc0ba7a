"""The answers with an image's bytes, and the 304 without them."""

import asyncio
import logging
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from pixyproxy.core.exceptions import PixyProxyException
from pixyproxy.core.images import Image
from pixyproxy.core.protocols import StoredObject
from pixyproxy.web.http.conditions import Validators
from pixyproxy.web.http.starts import NONE, Place

CONNECTION = "pixyproxy.connection"
"""The scope's key of the client's connection; the server puts it there."""
SETTLING = 1.0
"""Seconds until the kernel's buffers are full if the client reads nothing."""
RATE_PERIOD, LEAST_BYTES = 600.0, 64 * 1024
"""Seconds, and the bytes that a client must read in them, or it is disconnected."""

RawHeaders = list[tuple[bytes, bytes]]
"""Headers in the form of ASGI."""

logger = logging.getLogger(__name__)


class Connection(Protocol):
    """The client's connection, as responses use it besides sending."""

    @property
    def left(self) -> bool:
        """Whether the client has disconnected."""

    @property
    def slow(self) -> bool:
        """Whether sending waits until the client has read more."""

    @property
    def unsent(self) -> int:
        """Bytes that the client has not acknowledged."""

    async def taken(self) -> None:
        """Return when the client is no longer slow, or has disconnected."""

    async def took_all(self) -> bool:
        """Whether the client's system acknowledged every byte. Returns when that is known."""

    async def gone(self) -> None:
        """Return when the disconnect was noticed; called for a client that left or was aborted."""

    def end(self) -> None:
        """Close it when the client has read what was sent, or has stopped reading."""

    def abort(self) -> None:
        """Close it at once, and discard unsent bytes."""


def validators_of(image: Image) -> Validators:
    """The validators of an image's bytes, which are never modified."""
    return _validators(image.sha256, image.created_at)


@lru_cache(maxsize=1024)
def _validators(sha256: str, created_at: datetime) -> Validators:
    return Validators(etag=f'"{sha256}"', modified_at=created_at.astimezone(UTC))


def unchanged(image: Image, *, proxy_ttl: float) -> "HeadResponse":
    """The 304 to a client that has the image's bytes. Most requests for them end so: its headers are remembered."""
    return HeadResponse(304, list(_unchanged_headers(image.sha256, image.created_at, proxy_ttl)))


@lru_cache(maxsize=1024)
def _unchanged_headers(sha256: str, created_at: datetime, proxy_ttl: float) -> RawHeaders:
    return raw_headers_of(caching_headers(_validators(sha256, created_at), proxy_ttl=proxy_ttl))


def content_headers(image: Image, validators: Validators, *, attachment: bool, proxy_ttl: float) -> dict[str, str]:
    """The headers of every answer about an image's bytes: cacheable without limit, and safe to embed in any page."""
    headers = picture_headers(
        validators,
        content_type=image.content_type,
        filename=image.filename,
        attachment=attachment,
        proxy_ttl=proxy_ttl,
    )
    return headers | {"Content-Length": str(image.size_bytes)}


def picture_headers(
    validators: Validators, *, content_type: str, filename: str, attachment: bool, proxy_ttl: float
) -> dict[str, str]:
    """The headers of a picture but for its length."""
    return {
        "Content-Type": content_type,
        "Content-Disposition": f'{"attachment" if attachment else "inline"}; filename="{filename}"',
        **caching_headers(validators, proxy_ttl=proxy_ttl),
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }


def caching_headers(validators: Validators, *, proxy_ttl: float) -> dict[str, str]:
    """The headers that a 304 repeats.

    `proxy_ttl`: seconds after which nginx, if it caches pictures, asks again, so that it learns of a deletion. 0: it
    keeps none. nginx passes `X-Accel-Expires` on to nobody.
    """
    return {
        "ETag": validators.etag,
        "Last-Modified": validators.last_modified or "",
        "Cache-Control": "public, max-age=31536000, immutable",
        "X-Accel-Expires": str(int(proxy_ttl)),
    }


def part_headers(part: range, *, size_bytes: int) -> dict[str, str]:
    """The headers of a 206 that differ from those of a 200."""
    return {
        "Content-Length": str(len(part)),
        "Content-Range": f"bytes {part.start}-{part.stop - 1}/{size_bytes}",
    }


class HeadResponse(Response):
    """An answer without a body: a 304, or the headers that GET would send."""

    def __init__(self, status: int, headers: dict[str, str] | RawHeaders) -> None:
        self.status_code = status
        self.raw_headers = raw_headers_of(headers) if isinstance(headers, dict) else headers
        self.body = b""
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 -- nothing is read
        """Send the two messages."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": b""})


def raw_headers_of(headers: dict[str, str]) -> RawHeaders:
    """Headers in the form of ASGI."""
    return [(raw_name(name), value.encode("latin-1")) for name, value in headers.items()]


@lru_cache(maxsize=128)
def raw_name(name: str) -> bytes:
    """The name of a header in the form of ASGI. Cached: we send only a few different ones."""
    return name.lower().encode()


class ContentResponse(Response):
    """Sends an opened object as fast as the client reads it. The object is closed in any case.

    If the object breaks off, the connection is closed: its length was announced. It is also closed if the client reads
    nothing for `patience` seconds, because the response holds a connection to the storage. No task is created for a
    response; a disconnect is noticed before the next chunk is read. The `place` is left when the client is slow, or at
    the end.
    """

    def __init__(
        self, content: StoredObject, *, status: int, headers: dict[str, str], patience: float, place: Place = NONE
    ) -> None:
        self.status_code = status
        self.raw_headers = raw_headers_of(headers)
        self.background = None
        self._content = content
        self._patience = patience
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 -- see the connection
        """Send everything."""
        connection: Connection | None = scope.get(CONNECTION)
        try:
            whole = await self._pass_on(Sending(send, connection, patience=self._patience))
            if not whole and connection is not None:
                await connection.gone()
        except PixyProxyException as error:
            logger.error("the content broke off: %s", error.detail)
            if connection is not None:
                connection.end()
        except TimeoutError:
            logger.warning("the client read nothing for %g s", self._patience)
            if connection is not None:
                connection.abort()  # `end` would wait until the client has read what was sent
                await connection.gone()
        finally:
            self._place.leave()
            await self._content.aclose()

    async def _pass_on(self, sending: "Sending") -> bool:
        await sending.send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for chunk in self._content:
            await sending.send({"type": "http.response.body", "body": chunk, "more_body": True})
            if sending.client_left:
                return False
            if sending.client_slow:
                self._place.leave()
        # Not in one message with the last chunk: this one waits until the client has taken it.
        await sending.send({"type": "http.response.body", "body": b"", "more_body": False})
        return True


class Sending:
    """Sends to a client; `TimeoutError` if it reads nothing for `patience` seconds."""

    def __init__(self, send: Send, connection: Connection | None, *, patience: float) -> None:
        self._send = send
        self._connection = connection
        self._patience = patience
        self._sent = 0
        self._period_began, self._taken_before = time.monotonic(), 0

    @property
    def client_left(self) -> bool:
        """Whether the client is known to have disconnected."""
        return self._connection is not None and self._connection.left

    @property
    def client_slow(self) -> bool:
        """Whether the next message waits for the client."""
        return self._connection is not None and self._connection.slow

    async def send(self, message: Message) -> None:
        """Send a message once the client has read the earlier ones, however slowly."""
        connection = self._connection
        while connection is not None and connection.slow:
            # The first check comes after the kernel's buffers are full: until then the kernel reads, not the client.
            if await self._taken_within(min(SETTLING, self._patience / 2)):
                break
            before = connection.unsent
            if not await self._taken_within(self._patience) and connection.unsent >= before:
                raise TimeoutError
            self._require_rate(connection.unsent)
        self._sent += len(message.get("body", b""))
        await self._send(message)

    async def _taken_within(self, seconds: float) -> bool:
        if self._connection is None:
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._connection.taken()
        except TimeoutError:
            return False
        return True

    def _require_rate(self, unsent: int) -> None:
        """`TimeoutError` for a client that read less than `LEAST_BYTES` in the last `RATE_PERIOD` seconds."""
        now, taken = time.monotonic(), self._sent - unsent
        if now - self._period_began < RATE_PERIOD:
            return
        if taken - self._taken_before < LEAST_BYTES:
            raise TimeoutError
        self._period_began, self._taken_before = now, taken
