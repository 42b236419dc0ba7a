"""Server-sent events as OpenAI names them: partial images as they arrive, and the picture when it is stored."""

import json
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Literal

from pixyproxy.core.generations import Generation, PartialImage
from pixyproxy.core.protocols import Chunk
from pixyproxy.service.generating.created import Created
from pixyproxy.web.http.event_stream import event_of
from pixyproxy.web.openai.answers import Open, base64_of, content_of, paid_for
from pixyproxy.web.openai.facts import complete_usage, event_facts, own_facts, resolved_facts, revised_prompt

Kind = Literal["image_generation", "image_edit"]


async def events_of(
    events: AsyncGenerator[PartialImage | Created, None],
    *,
    kind: Kind,
    asked: dict[str, Any],
    base_url: str,
    opening: Open,
    require_images: Callable[[Created], Generation],
    on_error: Callable[[Exception], dict[str, Any]],
) -> AsyncGenerator[bytes, None]:
    """The events of a generation, in chunks; the last one is `completed` or an error.

    `asked`: the values of the request. `require_images`: raises for a generation that has none yet. `on_error`:
    converts an exception to an error. Raises if reading the picture breaks off: its event cannot be completed.
    """
    began = int(time.time())
    async with aclosing(events):
        while True:
            try:
                event = await anext(events)
                if isinstance(event, Created):
                    generation = require_images(event)
                    with paid_for(generation):
                        content = await opening(generation.images[0])
            except Exception as error:  # noqa: BLE001 -- after the headers, only an event can report it
                yield event_of("error", json.dumps({"error": on_error(error)}))
                return
            if isinstance(event, PartialImage):
                facts = {
                    "created_at": began,
                    **event_facts(event.answer, asked),
                    "partial_image_index": event.index,
                }
                async for chunk in picture_event(f"{kind}.partial_image", one(event.data), facts):
                    yield chunk
                continue
            facts = completed_facts(generation, base_url=base_url)
            # The object itself too: if the client leaves before the first byte of it, `content_of` has not begun.
            whole = content_of(generation.images[0], content, opening=opening)
            async with aclosing(content), aclosing(whole) as picture:
                async for chunk in picture_event(f"{kind}.completed", picture, facts):
                    yield chunk
            return


def completed_facts(generation: Generation, *, base_url: str) -> dict[str, Any]:
    """What `completed` says besides the picture."""
    image = generation.images[0]
    return {
        "created_at": int(generation.created_at.timestamp()),
        **event_facts(resolved_facts(generation, image), {}),
        **revised_prompt(generation, 0),
        "usage": complete_usage(generation.usage),
        "pixyproxy": own_facts(generation, image, base_url=base_url),
    }


async def picture_event(name: str, picture: AsyncIterable[Chunk], facts: dict[str, Any]) -> AsyncIterator[bytes]:
    """An event with a picture in base64, in pieces. Its kind stands in the JSON too: some clients read only that."""
    yield f'event: {name}\ndata: {{"type": "{name}", "b64_json": "'.encode()
    async for chunk in base64_of(picture):
        yield chunk
    yield b'", ' + json.dumps(facts)[1:].encode() + b"\n\n"


async def one(data: bytes) -> AsyncIterator[bytes]:
    """The data as chunks."""
    yield data
