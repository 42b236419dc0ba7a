"""The answers of the demo upstream: pictures, events, and a plausible usage."""

import base64
import json
import math
import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.to_thread

from pixyproxy.upstream.demo.drawing import blur, encode, paint
from pixyproxy.upstream.demo.request import Asked

CELLS = {"low": 64, "medium": 32, "high": 16, "xhigh": 12, "max": 8}
"""Pixels per output token in each direction, by quality."""
PER_PARTIAL = 100

Event = dict[str, Any]


def usage_of(asked: Asked, *, pictures: int, partials: int = 0) -> dict[str, Any]:
    """The tokens of a request whose answer has this many pictures and partial images."""
    text = len(asked.prompt.split())
    image = 0
    for width, height in asked.inputs.sizes if asked.inputs else ():
        scale = 512 / min(width, height)
        image += 65 + 129 * math.ceil(width * scale / 512) * math.ceil(height * scale / 512)
        if asked.input_fidelity == "high":
            image += 4160 if width == height else 6240
    width, height = asked.pixels
    cell = CELLS[asked.quality]
    drawn = pictures * (math.ceil(width / cell) + 1) * math.ceil(height / cell) + partials * PER_PARTIAL
    return {
        "input_tokens": text + image,
        "input_tokens_details": {"image_tokens": image, "text_tokens": text},
        "output_tokens": drawn,
        "output_tokens_details": {"image_tokens": drawn, "text_tokens": 0},
        "total_tokens": text + image + drawn,
    }


async def answer(asked: Asked, *, limiter: anyio.CapacityLimiter) -> dict[str, Any]:
    """The JSON answer. `limiter` bounds how many pictures are drawn at once."""
    drawn = [(await _draw(asked, index, limiter=limiter))[-1] for index in range(asked.n)]
    return {
        "created": int(time.time()),
        **asked.resolved,
        "data": [{"b64_json": text} for text in drawn],
        "usage": usage_of(asked, pictures=asked.n),
    }


async def events(asked: Asked, *, delay: float, limiter: anyio.CapacityLimiter) -> AsyncIterator[Event]:
    """The partial images, from blurred to sharp, and the finished picture; `delay` is spread over all of them."""
    route = "image_generation" if asked.inputs is None else "image_edit"
    pause = delay / (asked.partial_images + 1)
    drawn = await _draw(asked, 0, partials=asked.partial_images, limiter=limiter)
    for index, text in enumerate(drawn):
        await anyio.sleep(pause)
        event = {"b64_json": text, "created_at": int(time.time()), **asked.resolved}
        if index < asked.partial_images:
            yield {"type": f"{route}.partial_image", **event, "partial_image_index": index}
        else:
            usage = usage_of(asked, pictures=1, partials=asked.partial_images)
            yield {"type": f"{route}.completed", **event, "usage": usage}


def written(event: Event, *, newline: str = "\n") -> bytes:
    """An event in the format of the stream."""
    return f"event: {event['type']}{newline}data: {json.dumps(event)}{newline}{newline}".encode()


async def _draw(asked: Asked, number: int, *, limiter: anyio.CapacityLimiter, partials: int = 0) -> list[str]:
    """The base64 of the partial images and of the picture."""
    width, height = asked.pixels

    def draw() -> list[str]:
        picture = paint(
            asked.prompt,
            width=width,
            height=height,
            transparent=asked.background == "transparent",
            number=number,
            inputs=asked.inputs,
        )
        stages = [blur(picture, sharpness=index) for index in range(partials)] + [picture]
        files = [encode(stage, output_format=asked.output_format, compression=asked.compression) for stage in stages]
        return [base64.b64encode(file).decode() for file in files]

    return await anyio.to_thread.run_sync(draw, limiter=limiter)
