"""The spool of `pixyproxy serve`: where its files are, what is left of them, and what uploads cost in memory."""

import base64
import json
import random
import re
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from pixyproxy.upstream.demo.server import DemoUpstream
from tests import planted
from tests.fakes import tiny_picture
from tests.listening import listening
from tests.servers import PixyProxy, wait_until

PICTURE = tiny_picture() + bytes(2_000_000)
HEAD = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'


@pytest.fixture
def server(tmp_path: Path, logs: Path) -> Iterator[PixyProxy]:
    """The embedded default."""
    server = PixyProxy(tmp_path, {"PIXYPROXY_API_KEY": planted.API_KEY, "PIXYPROXY_UPLOAD_MB": "4"})
    server.process.log = logs / "spool.log"
    try:
        yield server.start()
    finally:
        server.process.stop()


def open_uploads(server: PixyProxy) -> list[str]:
    """The files of the spool that some process of the server has open."""
    names = []
    for descriptor in Path(f"/proc/{server.process.handle.pid}/fd").iterdir():
        try:
            names.append(str(descriptor.readlink()))
        except FileNotFoundError:
            continue
    return [name for name in names if "/uploads/" in name]


def test_nothing_is_left_of_an_upload_after_a_kill(server: PixyProxy, tmp_path: Path) -> None:
    uploads = tmp_path / "pixyproxy-data" / "uploads"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(
            f"POST /v1/images/edits HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {planted.API_KEY}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 3000000\r\n\r\n".encode()
            + HEAD
            + PICTURE
        )

        def arrives() -> None:
            assert len(open_uploads(server)) == 1

        wait_until(arrives, seconds=20, what="the upload", process=server.process)
        assert list(uploads.iterdir()) == []
        server.process.stop(how=signal.SIGKILL)
    assert list(uploads.iterdir()) == []


def test_the_budget_is_that_of_the_setting_and_comes_back(server: PixyProxy) -> None:
    def post(count: int) -> httpx2.Response:
        body = (HEAD + PICTURE + b"\r\n") * count + b"--b--\r\n"
        headers = {
            "Authorization": f"Bearer {planted.API_KEY}",
            "Content-Type": "multipart/form-data; boundary=b",
        }
        return httpx2.post(f"{server.url}/v1/images/edits", content=body, headers=headers, timeout=30)

    for _ in range(3):
        full = post(3)
        assert (full.status_code, full.json()["error"]["code"]) == (503, "uploads_full")
        refused = post(2)  # it has no prompt
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "prompt")
    assert open_uploads(server) == []


MIB = 1024 * 1024
IMAGES = 4
EDITS = 6
GROWTH = 100 * MIB
"""Far less than the 240 MiB of the bodies."""


def peak_memory(server: PixyProxy) -> int:
    """The most bytes of memory that the server had since its peak was last forgotten."""
    (line,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{server.process.handle.pid}/status").read_text())
    return int(line) * 1024


@pytest.mark.parametrize("kind", ["form", "json"])
def test_uploads_are_not_held_in_memory(tmp_path: Path, logs: Path, kind: str) -> None:
    picture = tiny_picture() + random.Random(1).randbytes(10 * MIB)
    if kind == "form":
        body = (HEAD + picture + b"\r\n") * IMAGES
        body += b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na dot\r\n--b--\r\n'
        content_type = "multipart/form-data; boundary=b"
    else:
        named = {"image_url": f"data:image/png;base64,{base64.b64encode(picture).decode()}"}
        body, content_type = json.dumps({"prompt": "a dot", "images": [named] * IMAGES}).encode(), "application/json"

    def edit(_: int) -> int:
        headers = {"Authorization": f"Bearer {planted.API_KEY}", "Content-Type": content_type}
        with httpx2.Client(timeout=100, trust_env=False) as client:
            return client.post(f"{process.url}/v1/images/edits", content=body, headers=headers).status_code

    upstream = DemoUpstream(api_key=planted.UPSTREAM_KEY)
    with listening(upstream.app) as url:
        environment = {
            "PIXYPROXY_API_KEY": planted.API_KEY,
            "PIXYPROXY_QUALITY": "low",
            "OPENAI_API_KEY": planted.UPSTREAM_KEY,
            "OPENAI_BASE_URL": f"{url}/v1",
        }
        process = PixyProxy(tmp_path, environment)
        process.process.log = logs / f"memory-{kind}.log"
        try:
            process.start()
            assert edit(0) == 200  # what is loaded at first use is there from now on
            Path(f"/proc/{process.process.handle.pid}/clear_refs").write_text("5")  # forgets the peak
            before = peak_memory(process)
            with ThreadPoolExecutor(EDITS) as threads:
                assert list(threads.map(edit, range(EDITS))) == [200] * EDITS
            assert peak_memory(process) - before < GROWTH
            assert open_uploads(process) == []
        finally:
            process.process.stop()
