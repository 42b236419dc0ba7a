"""A client of /mcp that leaves while its generation is reserved: nothing is torn, and its next call joins it."""

import asyncio
import threading
from typing import Any
from uuid import UUID

import httpx2
import pytest

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

    async def add(self, generation: Generation, *, lease: float, instead_of: UUID | None = None) -> None:
        """Add one, once it is released."""
        self.entered.set()
        while not self.released.is_set():
            await asyncio.sleep(0.01)
        await super().add(generation, lease=lease, instead_of=instead_of)


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

    with listening(stage.app) as url:
        async with httpx2.AsyncClient(headers=KEY, timeout=20) as client:
            leaving = asyncio.create_task(client.post(f"{url}/mcp", json=message, headers=BOTH))
            await asyncio.to_thread(held.entered.wait, 20)
            leaving.cancel()
            await asyncio.wait({leaving})
        await asyncio.sleep(0.5)  # for the server to notice
        held.released.set()
        await asyncio.to_thread(wait_until, is_drawn, seconds=20, what="the picture and the mark")
        async with httpx2.AsyncClient(headers=KEY, timeout=20) as client:
            again = await client.post(f"{url}/mcp", json=message, headers={"Accept": "application/json"})
    assert again.json()["result"]["structuredContent"]["state"] == "succeeded"
    assert stage.generator.inputs == [(), (tiny_picture(planted.PROMPT),)]
    assert stage.spool.open_files == []
