"""A light load generator in a process of its own: POSTs at given moments, and steady GETs beside them.

`python -m benchmarks.load` reads a plan as JSON from stdin and writes what happened as JSON to stdout. Every request
has its moment, whatever became of the ones before it, and its latency counts from then on. Bodies are discarded.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, cast

import httptools
import uvloop

TIMEOUT = 240.0
"""Seconds after which a request has failed."""


@dataclass(frozen=True)
class Happened:
    """A request: its moment in seconds from the beginning, seconds to its last byte, status (0: none), body bytes."""

    at: float
    seconds: float
    status: int
    size: int


@dataclass(frozen=True)
class Gets:
    """A steady stream of GETs of these paths in turn."""

    port: int
    paths: list[str]
    per_second: float
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """POSTs of one body at these moments, and streams of GETs until they are answered, or for `seconds` without any."""

    port: int = 0
    path: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    moments: list[float] = field(default_factory=list)
    gets: Mapping[str, Gets] = field(default_factory=dict)
    seconds: float = 0.0


class Connection(asyncio.Protocol):
    """A connection with one request at a time."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[tuple[int, int]] | None = None
        self._size = 0
        self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called when connected."""
        self._transport = cast("asyncio.Transport", transport)
        self.open = True

    def data_received(self, data: bytes) -> None:
        """Called with a piece of an answer."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Called with a piece of a body."""
        self._size += len(body)

    def on_message_complete(self) -> None:
        """Called at the end of an answer."""
        self.open = self._parser.should_keep_alive()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((self._parser.get_status_code(), self._size))

    def connection_lost(self, error: Exception | None) -> None:
        """Called when the connection has ended."""
        self.open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("closed before the answer was complete"))

    async def ask(self, request: bytes) -> tuple[int, int]:
        """Status and size of the answer."""
        self._parser = httptools.HttpResponseParser(self)
        self._answer, self._size = asyncio.get_running_loop().create_future(), 0
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Close it."""
        self.open = False
        self._transport.close()


class Asking:
    """Requests to one port; connections are kept, and there are as many as are needed at once."""

    def __init__(self, port: int, *, begun: float) -> None:
        self._port = port
        self._begun = begun
        self._idle: list[Connection] = []

    async def ask(self, at: float, request: bytes) -> Happened:
        """Send the request at that moment, and wait for the complete answer."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._begun + at - loop.time()))
        connection: Connection | None = None
        status = size = 0
        try:
            async with asyncio.timeout(TIMEOUT):
                while self._idle and connection is None:
                    kept = self._idle.pop()
                    connection = kept if kept.open else None
                if connection is None:
                    _, connection = await loop.create_connection(Connection, "127.0.0.1", self._port)
                status, size = await connection.ask(request)
        except (OSError, TimeoutError, httptools.HttpParserError):
            status = 0
        if connection is not None and status and connection.open:
            self._idle.append(connection)
        elif connection is not None:
            connection.close()
        return Happened(at, loop.time() - self._begun - at, status, size)


def request_bytes(method: str, path: str, port: int, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """A request as it is sent."""
    fields = {"Host": f"127.0.0.1:{port}", **headers}
    if method == "POST":
        fields |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


async def carry_out(plan: Plan) -> dict[str, list[Happened]]:
    """The results, by the name of the stream; the POSTs are called `posts`."""
    begun = asyncio.get_running_loop().time() + 0.2
    ended = asyncio.Event()

    async def stream(gets: Gets) -> list[Happened]:
        asking = Asking(gets.port, begun=begun)
        requests = cycle([request_bytes("GET", path, gets.port, gets.headers) for path in gets.paths])
        tasks: list[asyncio.Task[Happened]] = []
        while not ended.is_set():
            at = len(tasks) / gets.per_second
            tasks.append(asyncio.create_task(asking.ask(at, next(requests))))
            await asyncio.sleep(max(0.0, begun + at + 1 / gets.per_second - asyncio.get_running_loop().time()))
        return list(await asyncio.gather(*tasks))

    streams = {name: asyncio.create_task(stream(gets)) for name, gets in plan.gets.items()}
    asking = Asking(plan.port, begun=begun)
    request = request_bytes("POST", plan.path, plan.port, plan.headers, plan.body.encode())
    posts = await asyncio.gather(*(asking.ask(at, request) for at in plan.moments))
    await asyncio.sleep(0.2 + plan.seconds)
    ended.set()
    return {"posts": list(posts), **{name: await task for name, task in streams.items()}}


def carried_out(plan: Plan) -> dict[str, list[Happened]]:
    """`carry_out` in a process of its own."""
    seconds = plan.seconds + max(plan.moments, default=0.0) + TIMEOUT + 60
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        input=json.dumps(asdict(plan)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=seconds,
        cwd=Path(__file__).parent.parent,
    )
    found: dict[str, list[list[Any]]] = json.loads(ran.stdout)
    return {name: [Happened(*each) for each in happened] for name, happened in found.items()}


def main() -> None:
    """Carry out the plan on stdin."""
    known = json.load(sys.stdin)
    known["gets"] = {name: Gets(**gets) for name, gets in known["gets"].items()}
    found = uvloop.run(carry_out(Plan(**known)))
    lists = {name: [[each.at, each.seconds, each.status, each.size] for each in found[name]] for name in found}
    json.dump(lists, sys.stdout)


if __name__ == "__main__":
    main()
