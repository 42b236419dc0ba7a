"""Paths below /v1 as clients write them: with doubled slashes where two settings are joined, or a trailing one."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from pixyproxy.web.dialects import with_single_slashes

PREFIX = "/v1"


class SinglePaths:
    """Serves `//v1//images/generations/` as `/v1/images/generations`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"].startswith((PREFIX, "//")):
            path = with_single_slashes(scope["path"]).rstrip("/")
            if path == PREFIX or path.startswith(f"{PREFIX}/"):
                scope = {**scope, "path": path}
        return self._app(scope, receive, send)
