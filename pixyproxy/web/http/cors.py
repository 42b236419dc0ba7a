"""CORS for the public routes (Fetch standard, section 3.2): scripts of other origins may read images and their details.

Starlette's middleware answers only to requests with an Origin, so a shared cache could hand an answer without the
header to a script. These answers do not depend on the client, so all of them carry `*`.
"""

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

EXPOSED = (
    b"Content-Disposition, Content-Length, Content-Range, ETag, Last-Modified, Retry-After, X-Request-ID, Accept-Ranges"
)
REQUEST_HEADERS = "Range, If-Range, If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since, X-Request-ID"
MAX_AGE = "86400"
"""Seconds for which a browser remembers the answer to a preflight; browsers cap it."""


class PublicCors:
    """Lets scripts of these origins (`*`: of all) read what the public routes answer, errors included."""

    def __init__(self, app: ASGIApp, *, origins: tuple[str, ...]) -> None:
        self._app = app
        self._all = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not self._origins or not is_public(scope):
            await self._app(scope, receive, send)
            return
        headers = self._headers(scope)
        if scope["method"] == "OPTIONS" and any(n == b"access-control-request-method" for n, _ in scope["headers"]):
            await preflight(headers)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *headers]}
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _headers(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        exposed = (b"access-control-expose-headers", EXPOSED)
        if self._all:
            return [(b"access-control-allow-origin", b"*"), exposed]
        origin = next((value for name, value in scope["headers"] if name == b"origin"), None)
        if origin not in self._origins:
            return [(b"vary", b"Origin")]
        return [(b"access-control-allow-origin", origin), (b"vary", b"Origin"), exposed]


def is_public(scope: Scope) -> bool:
    """Whether the request is for an image or its content; the list of images is private."""
    path: str = scope["path"]
    return scope["method"] in ("GET", "HEAD", "OPTIONS") and path.startswith("/image/") and path != "/image/"


def preflight(headers: list[tuple[bytes, bytes]]) -> Response:
    """The answer to a preflight: reading is allowed, with the headers of ranges and conditions."""
    response = Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Methods": "GET, HEAD",
            "Access-Control-Allow-Headers": REQUEST_HEADERS,
            "Access-Control-Max-Age": MAX_AGE,
        },
    )
    response.raw_headers += headers
    return response
