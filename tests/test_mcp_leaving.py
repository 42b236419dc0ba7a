"""A client of /mcp that leaves while its generation is reserved: nothing is torn, and its next call joins it."""

import asyncio
import threading
from typing import Any

import httpx2
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pixyproxy.core.generations import Generation
from tests import planted
from tests.fakes import FakeAdoptionRepository, FakeGenerationRepository, FakeParkedImageRepository, tiny_picture
from tests.listening import listening
from tests.mcp_client import call
from tests.servers import wait_until
from tests.stage import KEY, Stage

pytestmark = pytest.mark.anyio
BOTH = {"Accept": "application/json, text/event-stream"}


class HeldReservations(FakeGenerationRepository):
    """Adds no generation while it is held."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.images)
        self.entered, self.released = threading.Event(), threading.Event()
        self._turns = threading.Semaphore(0)

    async def add(self, generation: Generation, **options: Any) -> None:
        """Add one, once it is released."""
        self.entered.set()
        while not self.released.is_set():
            await asyncio.sleep(0.01)
            self._turns.release()
        await super().add(generation, **options)

    def polled_again(self, *, after: int, seconds: float) -> bool:
        """Wait until the event loop has come back to the held reservation so many times more."""
        while self._turns.acquire(blocking=False):
            pass
        return all(self._turns.acquire(timeout=seconds) for _ in range(after))


class SeesDisconnects:
    """An ASGI wrapper that knows whether the application was told that a client has left."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.seen = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""

        async def watched() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.seen.set()
            return message

        await self._app(scope, watched, send)


async def test_a_client_that_leaves_while_its_edit_is_reserved_gets_the_picture_with_its_next_call() -> None:
    stage = Stage()
    source = await stage.create()
    held = stage.generations = HeldReservations(stage)
    stage.adoption, stage.parked = FakeAdoptionRepository(held), FakeParkedImageRepository(held)
    stage.start()
    message: dict[str, Any] = call("edit_image", prompt=planted.PROMPT, sources=[source["guid"]])

    def is_drawn() -> None:
        assert len(stage.images.images) == 2
        assert held.abandoned

    app = SeesDisconnects(stage.app)
    with listening(app) as url:
        async with httpx2.AsyncClient(headers=KEY, timeout=20) as client:
            leaving = asyncio.create_task(client.post(f"{url}/mcp", json=message, headers=BOTH))
            await asyncio.to_thread(held.entered.wait, 20)
            leaving.cancel()
            await asyncio.wait({leaving})
        assert await asyncio.to_thread(app.seen.wait, 20)
        assert await asyncio.to_thread(held.polled_again, after=20, seconds=20)  # by then the SDK has cancelled
        held.released.set()
        await asyncio.to_thread(wait_until, is_drawn, seconds=20, what="the picture and the mark")
        async with httpx2.AsyncClient(headers=KEY, timeout=20) as client:
            again = await client.post(f"{url}/mcp", json=message, headers={"Accept": "application/json"})
    assert again.json()["result"]["structuredContent"]["state"] == "succeeded"
    assert stage.generator.inputs == [(), (tiny_picture(planted.PROMPT),)]
    assert stage.spool.open_files == []
