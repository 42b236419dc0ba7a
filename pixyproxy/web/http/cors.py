"""CORS for the public routes (Fetch standard, section 3.2): scripts of other origins may read images and their details.

Starlette's middleware answers only to requests with an Origin, so a shared cache could hand an answer without the
header to a script. These answers do not depend on the client, so all of them carry `*`.
"""

from collections.abc import Awaitable

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pixyproxy.web.log.request_log import record_of

EXPOSE = (
    b"access-control-expose-headers",
    b"Content-Disposition, Content-Length, Content-Range, ETag, Last-Modified, Retry-After, X-Request-ID, "
    b"Accept-Ranges",
)
ALLOW_ALL = (b"access-control-allow-origin", b"*")
REQUEST_HEADERS = "Range, If-Range, If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since, X-Request-ID"
MAX_AGE = "86400"
"""Seconds for which a browser remembers the answer to a preflight; browsers cap it."""


class PublicCors:
    """Lets scripts of these origins (`*`: of all) read what the public routes answer, errors included."""

    def __init__(self, app: ASGIApp, *, origins: tuple[str, ...]) -> None:
        self._app = app
        self._all = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        if scope["type"] != "http" or not self._origins or not is_public(scope):
            return self._app(scope, receive, send)
        record_of(scope).answer_headers += self._headers(scope)
        if scope["method"] == "OPTIONS" and any(n == b"access-control-request-method" for n, _ in scope["headers"]):
            return preflight()(scope, receive, send)
        return self._app(scope, receive, send)

    def _headers(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        if self._all:
            return [ALLOW_ALL, EXPOSE]
        origin = next((value for name, value in scope["headers"] if name == b"origin"), None)
        if origin not in self._origins:
            return [(b"vary", b"Origin")]
        return [(b"access-control-allow-origin", origin), (b"vary", b"Origin"), EXPOSE]


def is_public(scope: Scope) -> bool:
    """Whether the request is for an image or its content; the list of images is private."""
    path: str = scope["path"]
    return scope["method"] in ("GET", "HEAD", "OPTIONS") and path.startswith("/image/") and path != "/image/"


def preflight() -> Response:
    """The answer to a preflight: reading is allowed, with the headers of ranges and conditions."""
    return Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Methods": "GET, HEAD",
            "Access-Control-Allow-Headers": REQUEST_HEADERS,
            "Access-Control-Max-Age": MAX_AGE,
        },
    )
