"""HEAD for every URL that answers GET (RFC 9110, section 9.3.2)."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pixyproxy.web.http.content_paths import is_content

HEAD = "pixyproxy.head"
"""The scope's key of a HEAD request that is served as GET."""


class HeadAsGet:
    """Serves HEAD as GET without the body. Content has a route for HEAD of its own, which reads no bytes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or is_content(scope["path"]):
            return self._app(scope, receive, send)

        async def send_without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        return self._app({**scope, "method": "GET", HEAD: True}, receive, send_without_body)
