"""Connections over raw sockets: bounds before any key, and answers that are the ones of their requests."""

import asyncio
import gc
import inspect
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http import httptools_impl
from uvicorn.server import ServerState

from pixyproxy.web.server import client
from pixyproxy.web.server.heads import HeadMemory, unfinished_bytes
from pixyproxy.web.server.protocol import HEAD_PATIENCE, MAX_PIPELINED, HttpProtocol
from tests import planted
from tests.listening import listening
from tests.servers import PixyProxy, wait_until
from tests.stage import Stage

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
LISTENS, WAITS = "0A", "06"
"""States of a socket in /proc/net/tcp: TCP_LISTEN, TCP_TIME_WAIT."""
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


@contextmanager
def connected(address: str, *, timeout: float = 10) -> Iterator[socket.socket]:
    """A raw connection."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=timeout) as connection:
        yield connection


def read_all(connection: socket.socket) -> bytes:
    """Everything until the server closes."""
    answer = b""
    with suppress(ConnectionResetError):
        while chunk := connection.recv(65_536):
            answer += chunk
    return answer


def exchange(address: str, sent: bytes) -> bytes:
    """The answers to raw bytes, until the server closes."""
    with connected(address) as connection:
        with suppress(OSError):
            connection.sendall(sent)
        return read_all(connection)


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in STATUS.findall(answer)]


# The end of a connection


def test_the_end_of_a_connection_is_told_when_it_counts_no_more() -> None:
    counted: list[int] = []

    class Told(HttpProtocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.on_lost = lambda: counted.append(len(self.connections))

    with listening(Stage().app, protocol=Told) as address:
        for _ in range(2):
            assert statuses(exchange(address, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))) == [200]
    assert counted == [0, 0]


# Pipelines


def test_no_more_than_some_requests_wait_in_a_connection_and_the_rest_is_not_read() -> None:
    stage = Stage()
    with listening(stage.app) as address:
        answer = exchange(address, GET * 1000)
    assert 1 <= len(statuses(answer)) <= MAX_PIPELINED + 1
    assert set(statuses(answer)) == {200}


def test_a_pipeline_within_the_bound_is_answered_whole() -> None:
    last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with listening(Stage().app) as address:
        answer = exchange(address, GET * (MAX_PIPELINED - 1) + last)
    assert statuses(answer) == [200] * MAX_PIPELINED


def resident_megabytes(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


def test_pipelined_requests_take_no_memory_before_any_key(tmp_path: Path) -> None:
    server = PixyProxy(tmp_path, {"PIXYPROXY_LOG_LEVEL": "WARNING"}).start()
    try:
        pid = server.process.handle.pid
        before = resident_megabytes(pid)
        for _ in range(10):
            with connected(server.url) as connection, suppress(OSError):
                connection.settimeout(2)
                connection.sendall(GET * 10_000)  # 370 KB
                read_all(connection)
        assert resident_megabytes(pid) - before < 40, "426 MB before"
    finally:
        server.process.stop()


# Heads


class Impatient(HttpProtocol):
    """A server that waits for a head for a moment only."""

    head_patience = 0.5


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_head_that_does_not_come_ends_its_connection(sent: bytes) -> None:
    with listening(Stage().app, protocol=Impatient) as address, connected(address) as connection:
        connection.sendall(sent)
        answer = read_all(connection)
    assert statuses(answer) == ([408] if sent.strip() else [])
    if sent.strip():
        assert b"urn:pixyproxy:problem:request-timeout" in answer


def test_a_head_that_drips_ends_too_and_an_idle_connection_after_an_answer_does_not() -> None:
    with listening(Stage().app, protocol=Impatient) as address:
        with connected(address) as dripping, connected(address) as idle:
            idle.sendall(GET)
            assert statuses(idle.recv(65_536)) == [200]
            end = time.monotonic() + 5
            with suppress(OSError):
                dripping.sendall(b"GET / HTTP/1.1\r\nX: ")
                while time.monotonic() < end:
                    dripping.sendall(b"x")
                    time.sleep(0.1)
            assert time.monotonic() < end, "its timer does not begin anew with each byte"
            idle.sendall(GET)
            assert statuses(idle.recv(65_536)) == [200]


def test_the_patience_for_a_head_is_thirty_seconds() -> None:
    assert HEAD_PATIENCE == 30


def test_a_head_has_at_most_200_headers() -> None:
    many = b"".join(b"a%d:b\r\n" % number for number in range(201))
    with listening(Stage().app) as address:
        assert statuses(exchange(address, b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + many + b"\r\n")) == [431]


def test_the_first_bytes_of_a_head_count_too() -> None:
    with listening(Stage().app) as address, connected(address) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 66_000)
        assert statuses(read_all(connection)) == [431]


@pytest.mark.parametrize(
    ("data", "bodies", "unfinished"),
    [
        (b"GET / HTT", 0, 9),
        (b"\r\n\r\nGET", 0, 3),
        (GET + GET + b"GET", 0, 3),
        (b"POST / HTTP/1.1\r\n\r\nbodyGET", 4, 3),
        (b"bodyGET", 4, 3),
        (b"bo\r\n\r\ndyGET", 8, 0),
    ],
)
def test_the_bytes_of_a_head_among_others(data: bytes, bodies: int, unfinished: int) -> None:
    assert unfinished_bytes(data, bodies=bodies) == unfinished


def test_slow_heads_take_a_bounded_memory_and_do_not_hinder_others() -> None:
    class Small(HttpProtocol):
        """Has room for two of the heads of this test."""

        head_memory = HeadMemory(100_000)

    slow = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 40_000
    with listening(Stage().app, protocol=Small) as address:
        with connected(address) as first, connected(address) as second:
            for connection in (first, second):
                connection.sendall(slow)
            wait_until(lambda: in_use(Small.head_memory, least=80_000), seconds=10, what="two heads")
            answer = exchange(address, slow)
            assert statuses(answer) == [503]
            assert b"retry-after" in answer.lower()
            with connected(address) as quick:
                quick.sendall(GET)
                assert statuses(quick.recv(65_536)) == [200], "its head arrives whole"
            first.sendall(b"\r\n\r\n")
            assert statuses(first.recv(65_536)) == [200]
        wait_until(lambda: in_use(Small.head_memory, most=0), seconds=10, what="the end of the connections")


def in_use(memory: HeadMemory, *, least: int = 0, most: int = 10**9) -> None:
    """Raises unless the heads take so much."""
    assert least <= memory.used <= most


def test_the_heads_of_requests_that_wait_in_a_connection_take_memory_until_they_are_answered() -> None:
    class Own(HttpProtocol):
        head_memory = HeadMemory(1_000_000)

    stage, answering = Stage(), threading.Event()

    async def wait() -> None:
        await asyncio.to_thread(answering.wait, 20)

    stage.database.before = wait
    large = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 20_000 + b"\r\n\r\n"
    with listening(stage.app, protocol=Own) as address, connected(address) as connection:
        last = large.replace(b"Host", b"Connection: close\r\nHost")
        connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n" + large + last)
        wait_until(lambda: in_use(Own.head_memory, least=40_000), seconds=10, what="two heads that wait")
        answering.set()
        assert statuses(read_all(connection)) == [200, 200, 200]
        in_use(Own.head_memory, most=0)


def test_a_head_is_not_late_while_the_server_does_not_read_it() -> None:
    class Brief(HttpProtocol):
        head_patience = 2.0

    stage, answering = Stage(), threading.Event()

    async def wait() -> None:
        await asyncio.to_thread(answering.wait, 20)

    stage.database.before = wait
    with listening(stage.app, protocol=Brief) as address, connected(address) as connection:
        connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n" + GET + b"GET /healthz HTTP/1.1\r\n")
        time.sleep(3)
        answering.set()
        answer = b""
        while len(statuses(answer)) < 2:
            answer += connection.recv(65_536)
        connection.sendall(b"Host: x\r\nConnection: close\r\n\r\n")
        assert statuses(answer + read_all(connection)) == [200, 200, 200]


def test_an_oversized_head_is_answered_itself_and_not_by_the_answer_to_the_next_request() -> None:
    large = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"
    with listening(Stage().app) as address:
        assert statuses(exchange(address, large + GET)) == [431]
        assert statuses(exchange(address, GET + large + GET)) == [200], "closed after the answer that was under way"


HOSTS = (b"", b" x ", b" pixy.example:8000", b" a_b.c", b" 127.0.0.1:", b" [::1]:8000", b" %C3%A9.example")
NOT_HOSTS = (
    b"a b",
    b"a/b",
    b"a@b",
    b"a:b",
    b"a:1:2",
    b"[::1",
    b"[x]",
    b"::1",
    b"\xc3\xa9.example",
    b"a,b/",
    b'"a"',
    b"%zz",
)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        *((b"GET /healthz HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", 400) for host in NOT_HOSTS),
        *((b"GET /healthz HTTP/1.1\r\nConnection: close\r\nHost:" + host + b"\r\n\r\n", 200) for host in HOSTS),
        (b"FROBNICATE /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (b"POST /image HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST /image HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
)
def test_what_rfc_9112_does_not_allow_is_refused(sent: bytes, status: int) -> None:
    with listening(Stage().app) as address:
        answer = exchange(address, sent)
    assert statuses(answer) == [status]
    if status != 200:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert {b"date", b"cache-control", b"x-request-id", b"connection"} <= {
            line.partition(b":")[0].lower() for line in head.splitlines()[1:]
        }
        assert json.loads(body)["status"] == status


# Bodies


def post(key: str, *headers: bytes) -> bytes:
    return b"\r\n".join(
        [b"POST /image HTTP/1.1", b"Host: x", b"Authorization: Bearer " + key.encode(), *headers, b"", b""]
    )


def test_an_answer_that_leaves_a_body_unread_ends_its_connection_and_reads_little_more() -> None:
    with listening(Stage().app) as address, connected(address) as connection:
        connection.sendall(post("wrong", b"Content-Length: 1000000000"))
        answer = connection.recv(65_536)
        assert statuses(answer) == [401]
        assert b"connection: close" in answer.lower()
        taken = 0
        with suppress(OSError):
            for _ in range(1000):
                connection.sendall(b"x" * 200_000)
                taken += 200_000
        assert taken < 50_000_000, "200 MB before"


def test_a_client_that_still_sends_gets_the_answer_all_the_same() -> None:
    with listening(Stage().app) as address:
        for _ in range(20):
            body = b"x" * 500_000
            answer = exchange(address, post("wrong", b"Content-Length: %d" % len(body)) + body)
            assert statuses(answer) == [401]


def test_a_body_that_is_read_keeps_its_connection() -> None:
    body = b'{"prompt": "a dot"}'
    request = post(planted.API_KEY, b"Content-Type: application/json", b"Content-Length: %d" % len(body)) + body
    with listening(Stage().app) as address, connected(address) as connection:
        for _ in range(2):
            connection.sendall(request)
            answer = connection.recv(65_536)
            while not answer.endswith(b"}"):  # the body may come later than the head
                answer += connection.recv(65_536)
            assert (statuses(answer), b"connection: close" in answer.lower()) == ([201], False)


def test_broken_chunks_are_answered_and_logged_with_the_same_status(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="pixyproxy")
    head = post(planted.API_KEY, b"Content-Type: application/json", b"Transfer-Encoding: chunked")
    with listening(Stage().app) as address:
        answer = exchange(address, head + b'5\r\n{"pro\r\nZZ\r\n')
    assert statuses(answer) == [400]
    (end,) = [line for line in caplog.messages if "REQUEST END POST /image" in line]
    assert " 400 " in end


def test_a_client_that_leaves_before_its_answer_is_logged_as_gone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="pixyproxy")
    stage = Stage()

    async def slow() -> None:
        await asyncio.sleep(0.5)

    stage.database.before = slow
    with listening(stage.app) as address:
        with connected(address) as connection:
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            assert read_all(connection) == b""

        def ended() -> str:
            return next(line for line in caplog.messages if "REQUEST END GET /readyz" in line)

        wait_until(ended, seconds=10, what="the end of the request")
    assert "aborted=yes" in ended()


# The number of connections, and what is left of them


def test_a_connection_over_the_limit_gets_503_and_is_closed(tmp_path: Path) -> None:
    server = PixyProxy(tmp_path, {"PIXYPROXY_MAX_CONNECTIONS": "3"}).start()
    try:
        host, port = server.url.removeprefix("http://").split(":")

        def one_more() -> bytes:
            held = [socket.create_connection((host, int(port)), timeout=5) for _ in range(3)]
            try:
                time.sleep(0.2)
                return exchange(server.url, GET)
            finally:
                for connection in held:
                    connection.close()

        answer = one_more()
        assert statuses(answer) == [503]
        assert b"retry-after: " in answer.lower()
        assert b"urn:pixyproxy:problem:too-many-connections" in answer

        def served() -> None:
            with connected(server.url, timeout=2) as connection:
                connection.sendall(GET)
                assert statuses(connection.recv(65_536)) == [200]

        wait_until(served, seconds=10, what="a connection")
    finally:
        server.process.stop()


def test_connections_over_the_limit_are_counted_in_few_lines_of_the_log(tmp_path: Path) -> None:
    server = PixyProxy(tmp_path, {"PIXYPROXY_MAX_CONNECTIONS": "3"}).start()
    try:
        with connected(server.url), connected(server.url), connected(server.url):
            time.sleep(0.2)
            for _ in range(40):
                with connected(server.url) as one_more:
                    assert statuses(read_all(one_more)) == [503]

            def counted() -> None:
                lines = re.findall(
                    r"WARNING .* over the limit: (\d+) were refused, with 3 open", server.process.output()
                )
                assert sum(map(int, lines)) == 40
                assert len(lines) < 20

            wait_until(counted, seconds=10, what="the number of those that were refused")
    finally:
        server.process.stop()


def open_connections(address: str) -> int:
    """How many connections of a server the kernel still has, those that are being closed included."""
    port = int(address.rpartition(":")[2])
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] not in (LISTENS, WAITS) for row in rows)


def protocols() -> int:
    """How many connections are in memory, those of servers that other tests ended included."""
    return sum(isinstance(each, HttpProtocol) for each in gc.get_objects())


def test_nothing_of_a_closed_connection_stays() -> None:
    before = protocols()
    with listening(Stage().app) as address:
        for _ in range(50):
            closing = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            assert statuses(exchange(address, closing)) == [200]

        def freed() -> None:
            assert protocols() <= before + 1

        gc.disable()
        try:
            wait_until(freed, seconds=5, what="the end of the connections")
        finally:
            gc.enable()


def test_a_connection_that_is_aborted_leaves_nothing_in_the_kernel() -> None:
    class Transport:
        def __init__(self) -> None:
            self.socket = socket.socket()
            self.aborted = False

        def get_extra_info(self, name: str) -> Any:
            return self.socket if name == "socket" else None

        def abort(self) -> None:
            self.aborted = True

    connection = client.ClientConnection.__new__(client.ClientConnection)
    transport = Transport()
    connection.transport = transport  # type: ignore[assignment]
    connection.abort()
    linger = transport.socket.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
    assert (transport.aborted, struct.unpack("ii", linger)) == (True, (1, 0))
    transport.socket.close()


def test_a_pipeline_over_the_bound_is_not_read_while_its_requests_are_answered() -> None:
    stage = Stage()
    drawing = threading.Event()

    async def wait() -> None:
        await asyncio.to_thread(drawing.wait, 20)

    stage.generator.before = wait
    body = b'{"prompt": "a dot"}'
    request = post(planted.API_KEY, b"Content-Type: application/json", b"Content-Length: %d" % len(body)) + body
    with listening(stage.app) as address, connected(address, timeout=2) as connection:
        taken = 0
        with suppress(OSError):
            connection.sendall(request + GET * 20)
            for _ in range(1000):
                connection.sendall(GET * 10_000)
                taken += len(GET) * 10_000
        drawing.set()
        assert taken < 40_000_000, "2.7 GB in 2 s before"


def test_a_trailer_is_not_a_header() -> None:
    head = (
        b"POST /image HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
        b"Connection: close\r\n\r\n"
    )
    body = b'13\r\n{"prompt": "a dot"}\r\n0\r\nAuthorization: Bearer ' + planted.API_KEY.encode() + b"\r\n\r\n"
    with listening(Stage().app) as address:
        assert statuses(exchange(address, head + body)) == [401]


def test_nothing_of_a_connection_that_was_reset_stays() -> None:
    before = protocols()
    with listening(Stage().app) as address:
        for _ in range(30):
            with connected(address) as connection:
                connection.sendall(GET)
                assert statuses(connection.recv(65_536)) == [200]
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        def freed() -> None:
            assert protocols() <= before + 1

        wait_until(freed, seconds=5, what="the end of the connections")


# Clients that take nothing


class Hasty(HttpProtocol):
    """A server that looks often whether a client takes what it is sent."""

    flush_patience = 0.3


def test_a_client_that_pipelines_and_takes_nothing_is_disconnected() -> None:
    bundle = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"  # 1.5 MB, and needs no key
    with listening(Stage().app, protocol=Hasty) as address, connected(address) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(bundle * 8)

        def disconnected() -> None:
            assert open_connections(address) == 0

        wait_until(disconnected, seconds=20, what="the end of the connection")


def test_a_client_that_takes_little_by_little_gets_everything() -> None:
    size = 30_000_000

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        length = (b"content-length", str(size).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": bytes(size)})

    class LessHasty(HttpProtocol):
        flush_patience = 1.0

    taken = 0
    with listening(large, protocol=LessHasty) as address, connected(address) as connection:
        connection.sendall(GET)
        for _ in range(30):
            time.sleep(0.1)
            taken += len(connection.recv(200_000))
        while taken < size:
            got = len(connection.recv(1_000_000))
            assert got, "it was disconnected"
            taken += got


def test_a_fault_in_mid_body_disconnects_a_client_that_takes_nothing() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"20000000")]})
        await send({"type": "http.response.body", "body": bytes(15_000_000), "more_body": True})
        raise ZeroDivisionError

    class Eager(HttpProtocol):
        """Does not look at a client that is slow while its answer is not complete."""

        flush_patience = 0.3

        def pause_writing(self) -> None:
            self.flow.pause_writing()

    with listening(broken, protocol=Eager) as address, connected(address) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(GET)

        def disconnected() -> None:
            assert open_connections(address) == 0

        wait_until(disconnected, seconds=20, what="the end of the connection")


# uvicorn's internals


def test_uvicorn_still_has_the_internals_that_the_protocol_uses() -> None:
    hint = "uvicorn has changed: read pixyproxy/web/server/protocol.py against its httptools_impl.py, then pin it anew"
    made = inspect.getsource(httptools_impl.HttpToolsProtocol)
    for name in (
        *("self.parser", "self.scope", "self.headers", "self.url", "self.cycle", "self.pipeline", "self.flow"),
        *("self.connections", "self.limit_concurrency", "self.server_state.total_requests", "self.pipeline.appendleft"),
        *("task = self.loop.create_task(cycle.run_asgi(app))", "self.tasks.add(task)", "self.tasks.discard"),
        *(
            "self._start_asgi_task(self.cycle, app)",
            "self._start_asgi_task(cycle, app)",
            "def _unset_keepalive_if_required(self)",
        ),
        *("def on_response_complete(self)", "def timeout_keep_alive_handler(self)", "def send_400_response(self, msg"),
    ):
        assert name in made, f"{name}: {hint}"
    cycle = inspect.getsource(httptools_impl.RequestResponseCycle)
    for name in (
        *("self.scope", "self.more_body", "self.keep_alive", "self.transport.close()", "self.transport.write("),
        *("self.disconnected", "self.response_complete", "self.message_event", "self.on_response()"),
    ):
        assert name in cycle, f"{name}: {hint}"
    assert hasattr(ServerState(), "default_headers"), hint
