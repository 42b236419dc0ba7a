"""How pictures are put: signed with the SHA-256 that is known, at one attempt, before boto3 makes the others."""

import asyncio
import hashlib
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser

import pytest
from botocore.credentials import ReadOnlyCredentials

from pixyproxy.core.exceptions import StorageUnavailableError
from pixyproxy.core.limits import S3Limits
from pixyproxy.storage.s3.client import open_s3_storage
from pixyproxy.storage.s3.connecting import Route
from pixyproxy.storage.s3.connections import Connections
from pixyproxy.storage.s3.storage import S3ImageStorage
from pixyproxy.storage.s3.writing import CREDENTIALS_AGE, PIECE, S3Writing
from tests import planted
from tests.servers import SeaweedFS, free_ports

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("s3_credentials")]

TAKEN = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
DATA = os.urandom(3 * PIECE + 17)
SHA256 = hashlib.sha256(DATA).hexdigest()
AT_ONCE = 1024 * 1024
"""Bytes of a body that the server reads at once."""
KEY = "0f0e0d0c-0b0a-4908-8706-050403020100.png"


def refusal(status: int, code: str) -> bytes:
    """An answer that refuses."""
    body = f"<Error><Code>{code}</Code></Error>".encode()
    return b"HTTP/1.1 %d No\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


@dataclass
class Put:
    """A request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """Gives its answers in turn, the last one again and again.

    `pause`: seconds before each part of a body is read. `closes`: whether it closes each connection after its answer,
    without saying so.
    """

    answers: list[bytes]
    pause: float = 0.0
    closes: bool = False
    puts: list[Put] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        self.connections += 1
        try:
            while True:
                line, _, head = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
                headers = {name.lower(): value for name, value in BytesParser().parsebytes(head).items()}
                body = b""
                while len(body) < int(headers["content-length"]):
                    await asyncio.sleep(self.pause)
                    body += await reader.read(min(AT_ONCE, int(headers["content-length"]) - len(body)))
                self.puts.append(Put(line.decode(), headers, body))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if not answer:
                    await asyncio.sleep(60)
                writer.write(answer)
                await writer.drain()
                if self.closes:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(*answers: bytes, pause: float = 0.0, closes: bool = False) -> AsyncIterator[Server]:
    """Such a server."""
    found = Server(list(answers), pause=pause, closes=closes)
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0, limit=AT_ONCE)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()


class Role:
    """Gives the credentials of a role, others each time."""

    def __init__(self) -> None:
        self.asked = 0

    async def credentials(self) -> ReadOnlyCredentials:
        """The next ones."""
        self.asked += 1
        return ReadOnlyCredentials(f"role{self.asked}", "secret", f"token{self.asked}", None)


@asynccontextmanager
async def writing_as(role: Role, *, limits: S3Limits | None = None) -> AsyncIterator[S3Writing]:
    """What puts with these credentials."""
    known = limits or S3Limits()
    connections = Connections(Route(), limits=known)
    try:
        yield S3Writing(connections, role.credentials, region="eu-central-1", limits=known)
    finally:
        await connections.aclose()


async def put(writing: S3Writing, port: int, data: bytes = DATA) -> bool:
    """Whether the server took it."""
    url = f"http://127.0.0.1:{port}/pictures/{KEY}"
    return await writing.put(url, data, content_type="image/png", sha256=hashlib.sha256(data).hexdigest())


@asynccontextmanager
async def storage_at(url: str, endpoint: str, *, limits: S3Limits | None = None) -> AsyncIterator[S3ImageStorage]:
    """The storage of a bucket."""
    storage = open_s3_storage(url, endpoint_url=endpoint, region="us-east-1", limits=limits or S3Limits())
    try:
        yield storage
    finally:
        await storage.aclose()


async def whole(storage: S3ImageStorage, key: str) -> bytes:
    """An object's bytes."""
    opened = await storage.open(key)
    return b"".join([bytes(chunk) async for chunk in opened])


def never_put(storage: S3ImageStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on boto3 puts nothing."""

    def refuse(**_: object) -> None:
        raise AssertionError("boto3 was asked")

    monkeypatch.setattr(storage._writer, "put_object", refuse)


async def test_a_put_is_one_request_that_is_signed_with_the_known_hash() -> None:
    role = Role()
    async with serving(TAKEN) as server, writing_as(role) as writing:
        for data in (DATA, b"", b"x", bytes(PIECE)):
            assert await put(writing, server.port, data)
        assert [each.body for each in server.puts] == [DATA, b"", b"x", bytes(PIECE)]
        headers = server.puts[0].headers
        assert server.puts[0].line == f"PUT /pictures/{KEY} HTTP/1.1"
        assert headers["x-amz-content-sha256"] == SHA256
        assert headers["content-type"] == "image/png"
        assert headers["content-length"] == str(len(DATA))
        assert headers["x-amz-security-token"] == "token1"
        assert "transfer-encoding" not in headers
        signed = "SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date;x-amz-security-token"
        assert "Credential=role1/" in headers["authorization"]
        assert "/eu-central-1/s3/aws4_request" in headers["authorization"]
        assert signed in headers["authorization"]
        assert (role.asked, server.connections) == (1, 1)


async def test_a_real_server_takes_it_at_the_first_attempt_and_keeps_its_type(
    seaweedfs: SeaweedFS, unique: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = unique()
    seaweedfs.create(name)
    for prefix in ("", "/some/prefix", "/a b+ü~(1)"):
        async with storage_at(f"s3://{name}{prefix}", seaweedfs.endpoint) as storage:
            never_put(storage, monkeypatch)
            await storage.put(KEY, DATA, content_type="image/png", sha256=SHA256)
            await storage.put(KEY, DATA, content_type="image/png")  # its hash is not known
            assert await whole(storage, KEY) == DATA
    head = seaweedfs.client().head_object(Bucket=name, Key=f"some/prefix/{KEY}")
    assert (head["ContentType"], head["ContentLength"]) == ("image/png", len(DATA))


@pytest.mark.parametrize(
    "answer",
    [
        refusal(503, "SlowDown"),
        refusal(500, "InternalError"),
        refusal(403, "ExpiredToken"),
        b"HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"no HTTP at all\r\n\r\n",
    ],
    ids=["busy", "broken", "expired", "elsewhere", "no HTTP"],
)
async def test_what_is_not_taken_is_put_by_boto3(answer: bytes) -> None:
    async with serving(answer, TAKEN) as server, storage_at("s3://pictures", f"http://127.0.0.1:{server.port}") as s3:
        await s3.put(KEY, DATA, content_type="image/png", sha256=SHA256)
        ours, theirs = server.puts
        assert ours.body == theirs.body == DATA
        assert "boto" in theirs.headers["user-agent"].lower()


async def test_what_is_refused_for_good_is_the_servers_own_word() -> None:
    async with serving(refusal(403, "AccessDenied")) as server:
        async with storage_at("s3://pictures", f"http://127.0.0.1:{server.port}") as storage:
            with pytest.raises(StorageUnavailableError, match="AccessDenied"):
                await storage.put(KEY, DATA, content_type="image/png", sha256=SHA256)


async def test_a_server_that_is_silent_is_left_and_one_that_is_slow_is_not() -> None:
    limits = S3Limits(put=3)
    async with writing_as(Role(), limits=limits) as writing:
        async with serving(b"") as silent:
            started = time.monotonic()
            assert not await put(writing, silent.port)
            assert time.monotonic() - started < 30
        async with serving(TAKEN, pause=0.1) as slow:  # more than 3 s in all, and never for so long
            assert await put(writing, slow.port, bytes(48 * AT_ONCE))
        (unused,) = free_ports(1)
        assert not await put(writing, unused)


async def test_a_connection_that_was_closed_meanwhile_costs_no_attempt() -> None:
    async with serving(TAKEN, closes=True) as server, writing_as(Role()) as writing:
        for _ in range(5):
            assert await put(writing, server.port)
        assert all(each.body == DATA for each in server.puts)


async def test_credentials_are_asked_for_again_when_they_are_old_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    role = Role()
    answers = (TAKEN, TAKEN, TAKEN, refusal(400, "ExpiredToken"), TAKEN)
    async with serving(*answers) as server, writing_as(role) as writing:
        assert await put(writing, server.port)
        assert await put(writing, server.port)
        assert role.asked == 1
        now = time.monotonic()
        monkeypatch.setattr("pixyproxy.storage.s3.writing.time.monotonic", lambda: now + CREDENTIALS_AGE + 1)
        assert await put(writing, server.port)
        assert role.asked == 2
        assert not await put(writing, server.port)
        assert await put(writing, server.port)
        assert [each.headers["x-amz-security-token"] for each in server.puts] == [
            *("token1", "token1", "token2", "token2", "token3")
        ]


async def test_without_credentials_boto3_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(TAKEN) as server, storage_at("s3://pictures", f"http://127.0.0.1:{server.port}") as storage:

        async def none_left() -> ReadOnlyCredentials:
            raise StorageUnavailableError("The credentials cannot be renewed.")

        monkeypatch.setattr(storage._pictures, "_credentials", none_left)
        await storage.put(KEY, DATA, content_type="image/png", sha256=SHA256)
        (by_boto3,) = server.puts
        assert planted.S3_ACCESS_KEY in by_boto3.headers["authorization"]


async def test_readers_that_hang_in_threads_delay_no_put(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(TAKEN) as server, storage_at("s3://pictures", f"http://127.0.0.1:{server.port}") as storage:
        await storage.put(KEY, DATA, content_type="image/png", sha256=SHA256)
        never_put(storage, monkeypatch)
        release = threading.Event()
        hanging = [asyncio.create_task(storage._writing.run(release.wait, patience=60)) for _ in range(64)]
        await asyncio.sleep(0)
        await storage.put(KEY, DATA, content_type="image/png", sha256=SHA256)  # it needs no thread
        release.set()
        await asyncio.gather(*hanging)
