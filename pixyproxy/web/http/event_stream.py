"""Server-sent events (HTML standard, section 9.2), as an answer."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from starlette.requests import Request
from starlette.responses import Response

from pixyproxy.core import limits
from pixyproxy.service.generating.wait import mark_retrieved
from pixyproxy.web.http.accepting import accepts
from pixyproxy.web.http.content import ContentResponse, HeadResponse
from pixyproxy.web.http.head import HEAD

MEDIA_TYPE = "text/event-stream"
HEADERS = {
    "Content-Type": f"{MEDIA_TYPE}; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx passes the events on as they come
}
KEEP_ALIVE = limits.STREAM_KEEP_ALIVE
SILENCE = b": keep-alive\n\n"


def accepts_events(request: Request) -> bool:
    """Whether Accept names event streams. A client that accepts any type gets JSON."""
    return accepts(request, MEDIA_TYPE)


def event_of(name: str, data: str) -> bytes:
    """An event. The data must be one line, as JSON is."""
    return f"event: {name}\ndata: {data}\n\n".encode()


def event_response(request: Request, chunks: AsyncGenerator[bytes, None], *, patience: float) -> Response:
    """The answer that sends the chunks of events as they arrive; `patience`: see `ContentResponse`."""
    if HEAD in request.scope:
        return HeadResponse(200, HEADERS)
    return ContentResponse(EventStream(chunks), status=200, headers=HEADERS, patience=patience)


class EventStream:
    """Chunks of events for `ContentResponse`, and a comment after each `keep_alive` seconds without a chunk.

    No comment comes between the chunks of one event. At most one chunk waits for a slow client; the next one is read
    after it was sent.
    """

    size_bytes = 0  # unknown

    def __init__(self, chunks: AsyncGenerator[bytes, None], *, keep_alive: float = KEEP_ALIVE) -> None:
        self._chunks = chunks
        self._keep_alive = keep_alive
        self._next: asyncio.Future[bytes] | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The chunks and comments."""
        between_events = True
        while True:
            self._next = asyncio.ensure_future(anext(self._chunks))
            self._next.add_done_callback(mark_retrieved)
            while not self._next.done():
                await asyncio.wait({self._next}, timeout=self._keep_alive)
                if between_events and not self._next.done():
                    yield SILENCE
            try:
                chunk = self._next.result()
            except StopAsyncIteration:
                return
            between_events = chunk.endswith(b"\n\n")
            yield chunk

    async def aclose(self) -> None:
        """End the chunks."""
        if self._next is not None and not self._next.done():
            self._next.cancel()
            await asyncio.wait({self._next})
        await self._chunks.aclose()
