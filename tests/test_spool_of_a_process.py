"""The spool of `pixyproxy serve`: where its files are, and that nothing is left of them."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests import planted
from tests.fakes import tiny_picture
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
