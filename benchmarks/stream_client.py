"""Clients of streams of images, in a process of their own: many at once, and the second half reads slowly.

`python -m benchmarks.stream_client --port P --clients N --rate BYTES` prints a JSON list: for each client whether its
stream ended with the finished picture, how many partial images came before it, and the seconds until then.
"""

import argparse
import asyncio
import json
import os
import socket
import sys

import uvloop

from benchmarks.slow_client import PIECE, RECEIVE_BUFFER

TIMEOUT = 300.0
BODY = json.dumps({"prompt": "a lighthouse at dawn", "stream": True, "partial_images": 3}).encode()
PARTIAL, COMPLETED = b"event: image_generation.partial_image", b"event: image_generation.completed"
END = b"\r\n0\r\n\r\n"
OVERLAP = max(len(PARTIAL), len(COMPLETED), len(END))


class Stream:
    """The state of a stream. Only the last few of its bytes are kept."""

    def __init__(self) -> None:
        self.partials = self.completed = 0
        self._last = b""

    def add(self, piece: bytes) -> None:
        """The next piece."""
        known, text = len(self._last), self._last + piece
        self.partials += text.count(PARTIAL) - text[:known].count(PARTIAL)
        self.completed += text.count(COMPLETED) - text[:known].count(COMPLETED)
        self._last = text[-OVERLAP:]

    @property
    def whole(self) -> bool:
        """Whether it has ended with the finished picture."""
        return self.completed == 1 and self._last.endswith(END)


async def read_stream(port: int, *, rate: float | None) -> tuple[bool, int, float]:
    """Whether the stream was complete, its partial images, and its seconds; read at `rate` bytes a second if given."""
    loop = asyncio.get_running_loop()
    lines = [
        "POST /v1/images/generations HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {os.environ['PIXYPROXY_API_KEY']}",
        "Content-Type: application/json",
        f"Content-Length: {len(BODY)}",
        "Connection: close",
    ]
    stream, total = Stream(), 0
    with socket.socket() as client:
        if rate is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        client.settimeout(0)
        await loop.sock_connect(client, ("127.0.0.1", port))
        begun = loop.time()
        await loop.sock_sendall(client, "\r\n".join([*lines, "", ""]).encode() + BODY)
        first = None
        while piece := await loop.sock_recv(client, PIECE if rate is not None else 16 * PIECE):
            stream.add(piece)
            if rate is not None:
                first = first or loop.time()
                total += len(piece)
                await asyncio.sleep(first + total / rate - loop.time())
    return stream.whole, stream.partials, loop.time() - begun


async def client(port: int, *, rate: float | None) -> tuple[bool, int, float]:
    """`read_stream`; a stream that failed is not complete."""
    try:
        async with asyncio.timeout(TIMEOUT):
            return await read_stream(port, rate=rate)
    except (OSError, TimeoutError):
        return False, 0, 0.0


async def clients(port: int, *, count: int, rate: float) -> list[tuple[bool, int, float]]:
    """The results of all clients."""
    rates = [None if number < count // 2 else rate for number in range(count)]
    return list(await asyncio.gather(*(client(port, rate=each) for each in rates)))


def main() -> None:
    """Carry out what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    options = parser.parse_args()
    json.dump(uvloop.run(clients(options.port, count=options.clients, rate=options.rate)), sys.stdout)


if __name__ == "__main__":
    main()
