"""Requests whose body is left unread by the answer, or is invalid."""

from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from pixyproxy.core import limits
from pixyproxy.core.exceptions import MalformedRequestError

if TYPE_CHECKING:
    from pixyproxy.web.server.protocol import HttpProtocol


class LingeringTransport:
    """The transport of an answer that ends its connection while the client may still send: `close` lingers."""

    def __init__(self, protocol: "HttpProtocol", cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._protocol.transport.write(data)

    def is_closing(self) -> bool:
        """Whether the connection is closing."""
        return self._protocol.transport.is_closing()

    def close(self) -> None:
        """Close the connection. If a body is unread, linger first: many clients send everything before they read."""
        if self._cycle.more_body and not self._protocol.is_deaf:
            self._protocol.linger(seconds=limits.SKIP_WAIT, size=limits.MAX_DISCARDED)
        elif self._cycle.more_body or self._protocol.is_deaf:
            self._protocol.linger()
        else:
            self._protocol.transport.close()


class ReadOrClose:
    """Runs the application for a request with a body.

    An answer that leaves the body unread says `Connection: close`. Reading an invalid body raises
    `MalformedRequestError`.
    """

    def __init__(self, app: ASGIApp, protocol: "HttpProtocol", cycle: RequestResponseCycle) -> None:
        self._app = app
        self._protocol = protocol
        self._cycle = cycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def receive_or_fail() -> Message:
            message = await receive()
            if self._protocol.is_broken(self._cycle) and message.get("more_body", False):
                raise MalformedRequestError("The body's chunks are not those of HTTP (RFC 9112, section 7.1).")
            return message

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start" and self._cycle.more_body:
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        await self._app(scope, receive_or_fail, send_and_close)
