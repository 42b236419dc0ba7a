"""The embedded default on a disk that becomes full while a picture is drawn."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from pixyproxy.upstream.demo.server import DemoUpstream
from tests import planted
from tests.listening import listening
from tests.servers import PixyProxy, wait_until

KEY = {"Authorization": f"Bearer {planted.API_KEY}"}
ROOM = "112m"
"""More than a storage needs before Draw and what is reserved for parking."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, which only root can mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here: it needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(file: Path) -> None:
    """Take every byte that is left."""
    with suppress(OSError), file.open("wb", buffering=0) as other:
        while True:
            other.write(bytes(65_536))
    with suppress(OSError), file.with_suffix(".rest").open("wb", buffering=0) as other:
        while True:
            other.write(b"x")


def test_a_picture_that_is_drawn_while_the_disk_becomes_full_outlives_sigterm(disk: Path, logs: Path) -> None:
    upstream = DemoUpstream(api_key=planted.UPSTREAM_KEY, delay=3)
    with listening(upstream.app) as url:
        environment = {
            "PIXYPROXY_DATA_DIR": str(disk / "data"),
            "PIXYPROXY_API_KEY": planted.API_KEY,
            "OPENAI_API_KEY": planted.UPSTREAM_KEY,
            "OPENAI_BASE_URL": f"{url}/v1",
            "PIXYPROXY_LEASE": "1",
            "PIXYPROXY_RECONCILE_INTERVAL": "0.5",
        }
        server = PixyProxy(disk.parent / "server", environment)
        server.process.log = logs / "full-disk.log"
        server.start()
        try:
            body = {"prompt": planted.PROMPT, "size": "32x16"}
            headers = {**KEY, "Prefer": "respond-async"}
            begun = httpx2.post(f"{server.url}/image", json=body, headers=headers, timeout=30)
            assert begun.status_code == 202, begun.text
            wait_until(lambda: 1 / upstream.received, seconds=30, what="the upstream")
            fill(disk / "other data")
            server.process.stop(seconds=60)
            said = server.process.output()
            (parked,) = [line for line in said.splitlines() if "is in neither store but in" in line]
            assert str(disk / "data" / "parked") in parked
            assert "bytes free: " in said
            for other in disk.glob("other data*"):
                other.unlink()
            server.start()

            def is_served() -> None:
                generation = httpx2.get(f"{server.url}{begun.headers['location']}", headers=KEY).json()
                (image,) = generation["images"]
                assert httpx2.get(image["url"]).status_code == 200

            wait_until(is_served, seconds=60, what="the picture")
            assert upstream.received == 1
        finally:
            server.process.stop()
