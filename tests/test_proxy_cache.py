"""The cache of deploy/nginx.conf: what Debian's nginx keeps, for how long, and what it answers itself."""

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from pixyproxy.core.thumbnails import SIZES
from tests import planted
from tests.listening import listening
from tests.nginx import NGINX_CONF, Nginx
from tests.servers import wait_until
from tests.stage import KEY, Stage


class Counted:
    """The application of a stage. It counts what nginx asks for, and answers when it is `released`."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.asked: Counter[str] = Counter()
        self.conditional: Counter[str] = Counter()
        self.released = Event()
        self.released.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] == "http":
            self.asked[scope["method"]] += 1
            if any(name == b"if-none-match" for name, _ in scope["headers"]):
                self.conditional[scope["method"]] += 1
            while not self.released.is_set():
                await asyncio.sleep(0.01)
        await self.stage.app(scope, receive, send)


class Front:
    """nginx before a replica that has one picture."""

    def __init__(self, proxy: Nginx, replica: Counted, details: dict[str, str]) -> None:
        self.proxy, self.replica, self.details = proxy, replica, details
        self.path = f"/image/{details['guid']}/content"

    def ask(self, path: str | None = None, *, method: str = "GET", **headers: str) -> httpx2.Response:
        """The answer to a stranger."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx2.request(method, self.proxy.url + (path or self.path), headers=named, trust_env=False, timeout=60)

    def delete(self) -> None:
        """Delete the picture."""
        gone = httpx2.delete(f"{self.proxy.url}/image/{self.details['guid']}", headers=KEY, trust_env=False)
        assert gone.status_code == 204


@pytest.fixture
def ttl() -> float:
    """The replica's PIXYPROXY_CACHE_TTL."""
    return 3600


@pytest.fixture
def front(tmp_path: Path, ttl: float) -> Iterator[Front]:
    """nginx before a replica; what was asked before the test does not count."""
    replica = Counted(Stage(proxy_ttl=ttl))
    with listening(replica) as url:
        proxy = Nginx(tmp_path / "nginx", ports=[int(url.rpartition(":")[2])])
        proxy.start()
        try:
            made = httpx2.post(f"{proxy.url}/image", json={"prompt": planted.PROMPT}, headers=KEY, trust_env=False)
            assert made.status_code == 201
            replica.asked.clear()
            yield Front(proxy, replica, made.json())
        finally:
            replica.released.set()
            proxy.process.stop()


def test_a_picture_is_asked_for_once_and_looks_the_same(front: Front) -> None:
    first, second = front.ask(), front.ask()
    assert front.replica.asked == {"GET": 1}
    assert hashlib.sha256(first.content).hexdigest() == front.details["sha256"]
    assert second.content == first.content
    for name in ("content-type", "etag", "last-modified", "cache-control", "content-disposition", "accept-ranges"):
        assert second.headers[name] == first.headers[name]
    assert "x-accel-expires" not in first.headers
    by_name = f"/image/{front.details['filename']}"
    assert front.ask(by_name).content == front.ask(by_name).content == first.content
    assert front.replica.asked == {"GET": 2}


def test_a_thumbnail_of_each_size_is_asked_for_once(front: Front) -> None:
    path = f"/image/{front.details['guid']}/thumbnail"
    paths = [path, *(f"{path}?size={size}" for size in SIZES)]
    first = [front.ask(each) for each in paths]
    assert {answer.headers["content-type"] for answer in first} == {"image/webp"}
    assert [front.ask(each).content for each in paths] == [answer.content for answer in first]
    assert front.replica.asked == {"GET": len(paths)}


def test_conditions_and_ranges_are_answered_without_a_replica(front: Front) -> None:
    whole = front.ask()
    etag, modified, picture = whole.headers["etag"], whole.headers["last-modified"], whole.content
    assert front.ask(If_None_Match=etag).status_code == 304
    assert front.ask(If_None_Match='"another"').status_code == 200
    assert front.ask(If_Modified_Since=modified).status_code == 304
    assert front.ask(If_Modified_Since="Fri, 01 Jan 2100 00:00:00 GMT").status_code == 304
    assert front.ask(If_Match='"another"').status_code == 412
    part = front.ask(Range="bytes=2-5", If_Range=etag)
    assert (part.status_code, part.content) == (206, picture[2:6])
    assert part.headers["content-range"] == f"bytes 2-5/{len(picture)}"
    assert front.ask(Range=f"bytes={len(picture)}-").status_code == 416
    several = front.ask(Range="bytes=0-1,4-5")
    assert (several.status_code, several.content) == (200, picture)
    assert front.replica.asked == {"GET": 1}


def test_the_first_request_may_be_for_a_range(front: Front) -> None:
    assert len(front.ask(Range="bytes=0-3").content) == 4
    assert hashlib.sha256(front.ask().content).hexdigest() == front.details["sha256"]
    assert front.replica.asked == {"GET": 1}


def test_a_head_reads_no_picture(front: Front) -> None:
    opened = len(front.replica.stage.storage.opened)
    for _ in range(2):
        assert front.ask(method="HEAD").headers["content-length"] == str(front.details["size_bytes"])
    assert front.replica.asked == {"HEAD": 1}
    assert len(front.replica.stage.storage.opened) == opened


def test_to_be_saved_is_another_answer_than_to_be_shown(front: Front) -> None:
    for _ in range(2):
        assert front.ask(front.path + "?download=1").headers["content-disposition"].startswith("attachment")
        assert front.ask().headers["content-disposition"].startswith("inline")
    assert front.replica.asked == {"GET": 2}


@pytest.mark.parametrize("query", ["?x=1", "?download=0&download=1", "?size=400&size=400", "?download=%31"])
def test_an_invented_query_is_not_kept(front: Front, query: str) -> None:
    for _ in range(2):
        front.ask(front.path + query)
    assert front.replica.asked == {"GET": 2}
    assert not any(path.is_file() for path in (front.proxy.folder / "pictures").rglob("*"))


@pytest.mark.parametrize("path", ["/image/{guid}", "/image", "/readyz"])
def test_nothing_but_pictures_is_kept(front: Front, path: str) -> None:
    for _ in range(2):
        front.ask(path.format(guid=front.details["guid"]))
    assert front.replica.asked == {"GET": 2}


def test_what_is_not_found_is_not_kept(front: Front) -> None:
    for _ in range(2):
        assert front.ask("/image/0f0e0d0c-0b0a-4908-8706-050403020100/content").status_code == 404
    assert front.replica.asked == {"GET": 2}


@pytest.mark.parametrize("ttl", [0, 3600])
def test_those_who_want_a_picture_at_the_same_time_do_not_wait_for_each_other(front: Front) -> None:
    front.replica.released.clear()
    with ThreadPoolExecutor(12) as pool:
        asking = [pool.submit(front.ask) for _ in range(12)]

        def all_asked() -> None:
            assert front.replica.asked == {"GET": 12}

        wait_until(all_asked, seconds=30, what="all of them at the replica")
        front.replica.released.set()
        assert {each.result().status_code for each in asking} == {200}


@pytest.mark.parametrize("ttl", [1])
def test_after_its_time_a_picture_is_asked_about_and_not_read_again(front: Front) -> None:
    front.ask()

    def asked_about() -> None:
        assert front.ask().status_code == 200
        assert front.replica.conditional["GET"] >= 2

    opened = len(front.replica.stage.storage.opened)
    wait_until(asked_about, seconds=30, what="two questions whether it is still there")
    assert len(front.replica.stage.storage.opened) == opened


@pytest.mark.parametrize("ttl", [1])
def test_a_deleted_picture_disappears_after_its_time_however_long_nobody_asked(front: Front) -> None:
    front.ask()
    assert front.ask().status_code == 200
    front.delete()

    def gone() -> None:
        assert front.ask().status_code == 404

    wait_until(gone, seconds=30, what="the end of the picture")
    assert front.ask().status_code == 404


@pytest.mark.parametrize("ttl", [0])
def test_without_a_time_nothing_is_kept(front: Front) -> None:
    front.ask()
    front.ask()
    assert front.replica.asked == {"GET": 2}
    front.delete()
    assert front.ask().status_code == 404


def test_the_queries_of_the_configuration_are_those_of_pictures() -> None:
    (block,) = re.findall(r"map \$args \$other_query \{(.*?)\}", NGINX_CONF.read_text(), re.DOTALL)
    kept = re.findall(r'"(.*)" 0;', block)
    assert kept == ["", "download=0", "download=1", *(f"size={size}" for size in SIZES)]
