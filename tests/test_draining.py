"""The end of real processes: what load balancers, clients and generations see from the signal on; several workers."""

import asyncio
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Event

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from pixyproxy.upstream.demo.server import DemoUpstream
from tests import planted
from tests.listening import listening
from tests.servers import PixyProxy, wait_until

KEY = {"Authorization": f"Bearer {planted.API_KEY}"}
LONGEST = "3600"
WORKERS = pytest.mark.parametrize("workers", [1, 2])


class Upstream:
    """The demo upstream, which answers nothing while it is held."""

    def __init__(self) -> None:
        self.released = Event()
        self.released.set()
        self.received = 0
        self._app = DemoUpstream().app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] == "http":
            self.received += 1
            while not self.released.is_set():
                await asyncio.sleep(0.01)
        await self._app(scope, receive, send)


class Service:
    """Starts replicas that share a folder and an upstream."""

    def __init__(self, folder: Path, logs: Path, upstream: Upstream, url: str) -> None:
        self.folder, self.logs, self.upstream = folder, logs, upstream
        self.pool = ThreadPoolExecutor(24)
        self.replicas: list[PixyProxy] = []
        self.environment = {
            "PIXYPROXY_API_KEY": planted.API_KEY,
            "OPENAI_API_KEY": planted.UPSTREAM_KEY,
            "OPENAI_BASE_URL": f"{url}/v1",
        }

    def start(self, *, workers: int = 1, prefix: tuple[str, ...] = (), **settings: str) -> PixyProxy:
        """A replica that answers."""
        arguments = ("serve",) if workers == 1 else ("serve", "--workers", str(workers))
        replica = PixyProxy(self.folder, self.environment | settings, arguments=arguments)
        replica.process.command[:0] = prefix
        replica.process.log = self.logs / f"draining-{len(list(self.logs.iterdir()))}.log"
        self.replicas.append(replica)
        return replica.start()

    def post(self, replica: PixyProxy, **headers: str) -> "Future[httpx2.Response]":
        """A POST that waits for its picture on a connection of its own."""
        sent = {"prompt": planted.PROMPT, "size": "32x16"}
        return self.pool.submit(httpx2.post, f"{replica.url}/image", json=sent, headers={**KEY, **headers}, timeout=60)

    def drawing(self, replica: PixyProxy, **headers: str) -> "Future[httpx2.Response]":
        """A POST whose generation is with the upstream, which holds it."""
        self.upstream.released.clear()
        received = self.upstream.received
        posted = self.post(replica, **headers)
        eventually(lambda: self.upstream.received > received, what="the request to the upstream")
        return posted


@pytest.fixture
def service(tmp_path: Path, logs: Path) -> Iterator[Service]:
    """A service without replicas yet."""
    upstream = Upstream()
    with listening(upstream) as url:
        made = Service(tmp_path, logs, upstream, url)
        try:
            yield made
        finally:
            upstream.released.set()
            for replica in made.replicas:
                if replica.process.handle.poll() is None:
                    replica.process.handle.send_signal(signal.SIGINT)
                replica.process.stop(how=signal.SIGINT)
            made.pool.shutdown()


def eventually(holds: Callable[[], bool], *, what: str, seconds: float = 60) -> None:
    def require() -> None:
        assert holds()

    wait_until(require, seconds=seconds, what=what)


def status(url: str) -> int:
    """The status of a GET on a new connection; 0 if it is refused."""
    try:
        return httpx2.get(url, timeout=30).status_code
    except httpx2.ConnectError:
        return 0


def worker_of(response: httpx2.Response) -> int:
    """The process that answered."""
    return int(response.headers["x-request-id"].rpartition("-")[2])


def workers_of(replica: PixyProxy, *, number: int = 2) -> set[int]:
    """The worker processes that answer, when there are so many."""
    found: set[int] = set()

    def look() -> bool:
        with ExitStack() as stack:
            for _ in range(20):
                client = stack.enter_context(httpx2.Client(timeout=30))
                found.add(worker_of(client.get(f"{replica.url}/healthz")))
        return len(found) >= number

    eventually(look, what=f"{number} workers")
    return found


# --- The delay


@WORKERS
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_from_the_signal_on_readiness_fails_and_posts_are_taken(
    service: Service, workers: int, how: signal.Signals
) -> None:
    replica = service.start(workers=workers, PIXYPROXY_DRAIN_DELAY=LONGEST)
    if workers > 1:
        workers_of(replica)
    replica.process.handle.send_signal(how)
    eventually(lambda: status(f"{replica.url}/readyz") == 503, what="the word that it ends")
    if workers > 1:
        eventually(
            lambda: all(status(f"{replica.url}/readyz") == 503 for _ in range(20)), what="the word of every worker"
        )
    for path in ("/readyz", "/readyz/process"):
        answer = httpx2.get(replica.url + path)
        assert (answer.status_code, answer.json()["failed"]) == (503, ["process"])
    assert status(f"{replica.url}/healthz") == 200
    made = service.post(replica).result()
    assert made.status_code == 201, made.text
    assert made.headers["connection"] == "close"
    assert replica.process.handle.poll() is None


@WORKERS
def test_the_listening_sockets_stay_open_for_the_delay(service: Service, workers: int) -> None:
    replica = service.start(workers=workers, PIXYPROXY_DRAIN_DELAY="2")
    if workers > 1:
        workers_of(replica)
    begin = time.monotonic()
    replica.process.handle.send_signal(signal.SIGTERM)
    eventually(lambda: status(f"{replica.url}/healthz") == 0, what="the end of listening")
    assert time.monotonic() - begin > 2
    assert replica.process.handle.wait(30) == (-signal.SIGTERM if workers == 1 else 0)


@WORKERS
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_after_the_delay_no_connection_is_accepted_and_what_runs_ends(
    service: Service, workers: int, how: signal.Signals
) -> None:
    replica = service.start(workers=workers)
    with httpx2.Client(timeout=30) as kept, httpx2.Client(timeout=30) as other:
        running = service.drawing(replica)
        for client in (kept, other):
            assert "connection" not in client.get(f"{replica.url}/healthz").headers
        replica.process.handle.send_signal(how)
        eventually(lambda: status(f"{replica.url}/healthz") == 0, what="the end of listening")
        assert replica.process.handle.poll() is None
        if workers == 1:  # of several, one that runs nothing has ended by now
            answer = kept.get(f"{replica.url}/readyz/process")
            assert (answer.status_code, answer.headers["connection"]) == (503, "close")
            refused = other.post(f"{replica.url}/image", json={"prompt": "late"}, headers=KEY)
            assert (refused.status_code, refused.headers["connection"]) == (503, "close")
            assert refused.json()["type"] == "urn:pixyproxy:problem:shutting-down"
        service.upstream.released.set()
        assert running.result().status_code == 201
    assert replica.process.handle.wait(30) == (-how if workers == 1 else 0)


def test_a_hangup_that_nohup_ignores_ends_nothing(service: Service) -> None:
    replica = service.start(prefix=("nohup",))
    replica.process.handle.send_signal(signal.SIGHUP)
    for _ in range(10):
        assert status(f"{replica.url}/readyz") == 200
        time.sleep(0.05)


@WORKERS
def test_ctrl_c_skips_the_delay_and_a_second_one_waits_for_nothing(service: Service, workers: int) -> None:
    replica = service.start(workers=workers, PIXYPROXY_DRAIN_DELAY=LONGEST)
    running = service.drawing(replica)
    replica.process.handle.send_signal(signal.SIGINT)
    eventually(lambda: status(f"{replica.url}/healthz") == 0, what="the end of listening")
    assert replica.process.handle.poll() is None, "it waits for what runs"
    replica.process.handle.send_signal(signal.SIGINT)
    assert replica.process.handle.wait(30) == 0
    assert isinstance(running.exception(), httpx2.HTTPError) or running.result().status_code >= 500


# --- Requests that wait


def test_a_request_that_waits_for_another_replica_gets_202_when_its_process_ends(service: Service) -> None:
    one, other = service.start(), service.start()
    key = {"Idempotency-Key": "order-66"}
    service.upstream.released.clear()
    begun = service.post(one, Prefer="respond-async", **key).result()
    assert begun.status_code == 202
    joined = service.post(other, Prefer="wait=600", **key)
    eventually(lambda: other.process.output().count("REQUEST START POST") == 1, what="the request that waits")
    other.process.handle.send_signal(signal.SIGTERM)
    answer = joined.result()
    assert (answer.status_code, answer.headers["location"]) == (202, begun.headers["location"])
    assert other.process.handle.wait(30) == -signal.SIGTERM
    service.upstream.released.set()
    eventually(
        lambda: httpx2.get(one.url + answer.headers["location"], headers=KEY).json()["state"] == "succeeded",
        what="the end of the generation",
    )


def test_requests_that_wait_for_a_generation_of_the_process_that_ends_get_its_image(service: Service) -> None:
    replica = service.start()
    key = {"Idempotency-Key": "order-66"}
    running = service.drawing(replica, **key)
    joined = service.post(replica, Prefer="wait=600", **key)
    eventually(lambda: replica.process.output().count("REQUEST START POST") == 2, what="the request that waits")
    replica.process.handle.send_signal(signal.SIGTERM)
    eventually(lambda: status(f"{replica.url}/healthz") == 0, what="the end of listening")
    service.upstream.released.set()
    assert running.result().status_code == joined.result().status_code == 201
    assert running.result().json() == joined.result().json()


def test_streams_of_events_end_with_their_process_and_what_runs_in_it_is_shown_to_its_end(service: Service) -> None:
    one, other = service.start(), service.start()
    service.upstream.released.clear()
    location = service.post(one, Prefer="respond-async").result().headers["location"]
    watched = [
        service.pool.submit(
            httpx2.get, replica.url + location, headers={**KEY, "Accept": "text/event-stream"}, timeout=60
        )
        for replica in (one, other)
    ]
    for replica in (one, other):
        eventually(lambda r=replica: f"REQUEST START GET {location}" in r.process.output(), what="the watcher")  # type: ignore[misc]
        replica.process.handle.send_signal(signal.SIGTERM)
    elsewhere = watched[1].result().text
    assert (elsewhere.count("event: state"), elsewhere.count("event: end")) == (2, 0)
    assert other.process.handle.wait(30) == -signal.SIGTERM
    service.upstream.released.set()
    here = watched[0].result().text
    assert (here.count("event: state"), here.count("event: end")) == (2, 1)
    assert one.process.handle.wait(30) == -signal.SIGTERM


# --- Workers


class Connections:
    """Connections to a replica that stay open."""

    def __init__(self, replica: PixyProxy) -> None:
        self._port = replica.port
        self._opened: list[socket.socket] = []

    def open(self) -> int:
        """Open a connection, and ask which worker took it."""
        opened = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        self._opened.append(opened)
        opened.sendall(b"GET /healthz HTTP/1.1\r\nHost: pixy.test\r\n\r\n")
        (worker,) = re.findall(r"x-request-id: \S+-(\d+)\r", opened.recv(4096).decode())
        return int(worker)

    def close(self) -> None:
        """Close them all."""
        for each in self._opened:
            each.close()


def test_two_workers_take_connections_until_each_has_its_part(service: Service) -> None:
    replica = service.start(workers=2)
    first, second = sorted(workers_of(replica))
    with closing(Connections(replica)) as connections:
        os.kill(second, signal.SIGSTOP)
        try:
            taken = [connections.open() for _ in range(60)]
            assert set(taken) == {first}, "a worker that is frozen delays nobody for long"
        finally:
            os.kill(second, signal.SIGCONT)
        # A worker that others leave these to has its part after 40; one that takes every second of them, after 240.
        for _ in range(80):
            taken.append(connections.open())
            if taken.count(second) >= 0.4 * len(taken):
                break
        assert taken.count(second) >= 0.4 * len(taken)


def test_each_of_two_workers_takes_a_part_of_a_burst_of_posts(service: Service) -> None:
    replica = service.start(workers=2)
    workers = workers_of(replica)
    service.upstream.released.clear()
    posted: list[Future[httpx2.Response]] = []
    for sent in (12, 24):  # one worker may run long enough to take a whole burst, but not the next one too
        posted += [service.post(replica) for _ in range(12)]
        eventually(lambda sent=sent: service.upstream.received == sent, what="the requests to the upstream")  # type: ignore[misc]
    service.upstream.released.set()
    took = [worker_of(each.result()) for each in posted]
    assert set(took) == workers


@pytest.mark.anyio
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_a_worker_that_ends_is_replaced_and_every_waiting_connection_is_served(
    service: Service, how: signal.Signals
) -> None:
    replica = service.start(workers=2)
    known = await asyncio.to_thread(workers_of, replica)
    seen: set[int] = set()
    failures: list[Exception] = []

    async def ask() -> None:
        while seen <= known:
            try:
                async with httpx2.AsyncClient(timeout=60) as client:
                    answer = await client.get(f"{replica.url}/healthz")
                assert answer.status_code == 200
                seen.add(worker_of(answer))
            except httpx2.HTTPError as error:
                failures.append(error)

    async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(ask())
        await asyncio.sleep(0.1)
        os.kill(min(known), how)
    if how == signal.SIGTERM:
        assert failures == []
    assert len(failures) <= 4, "only what the killed worker had accepted"
    assert replica.process.handle.poll() is None


def test_workers_end_when_their_parent_process_is_killed(service: Service) -> None:
    replica = service.start(workers=2)
    workers_of(replica)
    replica.process.handle.kill()
    eventually(lambda: status(f"{replica.url}/healthz") == 0, what="the end of the workers")
