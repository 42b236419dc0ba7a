"""An upstream as light as Python allows: every POST is answered with the same picture, after a fixed delay.

A POST that asks for a stream gets three partial images on the way. `GET /count` answers how many POSTs have arrived,
`GET /delay/0.1` sets the delay to 0.1 s.
"""

import argparse
import asyncio
import base64
import json
import re
from dataclasses import dataclass
from typing import cast

import uvloop

from benchmarks.pictures import png

PICTURE_BYTES, PARTIAL_BYTES = 1536 * 1024, 300 * 1024
PARTIALS = 3
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
DELAY = re.compile(rb"GET /delay/([0-9.]+) ")
STREAMED = re.compile(rb'"stream": ?true')


@dataclass
class Upstream:
    """What all connections share: the answer, its events, the seconds before it, and how many POSTs have arrived."""

    answer: bytes
    events: list[bytes]
    delay: float
    arrived: int = 0


USAGE = {
    "input_tokens": 12,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 12},
    "output_tokens": 1056,
    "total_tokens": 1068,
}
FACTS = {"background": "opaque", "output_format": "png", "quality": "medium", "size": "1024x1024"}
CREATED = 1_790_000_000


def images_response(picture: bytes) -> bytes:
    """The JSON of an ImagesResponse with one picture (OpenAI API reference, «Create image»)."""
    data = [{"b64_json": base64.b64encode(picture).decode()}]
    return json.dumps({"created": CREATED, **FACTS, "data": data, "usage": USAGE}).encode()


def image_events(picture: bytes, partials: list[bytes]) -> list[bytes]:
    """The events of a stream, each as a chunk of HTTP (OpenAI API reference, «Image Streaming»)."""
    last = [{"partial_image_index": index} for index in range(len(partials))] + [{"usage": USAGE}]
    chunks = []
    for number, (image, facts) in enumerate(zip([*partials, picture], last, strict=True)):
        kind = f"image_generation.{'completed' if number == len(partials) else 'partial_image'}"
        data = {"type": kind, "b64_json": base64.b64encode(image).decode(), "created_at": CREATED, **FACTS, **facts}
        event = f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()
        chunks.append(b"%x\r\n%s\r\n" % (len(event), event))
    return [*chunks[:-1], chunks[-1] + b"0\r\n\r\n"]


class Stub(asyncio.Protocol):
    """One connection, which may carry request after request, never two at once."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called when a client has connected."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called with a piece of a request."""
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not found or len(body) < (int(length[1]) if length else 0):
            return
        self._received = b""
        if head.startswith(b"POST"):
            self._upstream.arrived += 1
            if STREAMED.search(body):
                self._stream()
            else:
                asyncio.get_running_loop().call_later(self._upstream.delay, self._send, self._upstream.answer)
            return
        if wanted := DELAY.match(head):
            self._upstream.delay = float(wanted[1])
        self._send(json.dumps({"count": self._upstream.arrived}).encode())

    def _stream(self) -> None:
        """The head at once, and the events spread evenly over the delay."""
        lines = ("HTTP/1.1 200 OK", "content-type: text/event-stream", "transfer-encoding: chunked", "", "")
        self._transport.write("\r\n".join(lines).encode())
        events = self._upstream.events
        for number, event in enumerate(events, start=1):
            moment = self._upstream.delay * number / len(events)
            asyncio.get_running_loop().call_later(moment, self._transport.write, event)

    def _send(self, body: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode())
        self._transport.write(body)  # shared by all: bytes that the client has not read yet are not copied


async def serve(*, port: int, delay: float) -> None:
    """Listen on 127.0.0.1 until the process is ended."""
    picture, partials = png(PICTURE_BYTES), [png(PARTIAL_BYTES, seed=seed) for seed in range(1, PARTIALS + 1)]
    upstream = Upstream(images_response(picture), image_events(picture, partials), delay)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Stub(upstream), "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Serve with the port and the delay in seconds of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--delay", type=float, required=True)
    options = parser.parse_args()
    uvloop.run(serve(port=options.port, delay=options.delay))


if __name__ == "__main__":
    main()
