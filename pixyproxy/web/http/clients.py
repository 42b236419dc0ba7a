"""Reports to the services whether the client of a POST waits, has left, or has its complete answer."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pixyproxy.service.generating.client import Client
from pixyproxy.web.http.content import CONNECTION, Connection
from pixyproxy.web.log.request_log import CLIENT_LEFT

SCOPE_KEY = "pixyproxy.attendance"
RETRY_COUNT = "x-stainless-retry-count"
"""In this header OpenAI's SDKs count the retries."""


def client_of(request: Request, *, may_repeat: bool = False) -> Client:
    """The client of a POST, watched from now on. It is a retry if it has the header of OpenAI's SDKs.

    `may_repeat`: it may always be a retry, because clients of this kind send no such header.
    """
    attendance: Attendance = request.scope[SCOPE_KEY]
    count = request.headers.get(RETRY_COUNT, "")
    return attendance.watch(retry=may_repeat or (count.isdecimal() and int(count[:9]) > 0))


class WatchedClients:
    """An ASGI wrapper around all requests.

    It sees each message of a POST, and so whether the client received its answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._confirming: set[asyncio.Task[None]] = set()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request. The application is informed of the shutdown once the outcome for every client is known."""
        if scope["type"] == "lifespan":
            return self._app(scope, partial(self._receive_lifespan, receive), send)
        if scope["type"] != "http" or scope["method"] != "POST":
            return self._app(scope, receive, send)
        return self._watched(scope, receive, send)

    async def _watched(self, scope: Scope, receive: Receive, send: Send) -> None:
        attendance = scope[SCOPE_KEY] = Attendance(scope, receive, send)
        try:
            await self._app(scope, attendance.receive, attendance.send)
        finally:
            if attendance.end():
                # In a task: the request has ended.
                task = asyncio.create_task(attendance.confirm())
                self._confirming.add(task)
                task.add_done_callback(self._confirming.discard)

    async def _receive_lifespan(self, receive: Receive) -> Message:
        message = await receive()
        while message["type"] == "lifespan.shutdown" and self._confirming:
            await asyncio.wait(set(self._confirming))
        return message


class Attendance:
    """Watches the client of one request once `watch` was called and the body was read.

    From then on only this object awaits the server's `receive`. The application's `receive` waits for the same
    disconnect.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._client: Client | None = None
        self._body_read = False
        self._whole = False
        self._listening: asyncio.Task[None] | None = None

    def watch(self, *, retry: bool) -> Client:
        """The client."""
        if self._client is None:
            self._client = Client(retry=retry)
            self._listen()
        return self._client

    async def receive(self) -> Message:
        """What the server received."""
        if self._listening is not None:
            if not self._listening.done():
                await asyncio.wait({self._listening})
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._leave()
        elif not message.get("more_body", False):
            self._body_read = True
            self._listen()
        return message

    async def send(self, message: Message) -> None:
        """Send to the client."""
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._whole = True

    def end(self) -> bool:
        """The request has ended; whether `confirm` is to be awaited."""
        if self._listening is not None:
            self._listening.cancel()
        if not self._whole or CLIENT_LEFT in self._scope:
            self._leave()
            return False
        return self._client is not None and not self._client.left

    async def confirm(self) -> None:
        """Find out whether the client receives the complete answer, which has been written."""
        connection: Connection | None = self._scope.get(CONNECTION)
        if self._client is not None:
            if connection is None or await connection.took_all():
                self._client.serve()
            else:
                self._client.leave()

    def _listen(self) -> None:
        if self._client is not None and self._body_read and self._listening is None:
            self._listening = asyncio.create_task(self._wait_for_the_end())

    async def _wait_for_the_end(self) -> None:
        with suppress(ConnectionError):
            while (await self._receive())["type"] != "http.disconnect":
                pass
        if not self._whole:  # a server sends the same message after a complete answer
            self._leave()

    def _leave(self) -> None:
        if self._client is not None:
            self._client.leave()
