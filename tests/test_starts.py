"""Large pictures begin in turn: who waits for a place, and who waits for none."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from pixyproxy.web.http.content import ContentResponse
from pixyproxy.web.http.starts import LARGE, Place, Starts

pytestmark = pytest.mark.anyio
NEVER = 3600.0


async def settled(entering: "asyncio.Task[Place]") -> bool:
    """Whether the task has its place, once the event loop has had some turns."""
    for _ in range(5):
        await asyncio.sleep(0)
    return entering.done()


async def test_a_large_picture_waits_for_a_place_and_a_small_one_does_not() -> None:
    starts = Starts(places=1, step=NEVER)
    first = await starts.enter(LARGE)
    second, third = (asyncio.create_task(starts.enter(LARGE)) for _ in range(2))
    assert not await settled(second)
    await starts.enter(LARGE - 1)
    first.leave()
    first.leave()  # once more: it frees nothing
    assert await settled(second)
    assert not await settled(third)
    second.result().leave()
    (await third).leave()
    await starts.enter(LARGE)


async def test_without_a_free_place_one_more_begins_after_each_step() -> None:
    starts = Starts(places=1, step=0.001)
    async with asyncio.timeout(60):
        places = [await starts.enter(LARGE) for _ in range(5)]
    waiting = asyncio.create_task(starts.enter(LARGE))
    for place in places:
        place.leave()
    assert await settled(waiting)


async def test_a_request_that_is_cancelled_keeps_no_place() -> None:
    starts = Starts(places=1, step=NEVER)
    first = await starts.enter(LARGE)
    cancelled, told, next_one = (asyncio.create_task(starts.enter(LARGE)) for _ in range(3))
    assert not await settled(cancelled)
    cancelled.cancel()
    assert await settled(cancelled)
    first.leave()
    told.cancel()  # it has been given the place, and has not run since
    assert await settled(next_one)


class Pieces:
    """An object of three chunks."""

    size_bytes = 3

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The chunks."""
        for _ in range(3):
            yield b"x"

    async def aclose(self) -> None:
        """Nothing is open."""


class Client:
    """A connection whose client is slow from the second message on, and reads what it gets all the same."""

    left = False
    unsent = 0

    def __init__(self, starts: Starts) -> None:
        self.slow = False
        self._starts = starts
        self.messages = 0
        self.others: list[Place] = []

    async def taken(self) -> None:
        """The next picture begins now, before this one has ended."""
        self.others.append(await self._starts.enter(LARGE))
        self.slow = False

    async def send(self, message: object) -> None:
        """Count it."""
        self.messages += 1
        self.slow = self.messages == 2


async def test_a_picture_for_a_slow_client_leaves_its_place() -> None:
    starts = Starts(places=1, step=NEVER)
    client = Client(starts)
    place = await starts.enter(LARGE)
    response = ContentResponse(Pieces(), status=200, headers={}, patience=10, place=place)
    await asyncio.wait_for(response({"pixyproxy.connection": client}, None, client.send), 10)  # type: ignore[arg-type]
    assert (client.messages, len(client.others)) == (5, 1)
