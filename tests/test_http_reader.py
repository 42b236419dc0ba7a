"""The HTTP of readers, over raw sockets, TLS and proxies, on both event loops."""

import asyncio
import gc
import ssl
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pixyproxy.core.limits import S3Limits
from pixyproxy.storage.s3.address import Url
from pixyproxy.storage.s3.connecting import Connector, Route
from pixyproxy.storage.s3.http_reader import BUFFER, KEPT, MAX_HEAD, Exchange, HttpReader
from tests.certificates import write_certificates

pytestmark = pytest.mark.anyio

DATA = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndata"
SHORT = 0.4
"""Seconds of silence that a reader of these tests bears."""


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Production has uvloop."""
    return "asyncio", {"use_uvloop": request.param}


@dataclass
class Peer:
    """A connection to a server of these tests."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    server: "Server"

    async def asked(self) -> str:
        """The next request."""
        request = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        self.server.requests.append((self.number, request))
        return request

    async def send(self, *parts: bytes) -> None:
        """Send parts, each of which comes alone as a rule."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0.02)

    async def left(self) -> None:
        """Return when the client has closed the connection."""
        while await self.reader.read(65_536):
            pass
        self.server.left.set()


Script = Callable[[Peer], Awaitable[None]]


@dataclass
class Server:
    """A server of these tests, the requests with the numbers of their connections, and whether a client has left."""

    script: Script
    requests: list[tuple[int, str]] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        self.open += 1
        try:
            await self.script(Peer(self.connections, reader, writer, self))
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left.set()
        finally:
            self.open -= 1
            writer.close()

    def url(self, scheme: str = "http") -> Url:
        """That of an object."""
        return Url(f"{scheme}://127.0.0.1:{self.port}/b/a.png?signature=1%2F")


@asynccontextmanager
async def serving(script: Script, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A server that serves each connection by the script."""
    found = Server(script)
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0, ssl=tls, limit=1024 * 1024)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()


@asynccontextmanager
async def reading(*, proxy: str | None = None, tls: ssl.SSLContext | None = None) -> AsyncIterator[HttpReader]:
    """What is tested. It does not wait long."""
    reader = HttpReader(Route(proxy=proxy, tls=tls), limits=S3Limits(read=SHORT))
    try:
        yield reader
    finally:
        await reader.aclose()


async def body(answer: Exchange) -> bytes:
    """The whole body, and then the answer is closed."""
    pieces = []
    try:
        while piece := await answer.piece():
            pieces.append(piece)
    finally:
        answer.close()
    return b"".join(pieces)


def answering(*parts: bytes) -> Script:
    """Every request gets these parts."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.asked()
            await peer.send(*parts)

    return script


async def until(condition: Callable[[], bool]) -> None:
    """Return when it holds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_connection_is_used_again_when_its_answer_has_come() -> None:
    async with serving(answering(DATA)) as server, reading() as reader:
        for _ in range(3):
            assert await body(await reader.get(server.url())) == b"data"
        first, second = await reader.get(server.url()), await reader.get(server.url(), header="Range: bytes=0-3\r\n")
        assert (await body(first), await body(second)) == (b"data", b"data")
    request = "GET /b/a.png?signature=1%2F HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n{}\r\n"
    assert server.requests == [
        *[(1, request.format(server.port, ""))] * 4,
        (2, request.format(server.port, "Range: bytes=0-3\r\n")),
    ]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n"), b"abcde"),
        ((b"HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n", DATA), b"data"),
        ((b"HTTP/1.1 100 Continue\r\n\r\n" + DATA,), b"data"),
        ((DATA[:11], DATA[11:-6], DATA[-6:-2], DATA[-2:]), b"data"),
        ((b"HTTP/1.1 204 Nothing\r\n\r\n",), b""),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",), b""),
    ],
    ids=["chunked", "hints", "continue", "pieces", "204", "empty"],
)
async def test_an_answer_in_any_form_is_read_to_its_end(parts: tuple[bytes, ...], expected: bytes) -> None:
    async with serving(answering(*parts)) as server, reading() as reader:
        for _ in range(2):
            assert await body(await reader.get(server.url())) == expected
    assert server.connections == 1


async def test_a_body_without_a_length_ends_with_its_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(b"HTTP/1.1 500 No\r\n\r\nbro", b"ken")

    async with serving(script) as server, reading() as reader:
        answer = await reader.get(server.url())
        assert (answer.status, answer.length, await body(answer)) == (500, None, b"broken")


@pytest.mark.parametrize("last", [DATA.replace(b"OK", b"OK\r\nConnection: close"), DATA.replace(b"1.1", b"1.0")])
async def test_a_connection_that_the_server_will_close_is_not_used_again(last: bytes) -> None:
    async with serving(answering(last)) as server, reading() as reader:
        for _ in range(2):
            assert await body(await reader.get(server.url())) == b"data"
    assert [number for number, _ in server.requests] == [1, 2]


async def test_of_a_kept_connection_that_was_closed_the_request_is_sent_again_once() -> None:
    async def script(peer: Peer) -> None:
        if peer.number < 3:
            await peer.asked()
            await peer.send(DATA)
        await peer.asked()

    async with serving(script) as server, reading() as reader:
        first, second = await reader.get(server.url()), await reader.get(server.url())
        await body(first)
        await body(second)
        with pytest.raises(ConnectionError):
            await reader.get(server.url())
    assert [number for number, _ in server.requests] == [1, 2, 2, 3]


async def test_an_idle_connection_that_is_closed_or_says_something_is_forgotten() -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(DATA)
        if peer.number == 1:
            return
        await peer.send(DATA)
        await peer.left()

    async with serving(script) as server, reading() as reader:
        for number in (1, 2, 3):
            assert await body(await reader.get(server.url())) == b"data"
            await until(lambda: not server.open)
            await until(lambda: not any(reader._idle.values()))
            assert server.connections == number


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + bytes(MAX_HEAD).replace(b"\0", b"x"),
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    ],
    ids=["half", "large", "ssh", "lengths", "upgrade"],
)
async def test_what_is_no_answer_is_an_error_and_ends_the_connection(answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(answer)
        if not answer.endswith(b"4\r\n"):
            await peer.left()

    async with serving(script) as server, reading() as reader:
        with pytest.raises(ConnectionError):
            await reader.get(server.url())
        await until(lambda: not server.open)


@pytest.mark.parametrize("more", [b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
async def test_what_follows_an_answer_is_not_taken_for_the_next_one(more: bytes) -> None:
    async with serving(answering(DATA + more)) as server, reading() as reader:
        for _ in range(2):
            answer = await reader.get(server.url())
            assert await answer.piece() == b"data"
            answer.close()
    assert [number for number, _ in server.requests] == [1, 2]


@pytest.mark.parametrize("end", ["close", "more", "silence"])
async def test_a_body_that_does_not_end_where_it_should_is_an_error(end: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n", b"half")
        if end == "more":
            await peer.send(b"more than it should")
        if end != "close":
            await peer.left()

    async with serving(script) as server, reading() as reader:
        answer = await reader.get(server.url())
        assert await answer.piece() == b"half"
        with pytest.raises(TimeoutError if end == "silence" else ConnectionError):
            await answer.piece()
        answer.close()
        await until(lambda: not server.open)


async def test_a_server_that_says_nothing_is_left() -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.left()

    async with serving(script) as server, reading() as reader:
        with pytest.raises(TimeoutError):
            await reader.get(server.url())
        await asyncio.wait_for(server.left.wait(), 30)


async def test_a_reader_that_gives_up_closes_the_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.left()

    async with serving(script) as server, reading() as reader:
        waiting = asyncio.ensure_future(reader.get(server.url()))
        await until(lambda: bool(server.requests))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.wait_for(server.left.wait(), 30)


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
async def test_a_reader_that_pauses_gets_everything_and_holds_little(encrypted: bool, tmp_path: Path) -> None:
    size = 32 * 1024 * 1024
    trusted, shown = contexts(tmp_path)

    async def script(peer: Peer) -> None:
        while True:
            await peer.asked()
            peer.writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode() + bytes(size))
            await peer.writer.drain()

    async with serving(script, tls=shown if encrypted else None) as server, reading(tls=trusted) as reader:
        answer = await reader.get(server.url("https" if encrypted else "http"))
        await until(lambda: answer._paused)
        await asyncio.sleep(2 * SHORT)  # is no silence of the server
        assert BUFFER < answer._unread <= BUFFER + 512 * 1024
        assert await body(answer) == bytes(size)
        assert len(await body(await reader.get(server.url("https" if encrypted else "http")))) == size
        assert server.connections == 1


class Transport(asyncio.Transport):
    """Takes everything, and remembers whether reading is paused."""

    paused = closed = False

    def write(self, data: object) -> None:
        """Nothing is sent."""

    def pause_reading(self) -> None:
        """Remember it."""
        self.paused = True

    def resume_reading(self) -> None:
        """Remember it."""
        self.paused = False

    def abort(self) -> None:
        """Remember it."""
        self.closed = True

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.closed


async def test_a_kept_connection_is_read_again_however_much_came_at_once() -> None:
    idle: list[Exchange] = []
    exchange, transport = Exchange(idle=idle, patience=SHORT), Transport()
    exchange.connection_made(transport)
    asking = asyncio.create_task(exchange.ask(b"GET / HTTP/1.1\r\n\r\n"))
    await asyncio.sleep(0)
    body = b"x" * (BUFFER + 1)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    exchange.data_received(b"%b%x\r\n%b\r\n0\r\n\r\n" % (head, len(body), body))
    await asking
    assert transport.paused
    exchange.close()
    assert (idle, transport.paused, transport.closed) == ([exchange], False, False)
    transport.abort()


async def test_nothing_stays_of_a_handshake_that_is_given_up(tmp_path: Path) -> None:
    async def silent(peer: Peer) -> None:
        await peer.asked()
        await peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await peer.left()

    tls = ssl.create_default_context()
    async with serving(silent) as proxy:
        route = Route(proxy=f"http://127.0.0.1:{proxy.port}", tls=tls)
        connector = Connector(route, limits=S3Limits(read=SHORT, connect=1))
        exchange = Exchange(idle=[], patience=SHORT)
        left = weakref.ref(exchange)
        with pytest.raises(OSError):
            await connector.connect(exchange, Url("https://storage.test/b/a.png"))
        del exchange

        def gone() -> bool:
            gc.collect()
            return left() is None

        await until(gone)


async def test_idle_connections_are_bounded_and_those_in_use_are_not() -> None:
    number = KEPT + 50
    async with serving(answering(DATA)) as server, reading() as reader:
        answers = await asyncio.gather(*(reader.get(server.url()) for _ in range(number)))
        assert server.open == number
        assert [await body(answer) for answer in answers] == [b"data"] * number
        await until(lambda: server.open == KEPT)
        await reader.aclose()
        await until(lambda: not server.open)


def contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What trusts the CA of the tests, and what a server shows that it has certified."""
    write_certificates(folder)
    shown = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    shown.load_cert_chain(folder / "server-cert.pem", folder / "server-key.pem")
    return ssl.create_default_context(cafile=str(folder / "ca.pem")), shown


async def test_a_certificate_is_verified(tmp_path: Path) -> None:
    trusted, shown = contexts(tmp_path)
    async with serving(answering(DATA), tls=shown) as server:
        async with reading(tls=trusted) as reader:
            assert await body(await reader.get(server.url("https"))) == b"data"
            other_name = Url(f"https://localhost:{server.port}/b/a.png")
            with pytest.raises(ssl.SSLCertVerificationError):
                await reader.get(other_name)
        async with reading() as reader:
            with pytest.raises(ssl.SSLCertVerificationError):
                await reader.get(server.url("https"))
    assert len(server.requests) == 1


async def test_a_proxy_is_asked_for_the_url_with_its_password() -> None:
    async with serving(answering(DATA)) as proxy:
        async with reading(proxy=f"http://me:p%40ss@127.0.0.1:{proxy.port}") as reader:
            for _ in range(2):
                assert await body(await reader.get(Url("http://s3.invalid/b/a.png?x=1"))) == b"data"
    assert (
        proxy.requests
        == [
            (
                1,
                "GET http://s3.invalid/b/a.png?x=1 HTTP/1.1\r\nHost: s3.invalid\r\n"
                "Proxy-Authorization: Basic bWU6cEBzcw==\r\n\r\n",
            )
        ]
        * 2
    )


@pytest.mark.parametrize("said", ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
async def test_through_a_proxy_tls_is_spoken_with_the_server_itself(said: str, tmp_path: Path) -> None:
    trusted, shown = contexts(tmp_path)

    async with serving(answering(DATA), tls=shown) as server:

        async def tunnel(peer: Peer) -> None:
            await peer.asked()
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            peer.writer.write(said.encode())
            await asyncio.gather(piped(peer.reader, writer), piped(reader, peer.writer))

        async with serving(tunnel) as proxy:
            async with reading(proxy=f"http://me:p%40ss@127.0.0.1:{proxy.port}", tls=trusted) as reader:
                for _ in range(2):
                    assert await body(await reader.get(server.url("https"))) == b"data"
            await until(lambda: not server.open)
    assert [request.split("\r\n")[0] for _, request in server.requests] == ["GET /b/a.png?signature=1%2F HTTP/1.1"] * 2
    assert "Proxy-Authorization" not in server.requests[0][1]
    where = f"127.0.0.1:{server.port}"
    login = "Proxy-Authorization: Basic bWU6cEBzcw==\r\n"
    assert proxy.requests == [(1, f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n{login}\r\n")]


async def piped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes."""
    while data := await reader.read(65_536):
        writer.write(data)
    writer.close()


async def test_a_proxy_that_refuses_is_an_error_and_its_connection_is_closed() -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
        await peer.left()

    async with serving(script) as proxy, reading(proxy=f"http://127.0.0.1:{proxy.port}") as reader:
        with pytest.raises(ConnectionError, match="407"):
            await reader.get(Url("https://s3.invalid/b/a.png"))
        await asyncio.wait_for(proxy.left.wait(), 30)


@pytest.mark.parametrize(
    ("url", "host", "address"),
    [
        ("https://s3.example:443/b", "s3.example", ("s3.example", 443)),
        ("http://S3.example:80/b?x", "s3.example", ("s3.example", 80)),
        ("https://s3.example:9000/b", "s3.example:9000", ("s3.example", 9000)),
        ("http://[::1]:8333/b", "[::1]:8333", ("::1", 8333)),
        ("http://s3.example:443/b", "s3.example:443", ("s3.example", 443)),
    ],
)
def test_the_host_is_said_as_it_was_signed(url: str, host: str, address: tuple[str, int]) -> None:
    assert (Url(url).host, Url(url).address) == (host, address)
