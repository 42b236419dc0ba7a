"""HTTP to an ASGI app inside the process.

httpx2 has such a transport too, but it waits for the complete answer: partial images would come only with the picture.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, MutableMapping
from typing import Any

import httpx2


class InProcessTransport(httpx2.AsyncBaseTransport):
    """Passes on each piece that the app sends, at once. The app waits for the reader."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer, once its headers have arrived. Raises `httpx2.ReadError` if the app fails."""
        exchange = Exchange(request)
        exchange.begin(self._app)
        try:
            status, headers = await exchange.started
        except BaseException as error:
            await exchange.aclose()
            if isinstance(error, Exception):
                raise httpx2.ReadError("The app failed.") from error
            raise
        return httpx2.Response(status, headers=headers, stream=exchange, request=request)


class Exchange(httpx2.AsyncByteStream):
    """One request and the body of its answer. Closing it ends the app's work on it."""

    def __init__(self, request: httpx2.Request) -> None:
        self._request = request
        self._body = aiter(request.stream) if isinstance(request.stream, httpx2.AsyncByteStream) else None
        self._parts: asyncio.Queue[bytes | Exception | None] = asyncio.Queue(maxsize=1)
        self._whole = False
        self._task: asyncio.Task[None] | None = None
        self.started: asyncio.Future[tuple[int, list[tuple[bytes, bytes]]]] = asyncio.get_running_loop().create_future()

    def begin(self, app: Callable[..., Any]) -> None:
        """Have the app answer."""
        self._task = asyncio.create_task(self._run(app))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The body in the pieces in which the app sends it."""
        while (part := await self._parts.get()) is not None:
            if isinstance(part, Exception):
                raise httpx2.ReadError("The app broke off.") from part
            yield part

    async def aclose(self) -> None:
        """End the app's work, if it is not done."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self, app: Callable[..., Any]) -> None:
        url = self._request.url
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": self._request.method,
            "headers": [(name.lower(), value) for name, value in self._request.headers.raw],
            "scheme": url.scheme,
            "path": url.path,
            "raw_path": url.raw_path.split(b"?")[0],
            "query_string": url.query,
            "server": (url.host, url.port),
            "client": ("127.0.0.1", 0),
            "root_path": "",
        }
        try:
            await app(scope, self._receive, self._send)
            failure: Exception = RuntimeError("The app returned before its answer was complete.")
        except Exception as error:  # noqa: BLE001 -- of any type: it is raised where the answer is awaited
            failure = error
        if not self.started.done():
            self.started.set_exception(failure)
        elif not self._whole:
            await self._parts.put(failure)

    async def _receive(self) -> dict[str, Any]:
        if self._body is None:
            await asyncio.Event().wait()  # nothing more is received; only `aclose` disconnects
        try:
            body = await anext(self._body)  # type: ignore[arg-type]
        except StopAsyncIteration:
            self._body = None
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.request", "body": body, "more_body": True}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.started.set_result((message["status"], list(message.get("headers", ()))))
            return
        if message.get("body"):
            await self._parts.put(bytes(message["body"]))
        if not message.get("more_body", False):
            self._whole = True
            await self._parts.put(None)
