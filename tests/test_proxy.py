"""deploy/nginx.conf on Debian's nginx: what is sent again, what is limited, and what is logged."""

import asyncio
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from tests.fakes import tiny_picture
from tests.listening import listening
from tests.nginx import NGINX_CONF, Nginx, Replica
from tests.servers import free_ports, wait_until
from tests.stage import KEY, Stage

SECRET = "what-was-searched-for"


class HangsUp:
    """A replica that takes requests and closes the connection without an answer."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as request:
                head = b"".join(iter(request.readline, b"\r\n"))
                length = re.search(rb"(?i)content-length: (\d+)", head)
                self.requests.append(head + b"\r\n" + request.read(int(length[1]) if length else 0))

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.mark.parametrize(("method", "sent"), [("POST", 1), ("GET", 2)])
def test_only_what_costs_nothing_is_sent_again(method: str, sent: int, tmp_path: Path) -> None:
    replicas = [HangsUp(), HangsUp()]
    proxy = Nginx(tmp_path / "nginx", ports=[replica.port for replica in replicas])
    try:
        proxy.start()
        headers = {"Host": "pictures.example:8000", "X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "gopher"}
        body = b"{}" if method == "POST" else None
        answer = httpx2.request(method, f"{proxy.url}/image", headers=headers, content=body, trust_env=False)
        assert answer.status_code == 502
        requests = [request for replica in replicas for request in replica.requests]
        assert len(requests) == sent
        for request in requests:
            assert request.startswith(f"{method} /image HTTP/1.1\r\n".encode())
            assert b"\r\nHost: pictures.example:8000\r\n" in request
            assert re.findall(rb"X-Forwarded-\w+: .+(?=\r\n)", request) == [
                b"X-Forwarded-For: 127.0.0.1",
                b"X-Forwarded-Proto: http",
                b"X-Forwarded-Host: pictures.example:8000",
            ]
    finally:
        proxy.process.stop()
        for replica in replicas:
            replica.close()


def test_behind_another_proxy_a_replica_gets_one_address_which_the_client_cannot_choose(tmp_path: Path) -> None:
    replica = HangsUp()
    proxy = Nginx(tmp_path / "nginx", ports=[replica.port], behind="127.0.0.1")
    try:
        proxy.start()
        headers = {"X-Forwarded-For": "192.0.2.1, 198.51.100.7"}  # a client's claim, and what the first proxy appended
        httpx2.post(f"{proxy.url}/image", headers=headers, content=b"{}", trust_env=False)
        (request,) = replica.requests
        assert re.findall(rb"X-Forwarded-For: (.+)(?=\r\n)", request) == [b"198.51.100.7"]
    finally:
        proxy.process.stop()
        replica.close()


def test_of_several_forwarded_addresses_the_first_is_believed_from_everybody() -> None:
    headers = [(b"x-forwarded-for", b"192.0.2.1, 198.51.100.7")]
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["client"][0])

    for trusted in ("*", "127.0.0.1"):
        scope: Any = {"type": "http", "client": ("127.0.0.1", 1), "headers": headers, "scheme": "http"}
        asyncio.run(ProxyHeadersMiddleware(app, trusted)(scope, app, app))  # type: ignore[arg-type]
    assert seen == ["192.0.2.1", "198.51.100.7"], "docs/operations.md says so"


# --- Limits


@pytest.fixture
def replica() -> Iterator[Replica]:
    """A replica that answers at once."""
    server = Replica()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def proxy(replica: Replica, tmp_path: Path) -> Iterator[Nginx]:
    """nginx before the replica."""
    nginx = Nginx(tmp_path / "nginx", ports=[replica.server_port])
    try:
        nginx.start()
        yield nginx
    finally:
        nginx.process.stop()


def rate_of(zone: str) -> tuple[int, int]:
    """Requests a second, and the burst, of a zone of limit_req."""
    text = NGINX_CONF.read_text()
    (rate,) = re.findall(rf"zone={zone}:\S+ rate=(\d+)r/s;", text)
    (burst,) = re.findall(rf"limit_req zone={zone} burst=(\d+) nodelay;", text)
    return int(rate), int(burst)


def most_running(zone: str) -> int:
    """The bound of a zone of limit_conn."""
    (bound,) = re.findall(rf"limit_conn {zone} (\d+);", NGINX_CONF.read_text())
    return int(bound)


def send(port: int, method: str, path: str = "/image", *, end: bool = True) -> socket.socket:
    """A connection on which a request was sent; with `end` nginx closes it after the answer."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(request(method, path, end=end))
    return connection


def request(method: str, path: str, *, end: bool) -> bytes:
    """The bytes of a request."""
    closing = "Connection: close\r\n" if end else ""
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{closing}Content-Length: 0\r\n\r\n".encode()


def statuses(connection: socket.socket) -> list[int]:
    """The statuses of all answers until nginx closes the connection."""
    with connection, connection.makefile("rb") as answers:
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers.read())]


def flood(port: int, method: str, *, count: int) -> tuple[list[int], float]:
    """The statuses of so many pipelined requests, and the seconds that they took."""
    begun = time.monotonic()
    found: list[int] = []
    while len(found) < count:
        number = min(500, count - len(found))  # nginx closes a connection after 1000
        connection = socket.create_connection(("127.0.0.1", port), timeout=60)
        connection.sendall(request(method, "/image", end=False) * (number - 1) + request(method, "/image", end=True))
        answered = statuses(connection)
        assert len(answered) == number
        found += answered
    return found, time.monotonic() - begun


@pytest.mark.parametrize(("method", "zone", "count"), [("POST", "posts", 300), ("GET", "requests", 2000)])
def test_a_flood_from_one_address_is_limited(
    method: str, zone: str, count: int, proxy: Nginx, replica: Replica
) -> None:
    rate, burst = rate_of(zone)
    found, seconds = flood(proxy.port, method, count=count)
    passed = found.count(200)
    assert burst + 1 <= passed <= burst + 2 + rate * seconds
    assert found.count(429) == count - passed > 0
    assert replica.methods.count(method) == passed


def test_the_images_of_a_page_load_while_posts_are_limited(proxy: Nginx) -> None:
    posts, _ = flood(proxy.port, "POST", count=300)
    assert 429 in posts
    images, _ = flood(proxy.port, "GET", count=400)
    assert images == [200] * 400


@pytest.mark.parametrize("path", ["/image", "/image/93661d40-0d0b-5a73-8e44-fa14ddb9814d.png"])
def test_a_limited_request_gets_a_problem_with_retry_after(path: str, proxy: Nginx) -> None:
    flood(proxy.port, "POST", count=300)
    answers = (httpx2.post(proxy.url + path, trust_env=False) for _ in range(200))  # some may pass: 5 a second do
    limited = next(answer for answer in answers if answer.status_code == 429)
    assert int(limited.headers["Retry-After"]) > 0
    assert limited.headers["Cache-Control"] == "no-store"
    assert limited.headers["Content-Type"] == "application/problem+json"
    assert (limited.json()["status"], limited.json()["title"]) == (429, "Too Many Requests")


def test_an_address_has_only_so_many_requests_that_run(proxy: Nginx, replica: Replica) -> None:
    replica.released.clear()
    most = most_running("running_requests")
    running = [send(proxy.port, "GET") for _ in range(most)]
    wait_until(lambda: replica.received(most), seconds=30, what="the running requests", process=proxy.process)
    assert statuses(send(proxy.port, "GET")) == [429]
    replica.released.set()
    assert [statuses(connection) for connection in running] == [[200]] * most
    assert statuses(send(proxy.port, "GET")) == [200]


def test_an_address_has_only_so_many_posts_that_run(proxy: Nginx, replica: Replica) -> None:
    replica.released.clear()
    most = most_running("running_posts")
    posts: list[socket.socket] = []

    def refused_for_those_that_run() -> None:
        posts.append(send(proxy.port, "POST"))  # some of them come too fast, and are limited for that
        assert "limit_req=PASSED limit_conn=REJECTED" in (proxy.folder / "access.log").read_text()

    wait_until(refused_for_those_that_run, seconds=60, what="the running POSTs", process=proxy.process)
    wait_until(lambda: replica.received(most), seconds=30, what="the running POSTs", process=proxy.process)
    replica.released.set()
    found = [statuses(connection) for connection in posts]
    # The last POST may come when one of them has ended.
    assert found.count([200]) == len(replica.methods) in (most, most + 1)
    assert found.count([429]) == len(posts) - len(replica.methods)


# --- The log


def test_a_query_reaches_no_log(proxy: Nginx, replica: Replica) -> None:
    path = f"/image?limit=5&q={SECRET}"
    headers = {"Referer": f"http://localhost/?q={SECRET}", "User-Agent": SECRET}
    found = httpx2.get(proxy.url + path, headers=headers, trust_env=False)
    found_again = httpx2.get(f"{proxy.url}{path}#{SECRET}", headers=headers, trust_env=False)
    limited = [httpx2.post(proxy.url + path, trust_env=False) for _ in range(1 + rate_of("posts")[1])][-1]
    while limited.status_code == 200:
        limited = httpx2.post(proxy.url + path, trust_env=False)
    too_large = httpx2.post(f"{proxy.url}/mcp?q={SECRET}", content=b" " * 3 * 1024 * 1024, trust_env=False)
    absolute = statuses(send(proxy.port, "GET", f"http://localhost{path}"))
    malformed = statuses(send(proxy.port, "G@T", path))
    answered = [found.status_code, found_again.status_code, limited.status_code, too_large.status_code]
    assert (answered, absolute, malformed) == ([200, 200, 429, 413], [200], [400])
    proxy.process.stop(how=signal.SIGQUIT)  # it writes a line after the answer, and after what it still reads
    lines = (proxy.folder / "access.log").read_text().splitlines()
    for status, line in (("200", '"GET /image"'), ("429", '"POST /image"'), ("413", '"POST /mcp"')):
        assert any(f" 127.0.0.1 {line} {status} " in each for each in lines), status
    assert SECRET not in "\n".join([*lines, proxy.process.output()])


def test_a_query_reaches_no_log_while_no_replica_answers(tmp_path: Path) -> None:
    proxy = Nginx(tmp_path / "nginx", ports=free_ports(2))
    try:
        proxy.start()
        assert httpx2.get(f"{proxy.url}/image?q={SECRET}", trust_env=False).status_code == 502
    finally:
        proxy.process.stop()
    log = (proxy.folder / "access.log").read_text()
    assert '"GET /image" 502' in log
    assert 'upstream_status="502, 502"' in log
    assert SECRET not in log + proxy.process.output()


@pytest.mark.parametrize(
    "path", ["/image/%0AFORGED%0D%0A", "/image/%22%20200%20FORGED", "/image/%1b[31mFORGED", "/image/%3Fq=FORGED"]
)
def test_a_path_cannot_write_lines_of_its_own_into_the_log(path: str, proxy: Nginx) -> None:
    assert statuses(send(proxy.port, "GET", path)) == [200]
    assert statuses(send(proxy.port, "GET", "/image/last")) == [200]
    first, last = (proxy.folder / "access.log").read_text().splitlines()
    assert f'"GET {path}" ' in first
    assert '"GET /image/last" ' in last


def test_pictures_of_an_edit_are_passed_on_while_they_arrive(tmp_path: Path) -> None:
    stage = Stage()
    picture = tiny_picture() + bytes(3_000_000)  # more than another body may have
    begin = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + picture[:1_500_000]
    rest = picture[1_500_000:] + b'\r\n--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na dot\r\n--b--\r\n'

    def has_begun() -> None:
        assert sum(len(file.getvalue()) for file in stage.spool.open_files) > 1_000_000

    with listening(stage.app) as address:
        proxy = Nginx(tmp_path / "nginx", ports=[int(address.rpartition(":")[2])])
        try:
            proxy.start()

            def pieces() -> Iterator[bytes]:
                yield begin
                wait_until(has_begun, seconds=20, what="the replica")
                yield rest

            headers = {**KEY, "Content-Type": "multipart/form-data; boundary=b"}
            edits = f"{proxy.url}//v1/images/edits/"
            answer = httpx2.post(edits, content=pieces(), headers=headers, trust_env=False, timeout=30)
            assert answer.status_code == 200, answer.text
            assert stage.generator.inputs == [(picture,)]
            unknown = {**headers, "Authorization": "Bearer unknown"}
            refused = httpx2.post(edits, content=begin + rest, headers=unknown, trust_env=False, timeout=30)
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
        finally:
            proxy.process.stop()
