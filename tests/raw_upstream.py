"""An upstream made by hand, byte by byte, and a client that draws there."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from pixyproxy.core.generations import Drawing, GenerationRequest
from pixyproxy.core.images import Picture
from pixyproxy.core.inputs import InputFile
from pixyproxy.core.protocols import PartialSink
from pixyproxy.upstream.openai.client import open_client
from pixyproxy.upstream.openai.generator import OpenAIImageGenerator

REQUEST = GenerationRequest(prompt="a dot", model="m")
BODY = b'{"data": [{"b64_json": "aGFsbG8="}]}'
HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
HALLO = (Picture.of(b"hallo"),)


@dataclass
class Connection:
    """One connection that the upstream has accepted."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
        await self.writer.drain()

    async def answer(self, body: bytes = BODY, *, headers: bytes = b"") -> None:
        await self.send(HEADERS, headers, b"Content-Length: %d\r\n\r\n" % len(body), body)

    def reset(self) -> None:
        """Close with an RST."""
        connected: socket.socket = self.writer.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class RawUpstream:
    """An upstream made by hand: what it was sent, and where it is."""

    address: str = ""
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0


Script = Callable[[Connection, int], Awaitable[None]]


def content_length(head: bytes) -> int:
    (length,) = [int(line.partition(b":")[2]) for line in head.lower().split(b"\r\n") if b"content-length:" in line]
    return length


@asynccontextmanager
async def raw_upstream(script: Script, *, reads_bodies: bool = True) -> AsyncIterator[RawUpstream]:
    """An upstream that does as the script says with each request, which has a number from 1 on.

    `reads_bodies` False: the script is called as soon as the head of a request has come.
    """
    upstream = RawUpstream()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(content_length(head)) if reads_bodies else b""
                upstream.requests.append(head + body)
                await script(Connection(reader, writer), len(upstream.requests))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1000)
    upstream.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield upstream
    finally:
        server.close()


async def at_once() -> None:
    """The turn of a generation that need not wait."""


class Drawer:
    """A client that draws, and counts its turns."""

    def __init__(self, address: str, *, deadline: float = 10, connections: int = 10) -> None:
        self.client = open_client(api_key="sk-x", base_url=address, connections=connections)
        self.generator = OpenAIImageGenerator(self.client, deadline=deadline)
        self.turns = 0

    async def draw(
        self,
        turn: Callable[[], Awaitable[None]] = at_once,
        *,
        request: GenerationRequest = REQUEST,
        inputs: Sequence[InputFile] = (),
        partials: PartialSink | None = None,
    ) -> Drawing:
        async def counted() -> None:
            self.turns += 1
            await turn()

        return await self.generator.draw(request, turn=counted, inputs=inputs, partials=partials)


@asynccontextmanager
async def drawing(
    script: Script, *, deadline: float = 10, connections: int = 10, reads_bodies: bool = True
) -> AsyncIterator[tuple[RawUpstream, Drawer]]:
    """An upstream with this script, and a client of it."""
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(raw_upstream(script, reads_bodies=reads_bodies))
        drawer = Drawer(upstream.address, deadline=deadline, connections=connections)
        stack.push_async_callback(drawer.client.close)
        yield upstream, drawer
