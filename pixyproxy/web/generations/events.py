"""The life of a generation as server-sent events: `state`, `partial`, `end`."""

import base64
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from pixyproxy.core.generations import Generation, GenerationState, PartialImage
from pixyproxy.core.keys import Caller
from pixyproxy.service.callers import Names
from pixyproxy.service.generating.pictures import magic_content_type
from pixyproxy.web.generations.details import GenerationDetails
from pixyproxy.web.http.event_stream import event_of

PIECE = 3 * 16 * 1024
"""Bytes of a partial image that are encoded at once, without a break in the base64."""


async def events_of(
    life: AsyncGenerator[Generation | PartialImage, None], *, base_url: str, viewer: Caller, names: Names
) -> AsyncGenerator[bytes, None]:
    """The events for a caller, in chunks.

    Without `end` the process ended before the generation did: another replica continues the events.
    """
    async with aclosing(life):
        async for moment in life:
            if isinstance(moment, PartialImage):
                for chunk in partial_event(moment):
                    yield chunk
                continue
            details = GenerationDetails.of(moment, base_url=base_url, viewer=viewer, names=names).model_dump_json()
            yield event_of("state", details)
            if moment.state is not GenerationState.RUNNING:
                yield event_of("end", details)


def partial_event(partial: PartialImage) -> Iterator[bytes]:
    """The event of a partial image, in pieces; none if its bytes are not a PNG, WebP or JPEG."""
    content_type = magic_content_type(partial.data)
    if content_type is None:
        return
    facts = json.dumps({"index": partial.index, "content_type": content_type})
    yield f'event: partial\ndata: {facts[:-1]}, "b64_json": "'.encode()
    for start in range(0, len(partial.data), PIECE):
        yield base64.b64encode(partial.data[start : start + PIECE])
    yield b'"}\n\n'
