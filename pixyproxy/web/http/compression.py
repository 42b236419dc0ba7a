"""gzip for answers over 1 KB, but for pictures, which are compressed already."""

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MINIMUM = 1024
LEVEL = 5
"""Half of the CPU of zlib's highest level, for a list that is a twentieth larger."""


class Gzip:
    """Starlette's middleware before everything but content. A large body is compressed in a thread.

    A compressed body has other bytes, so its strong entity tag becomes a weak one (RFC 9110, section 8.8.3.3).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._gzip = GZipMiddleware(app, minimum_size=MINIMUM, compresslevel=LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"].endswith("/content"):
            await self._app(scope, receive, send)
            return

        async def send_weak(message: Message) -> None:
            if message["type"] == "http.response.start" and (b"content-encoding", b"gzip") in message["headers"]:
                message = {**message, "headers": [weak(header) for header in message["headers"]]}
            await send(message)

        await self._gzip(scope, receive, send_weak)


def weak(header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """The header; an ETag as a weak one."""
    name, value = header
    return (name, b"W/" + value) if name == b"etag" and not value.startswith(b"W/") else header
