"""Whether a client waits, has left, or has its whole answer: as a real server and real sockets show it."""

import asyncio
import queue
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from pixyproxy.web.http.clients import WatchedClients, client_of
from pixyproxy.web.http.content import CONNECTION
from tests.listening import listening

HEAD = b"POST /v1/x HTTP/1.1\r\nHost: pixy\r\nContent-Length: 2\r\n"
PATIENCE = 10
BIG = 64 * 1024 * 1024
"""Bytes that no buffer between a server and a client holds."""


class SlowConnection:
    """A connection whose client takes its answer when `took` is set."""

    def __init__(self) -> None:
        self.took = asyncio.Event()

    async def took_all(self) -> bool:
        await self.took.wait()
        return True


@pytest.mark.anyio
async def test_the_application_ends_when_it_is_known_how_every_client_fared() -> None:
    happened: list[str] = []
    connection = SlowConnection()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            happened.append((await receive())["type"])
            return
        client_of(Request(scope, receive, send)).when_it_ends(lambda served: happened.append(f"served: {served}"))
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Message:
        return {"type": "lifespan.shutdown"}

    async def send(_: Message) -> None:
        pass

    watched = WatchedClients(app)
    await watched({"type": "http", "method": "POST", "headers": [], CONNECTION: connection}, receive, send)
    ending = asyncio.ensure_future(watched({"type": "lifespan"}, receive, send))
    done, _ = await asyncio.wait({ending}, timeout=0.1)
    connection.took.set()
    await ending
    assert (done, happened) == (set(), ["served: True", "lifespan.shutdown"])


class Answering:
    """Notes what becomes of each client. `wait`: it answers when `go` is set. `body`: the answer, `pieces` times."""

    def __init__(self, *, wait: bool = False, body: bytes = b"ok", pieces: int = 1) -> None:
        self.wait = wait
        self.body = body
        self.pieces = pieces
        self.go = threading.Event()
        self.served: queue.Queue[bool] = queue.Queue()
        self.retries: queue.Queue[bool] = queue.Queue()
        self.received: queue.Queue[str] = queue.Queue()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive, send)
        assert await request.body() == b"{}"
        client = client_of(request)
        client.when_it_ends(self.served.put)
        self.retries.put(client.retry)
        while self.wait and not self.go.is_set():
            if await request.is_disconnected():
                self.received.put((await receive())["type"])
                self.wait = False
            await asyncio.sleep(0.01)
        size = str(len(self.body) * self.pieces).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", size)]})
        for piece in range(1, self.pieces + 1):
            await send({"type": "http.response.body", "body": self.body, "more_body": piece < self.pieces})


@contextmanager
def served(app: Answering) -> Iterator[socket.socket]:
    """A connection to a server of the application."""
    with listening(WatchedClients(app)) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
            yield connection


def reset(connection: socket.socket) -> None:
    """Close it with a RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_a_client_that_takes_its_whole_answer_is_served_also_twice_in_a_connection() -> None:
    app = Answering()
    with served(app) as connection:
        for _ in range(2):
            connection.sendall(HEAD + b"\r\n{}")
            assert connection.recv(1000).endswith(b"ok")
            assert app.served.get(timeout=PATIENCE) is True


def test_a_client_that_takes_a_large_answer_slowly_is_served_when_it_has_the_last_byte() -> None:
    app = Answering(body=bytes(BIG))
    with served(app) as connection:
        connection.sendall(HEAD + b"\r\n{}")
        connection.recv(1000)
        with pytest.raises(queue.Empty):
            app.served.get(timeout=0.3)
        taken = 0
        while taken < BIG - 1000:
            taken += len(connection.recv(1024 * 1024))
        assert app.served.get(timeout=PATIENCE) is True


@pytest.mark.parametrize("close", [socket.socket.close, reset])
def test_a_client_that_leaves_while_it_waits_is_gone_at_once(close: object) -> None:
    app = Answering(wait=True)
    with served(app) as connection:
        connection.sendall(HEAD + b"\r\n{}")
        app.retries.get(timeout=PATIENCE)
        close(connection)  # type: ignore[operator]
        assert app.served.get(timeout=PATIENCE) is False
        assert app.received.get(timeout=PATIENCE) == "http.disconnect", "the application sees it too"


def test_a_client_that_leaves_between_two_pieces_is_gone() -> None:
    app = Answering(body=bytes(1024 * 1024), pieces=64)
    with served(app) as connection:
        connection.sendall(HEAD + b"\r\n{}")
        connection.recv(1000)
        connection.close()
        assert app.served.get(timeout=PATIENCE) is False


@pytest.mark.parametrize("header", [b"", b"Connection: close\r\n"])
def test_a_client_that_leaves_when_all_was_written_and_not_all_was_taken_is_gone(header: bytes) -> None:
    app = Answering(body=bytes(BIG))
    with served(app) as connection:
        connection.sendall(HEAD + header + b"\r\n{}")
        connection.recv(1000)
        with pytest.raises(queue.Empty):
            app.served.get(timeout=0.3)
        connection.close()
        assert app.served.get(timeout=PATIENCE) is False


@pytest.mark.parametrize(
    ("header", "retry"),
    [
        (b"", False),
        (b"x-stainless-retry-count: 0\r\n", False),
        (b"X-Stainless-Retry-Count: 2\r\n", True),
        (b"x-stainless-retry-count: -1\r\n", False),
        (b"x-stainless-retry-count: many\r\n", False),
        (b"x-stainless-retry-count: " + b"9" * 5000 + b"\r\n", True),
    ],
)
def test_a_retry_is_what_says_so(header: bytes, retry: bool) -> None:
    app = Answering()
    with served(app) as connection:
        connection.sendall(HEAD + header + b"\r\n{}")
        assert app.retries.get(timeout=PATIENCE) is retry


def test_a_body_that_comes_in_pieces_is_read_to_its_end() -> None:
    app = Answering()
    with served(app) as connection:
        connection.sendall(HEAD + b"\r\n{")
        with pytest.raises(queue.Empty):
            app.retries.get(timeout=0.2)
        connection.sendall(b"}")
        assert app.served.get(timeout=PATIENCE) is True
