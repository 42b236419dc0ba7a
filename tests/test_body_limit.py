"""The bounds of bodies that may be large: a minimum rate instead of a time for the whole. Time is virtual."""

from typing import Any

import anyio
import pytest
from starlette.requests import Request

from pixyproxy.core import limits
from pixyproxy.core.exceptions import PayloadTooLargeError, RequestTimeoutError, ShuttingDownError
from pixyproxy.web.http.body_limit import EDIT_BODY, SMALL_BODY, BodyLimit, skip_body, with_body_limit
from tests.stage import Stage
from tests.virtual_time import VirtualTimeLoop

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", [("asyncio", {"loop_factory": VirtualTimeLoop})], ids=["virtual time"]),
]
KIB = 1024


class Client:
    """Sends `count` pieces of `size` bytes, with a pause before each; then it says no more."""

    def __init__(self, *, count: int, size: int, pause: float, ends: bool = True) -> None:
        self.left = count
        self.size = size
        self.pause = pause
        self.ends = ends

    async def receive(self) -> dict[str, Any]:
        if self.left == 0:
            await anyio.sleep_forever()
        await anyio.sleep(self.pause)
        self.left -= 1
        return {"type": "http.request", "body": bytes(self.size), "more_body": self.left > 0 or not self.ends}


def bounded(client: Client, limit: BodyLimit, *, stage: Stage | None = None, headers: Any = ()) -> Request:
    """The bounded request of a client."""
    stage = stage or Stage()
    app = type("App", (), {"state": type("State", (), {"services": stage.services})})
    scope = {"type": "http", "method": "POST", "headers": list(headers), "app": app}
    return with_body_limit(Request(scope, client.receive), limit)


async def test_a_small_body_must_come_within_the_patience_of_the_service() -> None:
    assert len(await bounded(Client(count=5, size=10, pause=11), SMALL_BODY).body()) == 50
    with pytest.raises(RequestTimeoutError, match="60 seconds"):
        await bounded(Client(count=7, size=10, pause=11), SMALL_BODY).body()


async def test_a_body_with_images_may_take_as_long_as_its_rate_allows() -> None:
    slow = Client(count=100, size=200 * KIB, pause=10)  # 20 KiB/s for 1000 s
    assert len(await bounded(slow, EDIT_BODY).body()) == 100 * 200 * KIB
    too_slow = Client(count=100, size=100 * KIB, pause=10)  # 10 KiB/s
    with pytest.raises(RequestTimeoutError, match="16384 bytes a second"):
        await bounded(too_slow, EDIT_BODY).body()
    assert 0 < too_slow.left < 97, "it has the grace, and no more"


async def test_what_came_fast_does_not_allow_a_long_pause() -> None:
    began = anyio.current_time()
    with pytest.raises(RequestTimeoutError, match="Nothing"):
        await bounded(Client(count=1, size=100 * KIB * KIB, pause=0, ends=False), EDIT_BODY).body()
    assert anyio.current_time() - began == pytest.approx(limits.CLIENT_WAIT)


async def test_a_process_that_ends_reads_no_more_of_it() -> None:
    stage = Stage()
    client = Client(count=1000, size=1024 * KIB, pause=1)
    async with anyio.create_task_group() as group:
        group.start_soon(end_later, stage)
        with pytest.raises(ShuttingDownError):
            await bounded(client, EDIT_BODY, stage=stage).body()
    assert client.left > 980


async def end_later(stage: Stage) -> None:
    """The process begins to end."""
    await anyio.sleep(10)
    stage.readiness.ending.set()


async def test_a_body_over_its_size_is_refused_when_it_is() -> None:
    limit = BodyLimit(size=1000, rate=1)
    with pytest.raises(PayloadTooLargeError):
        bounded(Client(count=0, size=0, pause=0), limit, headers=[(b"content-length", b"1001")])
    client = Client(count=10, size=300, pause=0)
    with pytest.raises(PayloadTooLargeError):
        await bounded(client, limit).body()
    assert client.left == 6


async def test_what_is_left_of_a_refused_body_is_read_within_bounds() -> None:
    for client, left in (
        (Client(count=50, size=1024 * KIB, pause=0.1), 0),
        (Client(count=200, size=1024 * KIB, pause=0), 200 - limits.MAX_SKIPPED // (1024 * KIB)),
        (Client(count=100, size=1024 * KIB, pause=1), 91),
    ):
        request = bounded(client, EDIT_BODY)
        await skip_body(request)
        assert client.left == pytest.approx(left, abs=1)


async def test_a_body_that_was_read_is_not_waited_for() -> None:
    request = bounded(Client(count=3, size=10, pause=1), EDIT_BODY)
    await request.body()
    began = anyio.current_time()
    await skip_body(request)
    assert anyio.current_time() == began
