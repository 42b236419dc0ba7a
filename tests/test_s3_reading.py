"""How objects are read from S3: signatures that are used again and made anew, backpressure, and what breaks."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from pixyproxy.core.exceptions import ObjectNotFoundError, PixyProxyException, StorageError, StorageUnavailableError
from pixyproxy.core.limits import S3Limits
from pixyproxy.storage.s3.client import open_s3_storage, proxy_to
from pixyproxy.storage.s3.connecting import Route
from pixyproxy.storage.s3.connections import Connections
from pixyproxy.storage.s3.http_reader import BUFFER
from pixyproxy.storage.s3.reading import MAX_ERROR, S3Reading
from tests.servers import free_ports

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndata"
ACCESS_DENIED = b"<Error><Code>AccessDenied</Code></Error>"


def refusal(status: int, body: bytes = b"", *headers: str) -> bytes:
    """An answer that is no picture."""
    head = "\r\n".join([f"HTTP/1.1 {status} No", f"Content-Length: {len(body)}", *headers])
    return head.encode() + b"\r\n\r\n" + body


Answer = bytes | tuple[bytes, bytes] | None


@dataclass
class Bucket:
    """A server that gives its answers in turn, the last one again and again; None: it hangs up without one.

    A pair is an answer in two pieces, the second one sent a moment later.
    """

    answers: list[Answer]
    requests: list[bytes] = field(default_factory=list)
    signed: list[str] = field(default_factory=list)
    port: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    sent: int = 0
    hang_up: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        try:
            while True:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if answer is None:
                    return
                if isinstance(answer, tuple):
                    writer.write(answer[0])
                    await writer.drain()
                    await asyncio.sleep(0.1)  # a piece of its own for the client
                    writer.write(answer[1])
                    continue
                for start in range(0, len(answer), 65_536):
                    writer.write(answer[start : start + 65_536])
                    await writer.drain()
                    self.sent = start
                if b"\r\n\r\n" not in answer:
                    return
                if b"half" in answer:
                    await self.hang_up.wait()
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone.set()
        finally:
            writer.close()

    async def sign(self, name: str, seconds: int) -> str:
        """A URL that differs each time."""
        self.signed.append(name)
        return f"http://127.0.0.1:{self.port}/bucket/{name}?signature={len(self.signed)}%2F&for={seconds}"


@asynccontextmanager
async def bucket(*answers: Answer) -> AsyncIterator[tuple[Bucket, S3Reading]]:
    """The server, and what reads from it."""
    found = Bucket(list(answers))
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    connections = Connections(Route())
    try:
        yield found, S3Reading(connections, found.sign)
    finally:
        await connections.aclose()
        server.close()


async def read(reading: S3Reading, name: str = "a", part: range | None = None) -> bytes:
    """The object, or a part of it."""
    opened = await reading.open(name, part=part)
    try:
        return b"".join([chunk async for chunk in opened])
    finally:
        await opened.aclose()


async def test_a_signature_is_used_again_for_its_object_and_sent_as_it_is() -> None:
    async with bucket(OK) as (server, reading):
        for name in ("a", "b", "a", "a"):
            assert await read(reading, name) == b"data"
    assert server.signed == ["a", "b"]
    assert server.requests[0].startswith(b"GET /bucket/a?signature=1%2F&for=900 HTTP/1.1\r\n")
    assert server.requests[3].startswith(b"GET /bucket/a?signature=1%2F&for=900 HTTP/1.1\r\n")
    assert b"accept-encoding" not in server.requests[0].lower()


@pytest.mark.parametrize(
    "refused",
    [
        refusal(403, ACCESS_DENIED),
        refusal(400, b"<Error><Code>ExpiredToken</Code></Error>"),
        refusal(503, b"<Error><Code>SlowDown</Code></Error>"),
        refusal(500),
        None,
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"no HTTP at all\r\n\r\n",
    ],
)
async def test_what_fails_is_tried_again(refused: bytes | None) -> None:
    async with bucket(refused, OK) as (server, reading):
        assert await read(reading) == b"data"
    assert len(server.requests) >= 2


async def test_after_a_refusal_it_is_signed_anew() -> None:
    async with bucket(refusal(403, ACCESS_DENIED), OK) as (server, reading):
        assert await read(reading) == b"data"
        assert await read(reading) == b"data"
    assert server.signed == ["a", "a"]
    assert b"signature=2" in server.requests[2]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refusal(403, ACCESS_DENIED), StorageUnavailableError),
        (refusal(404, b"<Error><Code>NoSuchBucket</Code></Error>"), StorageUnavailableError),
        (refusal(404, b"<Error><Code>NoSuchKey</Code></Error>"), ObjectNotFoundError),
        (refusal(416, b"<Error><Code>InvalidRange</Code></Error>"), ObjectNotFoundError),
        (refusal(500), StorageUnavailableError),
        (refusal(429), StorageUnavailableError),
        (refusal(301, b"", "Location: http://127.0.0.1:1/elsewhere"), StorageError),
        (refusal(307, b"<Error><Code>TemporaryRedirect</Code></Error>", "Location: /b"), StorageError),
        (None, StorageUnavailableError),
        (b"HTTP/1.1 200 OK\r\n\r\nno length", StorageError),
        (b"HTTP/1.1 206 Partial Content\r\nContent-Length: 4\r\n\r\ndata", StorageError),
    ],
)
async def test_what_it_means_in_the_end(answer: bytes | None, kind: type[PixyProxyException]) -> None:
    async with bucket(answer) as (server, reading):
        with pytest.raises(PixyProxyException) as caught:
            await reading.open("a", part=None)
    assert type(caught.value) is kind
    assert all(b"elsewhere" not in request.split(b"\r\n")[0] for request in server.requests), "no redirect is followed"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndata", StorageError),
        ("HTTP/1.1 206 No\r\nContent-Length: 2\r\n\r\nta", StorageError),
        ("HTTP/1.1 206 No\r\nContent-Length: 2\r\nContent-Range: bytes 0-1/4\r\n\r\nda", StorageError),
        ("HTTP/1.1 206 No\r\nContent-Length: 1\r\nContent-Range: bytes 2-2/3\r\n\r\nt", ObjectNotFoundError),
    ],
)
async def test_another_part_than_the_one_that_was_asked_for_is_not_passed_on(
    answer: str, kind: type[PixyProxyException]
) -> None:
    async with bucket(answer.encode()) as (_, reading):
        with pytest.raises(PixyProxyException) as caught:
            await reading.open("a", part=range(2, 4))
    assert type(caught.value) is kind


async def test_a_refusal_that_comes_in_pieces_is_read_to_its_end() -> None:
    body = b"<Error><Code>NoSuchBucket</Code></Error>"
    async with bucket((refusal(404, body).removesuffix(body[9:]), body[9:])) as (_, reading):
        with pytest.raises(StorageUnavailableError, match="NoSuchBucket"):
            await reading.open("a", part=None)


async def test_no_more_of_a_refusal_is_read_than_its_bound() -> None:
    endless = b"HTTP/1.1 404 No\r\nContent-Length: 1000000000\r\n\r\n" + b" " * MAX_ERROR
    async with bucket((endless, b"")) as (server, reading):
        with pytest.raises(ObjectNotFoundError):
            await reading.open("a", part=None)
        await asyncio.wait_for(server.gone.wait(), 10)


async def test_a_part_is_asked_for_with_its_range() -> None:
    answer = b"HTTP/1.1 206 No\r\nContent-Length: 2\r\nContent-Range: bytes 2-3/4\r\n\r\nta"
    async with bucket(answer) as (server, reading):
        opened = await reading.open("a", part=range(2, 4))
        assert opened.size_bytes == 4
        assert [chunk async for chunk in opened] == [b"ta"]
        await opened.aclose()
    assert b"\r\nRange: bytes=2-3\r\n" in server.requests[0]


async def test_an_object_that_breaks_off_is_a_storage_that_is_away() -> None:
    async with bucket(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf") as (server, reading):
        opened = await reading.open("a", part=None)
        reader = aiter(opened)
        assert await anext(reader) == b"half"
        reading_on = asyncio.ensure_future(anext(reader))
        await asyncio.sleep(0)
        server.hang_up.set()
        with pytest.raises(StorageUnavailableError):
            await reading_on
        await opened.aclose()


async def test_what_is_not_read_stays_with_the_server_and_a_reader_that_leaves_closes_the_connection() -> None:
    size = 64 * 1024 * 1024
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode() + bytes(size)
    async with bucket(answer) as (server, reading):
        opened = await reading.open("a", part=None)
        exchange = opened._answer
        assert exchange is not None
        reader = aiter(opened)
        await anext(reader)
        sent = -1
        while server.sent != sent:  # until the server can send no more
            sent = server.sent
            await asyncio.sleep(0.2)
        assert 0 < sent < size - 1024 * 1024
        held = exchange._unread
        assert held < 2 * BUFFER + 512 * 1024
        await opened.aclose()
        await asyncio.wait_for(server.gone.wait(), 10)


async def test_a_missing_or_silent_server_is_unavailable_in_time() -> None:
    hanging = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        await hanging.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    (unused,) = free_ports(1)
    for port in (server.sockets[0].getsockname()[1], unused):
        found = Bucket([], port=port)
        connections = Connections(Route(), limits=S3Limits(read=0.3))
        reading = S3Reading(connections, found.sign, limits=S3Limits(read=0.3))
        started = time.monotonic()
        with pytest.raises(StorageUnavailableError):
            await reading.open("a", part=None)
        assert time.monotonic() - started < 5
        await connections.aclose()
    hanging.set()
    server.close()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy.example:3128"}, "http://proxy.example:3128"),
        ({"HTTPS_PROXY": "http://proxy.example:3128", "NO_PROXY": "s3.example"}, None),
        ({"HTTPS_PROXY": "proxy.example:3128"}, "http://proxy.example:3128"),
        ({"HTTP_PROXY": "http://proxy.example:3128"}, None),
    ],
)
def test_the_proxy_is_the_one_that_botocore_would_use(
    environment: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_to("https://s3.example/bucket") == expected


@pytest.mark.usefixtures("s3_credentials")
@pytest.mark.parametrize(
    ("region", "host"),
    [("us-east-1", "pictures.s3.amazonaws.com"), ("eu-central-1", "pictures.s3.eu-central-1.amazonaws.com")],
)
async def test_at_aws_the_url_is_the_one_of_the_region(region: str, host: str) -> None:
    storage = open_s3_storage("s3://pictures", endpoint_url=None, region=region)
    url = await storage._signed("a.png", 900)
    assert url.startswith(f"https://{host}/a.png?X-Amz-Algorithm=AWS4-HMAC-SHA256&")
    assert "X-Amz-Expires=900" in url
