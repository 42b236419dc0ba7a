"""gzip for JSON over 1 KB. Pictures are compressed already, and never compressed again."""

import re
import zlib
from collections.abc import Awaitable

import anyio.to_thread
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pixyproxy.web.http.content_paths import is_content

MINIMUM = 1024
INLINE = 64 * 1024
"""Bytes that are compressed on the event loop, in a millisecond or two. More is compressed in a thread."""
LEVEL = 5
"""Half of the CPU of zlib's highest level; a list is 5 % larger."""
JSON_TYPES = (b"application/json", b"application/problem+json")
VARY = (b"vary", b"Accept-Encoding")
NOT_ACCEPTED = re.compile(r"q=0(\.0{0,3})?")

Headers = list[tuple[bytes, bytes]]


class Gzip:
    """Compresses JSON for clients that accept gzip.

    Large answers are compressed in one thread; while it is busy, they are sent as they are. A compressed body has other
    bytes, so its strong entity tag becomes a weak one (RFC 9110, section 8.8.3.3).

    Starlette's middleware does neither: it has up to 40 threads, and keeps the tag. It also costs a small answer 25 µs,
    and treats `gzip;q=0` as accepting gzip.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._busy = False

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        if scope["type"] != "http" or is_content(scope["path"]):
            return self._app(scope, receive, send)
        start: Message | None = None

        async def send_compressed(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                if may_be_compressed(message["headers"]):
                    start = message  # the headers depend on the body
                    return
                if message["status"] == 304:
                    headers = with_known_tag(message["headers"], scope["headers"])
                    message = {**message, "headers": [*headers, VARY]}  # as the 200 (RFC 9110, 15.4.5)
            elif start is not None:
                held, start = start, None
                held, message = await self._compressed(held, message, accepted=accepts_gzip(scope["headers"]))
                await send(held)
            await send(message)

        return self._app(scope, receive, send_compressed)

    async def _compressed(self, start: Message, body: Message, *, accepted: bool) -> tuple[Message, Message]:
        data: bytes = body.get("body", b"")
        if len(data) < MINIMUM or body.get("more_body", False):
            return start, body
        packed = await self._packed(data) if accepted else None
        headers = [*start["headers"], VARY]
        if packed is None:
            return {**start, "headers": headers}, body
        headers = [(name, b"W/" + value if is_strong_tag(name, value) else value) for name, value in headers]
        headers = [header for header in headers if header[0] != b"content-length"]
        headers += [(b"content-length", str(len(packed)).encode()), (b"content-encoding", b"gzip")]
        return {**start, "headers": headers}, {**body, "body": packed}

    async def _packed(self, data: bytes) -> bytes | None:
        if len(data) <= INLINE:
            return pack(data)
        if self._busy:
            return None
        self._busy = True
        try:
            return await anyio.to_thread.run_sync(pack, data)
        finally:
            self._busy = False


def pack(data: bytes) -> bytes:
    """The data in the format of gzip."""
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def accepts_gzip(headers: Headers) -> bool:
    """Whether Accept-Encoding allows gzip (RFC 9110, section 12.5.3). Without the header a client gets plain bytes."""
    found: dict[str, bool] = {}
    for name, value in headers:
        if name == b"accept-encoding":
            for part in value.decode("latin-1").lower().split(","):
                coding, _, weight = part.partition(";")
                found[coding.strip()] = NOT_ACCEPTED.fullmatch(weight.strip()) is None
    return found.get("gzip", found.get("*", False))


def may_be_compressed(headers: Headers) -> bool:
    """Whether an answer is JSON, not encoded yet, and not known to be too small."""
    is_json = False
    for name, value in headers:
        if name == b"content-type":
            is_json = value.startswith(JSON_TYPES)
        elif name == b"content-encoding" or (name == b"content-length" and int(value) < MINIMUM):
            return False
    return is_json


def is_strong_tag(name: bytes, value: bytes) -> bool:
    """Whether a header is an ETag without `W/`."""
    return name == b"etag" and not value.startswith(b"W/")


def with_known_tag(headers: Headers, requested: Headers) -> Headers:
    """The headers of a 304. Its tag is weak if the client's is: a strong one would stand for other bytes."""
    known = b",".join([value for name, value in requested if name == b"if-none-match"])
    if b"W/" not in known:
        return headers
    return [
        (name, b"W/" + value if is_strong_tag(name, value) and b"W/" + value in known else value)
        for name, value in headers
    ]
