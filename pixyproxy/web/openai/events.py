"""The answer as server-sent events: partial images as they arrive, and the picture when it is stored."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, Literal

from starlette.responses import Response

from pixyproxy.core import limits
from pixyproxy.core.generations import Generation, PartialImage
from pixyproxy.core.protocols import Chunk, StoredObject
from pixyproxy.service.private import Created
from pixyproxy.web.http.content import ContentResponse
from pixyproxy.web.openai.answers import Open, encoded, paid_for
from pixyproxy.web.openai.facts import complete_usage, event_facts, own_facts, resolved_facts, revised_prompt

KEEP_ALIVE = limits.STREAM_KEEP_ALIVE
"""Seconds; a connection that is silent for longer may be cut off on its way."""
SILENCE = b": keep-alive\n\n"
Kind = Literal["image_generation", "image_edit"]


def stream_of(
    events: AsyncIterator[PartialImage | Created], *, patience: float, headers: dict[str, str], **how: Any
) -> Response:
    """The answer that streams; `how`: see `EventStream`."""
    headers = {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no", **headers}
    return ContentResponse(EventStream(events, **how), status=200, headers=headers, patience=patience)


class EventStream:
    """Events of a generation as bytes, for `ContentResponse`; it ends with `completed` or with an error.

    `asked`: the values of the request. `require_images`: raises for a generation that has none yet. `on_error`: makes
    an error of an exception. The next event is asked for when the client has taken the one before: a slow client
    misses partial images, and nobody waits for it.
    """

    size_bytes = 0  # is not known

    def __init__(
        self,
        events: AsyncIterator[PartialImage | Created],
        *,
        kind: Kind,
        asked: dict[str, Any],
        base_url: str,
        opening: Open,
        require_images: Callable[[Created], Generation],
        on_error: Callable[[Exception], dict[str, Any]],
        keep_alive: float = KEEP_ALIVE,
    ) -> None:
        self._events = events
        self._kind = kind
        self._asked = asked
        self._base_url = base_url
        self._opening = opening
        self._require_images = require_images
        self._on_error = on_error
        self._keep_alive = keep_alive
        self._began = int(time.time())
        self._pull: asyncio.Future[PartialImage | Created] | None = None
        self._open: StoredObject | None = None
        self._bytes = self._generate()

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self._bytes

    async def aclose(self) -> None:
        """Watch the generation no longer. It runs on."""
        await self._bytes.aclose()
        if self._pull is not None and not self._pull.done():
            self._pull.cancel()
            await asyncio.wait({self._pull})
        if isinstance(self._events, AsyncGenerator):
            await self._events.aclose()
        if self._open is not None:
            await self._open.aclose()

    async def _generate(self) -> AsyncGenerator[Chunk, None]:
        while True:
            try:
                self._pull = asyncio.ensure_future(anext(self._events))
                while not self._pull.done():
                    await asyncio.wait({self._pull}, timeout=self._keep_alive)
                    if not self._pull.done():
                        yield SILENCE
                event = self._pull.result()
                if isinstance(event, Created):
                    generation = self._require_images(event)
                    with paid_for(generation):
                        self._open = content = await self._opening(generation.images[0])
            except Exception as error:  # noqa: BLE001 -- after the head a stream can say it in an event only
                yield event_of("error", {"error": self._on_error(error)})
                return
            if isinstance(event, PartialImage):
                async for chunk in self._partial(event):
                    yield chunk
            else:
                async for chunk in self._completed(generation, content):
                    yield chunk
                return

    async def _partial(self, partial: PartialImage) -> AsyncIterator[bytes]:
        facts = {
            "created_at": self._began,
            **event_facts(partial.answer, self._asked),
            "partial_image_index": partial.index,
        }
        async for chunk in picture_event(f"{self._kind}.partial_image", one(partial.data), facts):
            yield chunk

    async def _completed(self, generation: Generation, content: StoredObject) -> AsyncIterator[bytes]:
        image = generation.images[0]
        facts = {
            "created_at": int(generation.created_at.timestamp()),
            **event_facts(resolved_facts(generation, image), {}),
            **revised_prompt(generation, 0),
            "usage": complete_usage(generation.usage),
            "pixyproxy": own_facts(image, base_url=self._base_url),
        }
        async for chunk in picture_event(f"{self._kind}.completed", content, facts):
            yield chunk


def event_of(name: str, data: dict[str, Any]) -> bytes:
    """One event. There is no `id:` and no `retry:`: clients of OpenAI's fail at the latter."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


async def picture_event(name: str, picture: Any, facts: dict[str, Any]) -> AsyncIterator[bytes]:
    """An event with a picture in base64, in pieces. Its kind stands in the JSON too: some clients read only that."""
    yield f'event: {name}\ndata: {{"type": "{name}", "b64_json": "'.encode()
    async for chunk in encoded(picture):
        yield chunk
    yield b'", ' + json.dumps(facts)[1:].encode() + b"\n\n"


async def one(data: bytes) -> AsyncIterator[bytes]:
    """The data as chunks."""
    yield data
