"""An upstream as light as Python allows: every POST is answered with the same picture, after a fixed delay.

`GET /count` answers how many POSTs have arrived, `GET /delay/0.1` sets the delay to 0.1 s.
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

PICTURE_BYTES = 1536 * 1024
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
DELAY = re.compile(rb"GET /delay/([0-9.]+) ")


@dataclass
class Upstream:
    """What all connections share: the answer, the seconds before it, and how many POSTs have arrived."""

    answer: bytes
    delay: float
    arrived: int = 0


def images_response(picture: bytes) -> bytes:
    """The JSON of an ImagesResponse with one picture (OpenAI API reference, «Create image»)."""
    usage = {
        "input_tokens": 12,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 12},
        "output_tokens": 1056,
        "total_tokens": 1068,
    }
    facts = {"created": 1_790_000_000, "background": "opaque", "output_format": "png", "quality": "medium"}
    data = [{"b64_json": base64.b64encode(picture).decode()}]
    return json.dumps({**facts, "size": "1024x1024", "data": data, "usage": usage}).encode()


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
            asyncio.get_running_loop().call_later(self._upstream.delay, self._send, self._upstream.answer)
            return
        if wanted := DELAY.match(head):
            self._upstream.delay = float(wanted[1])
        self._send(json.dumps({"count": self._upstream.arrived}).encode())

    def _send(self, body: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode())
        self._transport.write(body)  # shared by all: what the client does not take yet is not copied


async def serve(*, port: int, delay: float) -> None:
    """Listen on 127.0.0.1 until the process is ended."""
    upstream = Upstream(images_response(png(PICTURE_BYTES)), delay)
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
