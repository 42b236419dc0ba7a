"""Thumbnails of real servers: their workers end with them, however they end, and draining does not wait for one."""

import http.client
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from pixyproxy.service.thumbnails.process import MODULE
from tests import planted
from tests.servers import PixyProxy, wait_until
from tests.test_thumbnail_worker import lives, memory_of

KEY = {"Authorization": f"Bearer {planted.API_KEY}"}
WORKERS = pytest.mark.parametrize("workers", [1, 2])
GONE = 5.0


@contextmanager
def serving(folder: Path, *, workers: int = 1, installed: bool = False) -> Iterator[PixyProxy]:
    """The embedded default, which draws demo pictures."""
    arguments = ("serve", "--workers", str(workers))
    environment = {"PIXYPROXY_API_KEY": planted.API_KEY, "PIXYPROXY_DEMO": "1"}
    server = PixyProxy(folder, environment, arguments=arguments, installed=installed)
    try:
        yield server.start()
    finally:
        server.process.stop(how=signal.SIGINT)


def draw(server: PixyProxy, size: str = "512x256") -> str:
    """The guid of a new image."""
    answer = httpx2.post(f"{server.url}/image", json={"prompt": planted.PROMPT, "size": size}, headers=KEY, timeout=30)
    assert answer.status_code == 201, answer.text
    guid: str = answer.json()["guid"]
    return guid


def look(server: PixyProxy, guid: str, size: int = 400) -> httpx2.Response:
    """The thumbnail, on a new connection."""
    return httpx2.get(f"{server.url}/image/{guid}/thumbnail?size={size}", timeout=30)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def thumbnail_workers(server: PixyProxy) -> set[int]:
    """The workers whose ancestor the server is."""
    found = set()
    for folder in Path("/proc").iterdir():
        try:
            if not folder.name.isdecimal() or MODULE.encode() not in (folder / "cmdline").read_bytes():
                continue
            above = parent_of(int(folder.name))
            while above not in (0, 1, server.process.handle.pid):
                above = parent_of(above)
        except OSError:  # it ended meanwhile
            continue
        if above == server.process.handle.pid:
            found.add(int(folder.name))
    return found


def with_workers(server: PixyProxy, number: int) -> set[int]:
    """The workers, when each process of the server has one."""

    def made() -> None:
        assert look(server, draw(server)).status_code == 200
        assert len(thumbnail_workers(server)) == number

    wait_until(made, seconds=60, what="a thumbnail of each process")
    return thumbnail_workers(server)


def all_gone(pids: set[int]) -> Callable[[], None]:
    def gone() -> None:
        assert not [pid for pid in pids if lives(pid)]

    return gone


@WORKERS
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_its_server(tmp_path: Path, workers: int, how: signal.Signals) -> None:
    with serving(tmp_path, workers=workers) as server:
        pids = with_workers(server, workers)
        began = time.monotonic()
        server.process.handle.send_signal(how)
        server.process.handle.wait(30)
        assert time.monotonic() - began < 10
        wait_until(all_gone(pids), seconds=GONE, what="the end of the workers")


def test_a_worker_of_the_installed_command_is_as_small_as_any(tmp_path: Path) -> None:
    with serving(tmp_path, installed=True) as server:
        (pid,) = with_workers(server, 1)
        assert memory_of(pid, "VmRSS") < 40 * 1024 * 1024


def test_requests_that_wait_when_the_server_ends_have_an_answer(tmp_path: Path) -> None:
    with serving(tmp_path) as server, ThreadPoolExecutor(24) as pool:
        guids = [draw(server, "2048x2048") for _ in range(12)]
        (pid,) = with_workers(server, 1)
        asked = [pool.submit(look, server, guid, size) for guid in guids for size in (400, 800)]
        while not any(each.done() for each in asked):
            time.sleep(0.005)
        server.process.handle.terminate()
        statuses = [each.result().status_code for each in asked if each.exception() is None]
        assert set(statuses) <= {200, 503}
        assert 200 in statuses
        server.process.handle.wait(30)
        wait_until(all_gone({pid}), seconds=GONE, what="the end of the worker")


def test_a_worker_that_is_killed_costs_no_generation_and_the_next_thumbnail_has_another(tmp_path: Path) -> None:
    with serving(tmp_path) as server, ThreadPoolExecutor(8) as pool:
        (pid,) = with_workers(server, 1)
        drawing = [pool.submit(draw, server) for _ in range(8)]
        os.kill(pid, signal.SIGKILL)
        for guid in [each.result() for each in drawing]:
            assert look(server, guid).status_code == 200
        assert server.process.handle.poll() is None
        assert thumbnail_workers(server) != {pid}


def test_a_head_without_a_length_leaves_the_connection_to_the_next_request(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        guid = draw(server)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        for method, size in (("HEAD", 400), ("GET", 400), ("HEAD", 800)):
            connection.request(method, f"/image/{guid}/thumbnail?size={size}")
            answer = connection.getresponse()
            length, data = answer.headers["content-length"], answer.read()
            assert (answer.status, answer.headers["content-type"]) == (200, "image/webp")
            assert answer.headers["transfer-encoding"] is None
            assert length == (str(len(data)) if method == "GET" else None)
            assert bool(data) is (method == "GET")
        used = connection.sock
        connection.request("GET", f"/image/{guid}/thumbnail", headers={"Range": "bytes=0-3"})
        part = connection.getresponse()
        assert (part.status, part.read(), connection.sock) == (206, b"RIFF", used)
        connection.close()
