"""What /mcp says of money when something fails: a paid picture stays within reach, and no cost is guessed."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx2
import pytest

from pixyproxy.core.exceptions import (
    DatabaseUnavailableError,
    PixyProxyException,
    UpstreamDeadlineError,
    UpstreamRefusedError,
)
from pixyproxy.core.generations import Generation
from tests import planted
from tests.fakes import FakeAdoptionRepository, FakeGenerationRepository, FakeParkedImageRepository
from tests.mcp_client import call
from tests.stage import Stage

pytestmark = pytest.mark.anyio
JSON = {"Accept": "application/json"}
ONCE = {"prompt": planted.PROMPT, "idempotency_key": "order-1"}
NOTHING = "Nothing was billed."


class UnreadableGenerations(FakeGenerationRepository):
    """Reads no generation while `failure_of_get` is set."""

    failure_of_get: PixyProxyException | None = None

    async def get(self, guid: UUID) -> Generation:
        """Get one."""
        if self.failure_of_get is not None:
            raise self.failure_of_get
        return await super().get(guid)


async def called(client: httpx2.AsyncClient, tool: str, **arguments: Any) -> dict[str, Any]:
    """The result of a tool."""
    answer = await client.post("/mcp", json=call(tool, **arguments), headers=JSON)
    result: dict[str, Any] = answer.json()["result"]
    return result


def text_of(result: dict[str, Any]) -> str:
    """The texts of a result."""
    return "\n".join(block["text"] for block in result["content"] if block["type"] == "text")


async def test_a_repeated_key_whose_picture_may_have_been_drawn_is_told_that_it_may_have_been_billed() -> None:
    stage = Stage()
    stage.generator.failure = UpstreamDeadlineError("It is late.")
    async with stage.client() as client:
        first, second = [await called(client, "generate_image", **ONCE) for _ in range(2)]
    assert second["_meta"]["pixyproxy/problem"]["type"] == "urn:pixyproxy:problem:outcome-unknown"
    for result in (first, second):
        assert "It may have been billed" in text_of(result)
        assert NOTHING not in text_of(result)
    assert len(stage.generator.requests) == 1


async def test_a_refusal_of_the_upstream_is_said_once() -> None:
    stage = Stage()
    stage.generator.failure = UpstreamRefusedError("The upstream refused the request: no cats.")
    async with stage.client() as client:
        result = await called(client, "generate_image", **ONCE)
    assert text_of(result).startswith("The upstream refused the request: no cats. Nothing was billed.")


async def test_a_repeated_key_whose_picture_was_deleted_is_not_told_that_it_was_free() -> None:
    stage = Stage()
    async with stage.client() as client:
        drawn = await called(client, "generate_image", **ONCE)
        await client.delete(f"/image/{drawn['structuredContent']['images'][0]['guid']}")
        again = await called(client, "generate_image", **ONCE)
    assert again["isError"]
    assert "its image was deleted since" in text_of(again)
    assert NOTHING not in text_of(again)


async def test_a_call_whose_generation_continues_elsewhere_names_it_though_the_database_does_not_answer() -> None:
    stage, released = Stage(), asyncio.Event()
    generations = stage.generations = UnreadableGenerations(stage.images)
    stage.adoption, stage.parked = FakeAdoptionRepository(generations), FakeParkedImageRepository(generations)
    stage.start()
    ending = stage.replica()
    stage.generator.before = released.wait
    async with stage.client() as client, ending.client() as retrying, asyncio.timeout(30):
        drawing = asyncio.create_task(called(client, "generate_image", prompt=planted.PROMPT))
        while not stage.generator.requests:
            await asyncio.sleep(0.01)
        (guid,) = generations.generations
        generations.abandoned[guid] = datetime.now(UTC)
        waiting = asyncio.create_task(called(retrying, "generate_image", prompt=planted.PROMPT))
        while generations.abandoned:  # until the retry adopts it
            await asyncio.sleep(0.01)
        generations.failure_of_get = DatabaseUnavailableError("It does not answer.")
        ending.readiness.ending.set()
        result = await waiting
        generations.failure_of_get = None
        released.set()
        await drawing
    assert result["isError"]
    assert "It may have been billed" in text_of(result)
    assert NOTHING not in text_of(result)
    assert f"get_generation {guid}" in text_of(result)
    problem = result["_meta"]["pixyproxy/problem"]
    assert (problem["cost"], problem["generation"]) == ("unknown", str(guid))
    assert len(stage.generator.requests) == 1


async def test_a_repeated_edit_gives_the_paid_picture_though_its_source_was_deleted() -> None:
    stage = Stage()
    guid = (await stage.create())["guid"]
    async with stage.client() as client:
        first = await called(client, "edit_image", **ONCE, sources=[guid])
        assert (await client.delete(f"/image/{guid}")).status_code == 204
        again = await called(client, "edit_image", **ONCE, sources=[guid])
        without = await called(client, "edit_image", prompt=planted.PROMPT, sources=[guid])
    assert again["structuredContent"]["images"] == first["structuredContent"]["images"]
    assert "sources/0: names no image that is stored here" in text_of(without)
    assert NOTHING in text_of(without)
    assert len(stage.generator.requests) == 2


@pytest.mark.parametrize("fault", [MemoryError, OSError])
async def test_a_fault_of_the_preview_hides_neither_url_nor_guid_of_the_paid_picture(
    fault: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage()

    async def fail(_: str) -> None:
        raise fault

    stage.storage.before_open = fail
    async with stage.client() as client:
        result = await called(client, "generate_image", prompt=planted.PROMPT, inline_preview=True)
    (image,) = stage.images.images.values()
    assert not result["isError"]
    assert f"/image/{image.guid}/content" in text_of(result)
    assert "There is no preview" in text_of(result)
    (logged,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert logged.getMessage() == f"image {image.guid}: no preview"
    assert logged.exc_info is not None
