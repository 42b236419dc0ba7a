"""/mcp of real processes: two replicas that take turns, the end of a process, and the setting."""

import asyncio
import signal
from uuid import UUID

import httpx2
import pytest
from mcp.types import CallToolResult

from tests import planted
from tests.mcp_client import ERAS, call, mcp_client, request, text_of
from tests.stage import KEY
from tests.test_draining import Service, service

__all__ = ["service"]  # the fixture

pytestmark = pytest.mark.anyio
ARGUMENTS = {"prompt": planted.PROMPT, "size": "32x16"}
ANSWERED = {**KEY, "Accept": "application/json"}


class TakingTurns(httpx2.AsyncHTTPTransport):
    """Sends each request to another replica than the one before."""

    def __init__(self, ports: list[int]) -> None:
        super().__init__()
        self.ports = ports
        self.sent: list[int] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it."""
        port = self.ports[len(self.sent) % len(self.ports)]
        self.sent.append(port)
        request.url = request.url.copy_with(port=port)
        return await super().handle_async_request(request)


class Reports:
    """The reports of progress of a call."""

    def __init__(self) -> None:
        self._arrived = asyncio.Semaphore(0)

    async def note(self, progress: float, total: float | None, message: str | None) -> None:
        """Take a report."""
        self._arrived.release()

    async def another(self, *, besides: "asyncio.Task[CallToolResult]") -> None:
        """Wait for the next one, which must come while the call runs."""
        arriving = asyncio.create_task(self._arrived.acquire())
        await asyncio.wait({arriving, besides}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        assert arriving.done(), "no report came"
        assert not besides.done(), "the call has ended"


@pytest.mark.parametrize("era", ERAS)
async def test_two_replicas_answer_one_client_in_turn(service: Service, era: str) -> None:
    replicas = [service.start(PIXYPROXY_PUBLIC_URL="http://pixy.test") for _ in range(2)]
    transport = TakingTurns([replica.port for replica in replicas])
    async with mcp_client(replicas[0].url, era=era, transport=transport) as client:
        drawn = await client.call_tool("generate_image", ARGUMENTS)
        (image,) = drawn.structured_content["images"]
        seen = [await client.call_tool("get_image", {"guid": image["guid"]}) for _ in range(2)]
        edited = await client.call_tool("edit_image", {**ARGUMENTS, "sources": [image["url"]]})
        listed = [await client.call_tool("list_images", {"q": planted.PROMPT}) for _ in range(2)]
    assert not edited.is_error
    assert image["url"] == f"http://pixy.test/image/{image['guid']}/content"
    assert [each.structured_content for each in seen] == [image, image]
    assert [len(each.structured_content["images"]) for each in listed] == [2, 2]
    assert set(transport.sent) == {replica.port for replica in replicas}
    assert service.upstream.received == 2


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_that_runs_at_sigterm_ends_with_its_picture(service: Service, era: str) -> None:
    replica = service.start(PIXYPROXY_DRAIN_DELAY="0")
    service.upstream.released.clear()
    reports = Reports()
    async with mcp_client(replica.url, era=era) as client:
        await client.list_tools()  # the client checks answers by their schema
        drawing = asyncio.create_task(client.call_tool("generate_image", ARGUMENTS, progress_callback=reports.note))
        while not service.upstream.received:
            await asyncio.sleep(0.01)
        replica.process.handle.send_signal(signal.SIGTERM)
        await asyncio.to_thread(replica.process.output_with, "still running: 1")
        for _ in range(2):  # 2 s apart: the SDK's library of event streams looks for the signal each 0.5 s
            await reports.another(besides=drawing)
        service.upstream.released.set()
        result = await drawing
    assert (result.is_error, result.structured_content["state"]) == (False, "succeeded")
    assert await asyncio.to_thread(replica.process.stop) == -signal.SIGTERM


async def test_a_call_that_waits_for_another_replica_says_so_when_its_process_ends(service: Service) -> None:
    drawing, ending = service.start(), service.start(PIXYPROXY_DRAIN_DELAY="0")
    service.upstream.released.clear()
    arguments, reports = {**ARGUMENTS, "idempotency_key": "one key"}, Reports()
    message = call("generate_image", **arguments)
    async with httpx2.AsyncClient(headers=ANSWERED, timeout=60) as client:
        first = asyncio.create_task(client.post(f"{drawing.url}/mcp", json=message))
        while not service.upstream.received:
            await asyncio.sleep(0.01)
        async with mcp_client(ending.url) as joining:
            await joining.list_tools()
            second = asyncio.create_task(joining.call_tool("generate_image", arguments, progress_callback=reports.note))
            await reports.another(besides=second)  # then it waits
            ending.process.handle.send_signal(signal.SIGTERM)
            waited = await second
        service.upstream.released.set()
        drawn = (await first).json()["result"]["structuredContent"]
    guid = UUID(waited.structured_content["guid"])
    assert (waited.is_error, waited.structured_content["state"]) == (False, "running")
    assert f"Generation {guid} is still running" in text_of(waited)
    assert (drawn["guid"], drawn["state"]) == (str(guid), "succeeded")
    async with mcp_client(drawing.url) as reader:
        ended = await reader.call_tool("get_generation", {"guid": str(guid)})
    assert drawn["images"][0]["url"] in text_of(ended)
    assert service.upstream.received == 1


async def test_a_retry_at_another_replica_joins_what_its_client_left(service: Service) -> None:
    first, second = service.start(PIXYPROXY_LEASE="3"), service.start(PIXYPROXY_LEASE="3")
    service.upstream.released.clear()
    message = call("generate_image", **ARGUMENTS)
    async with httpx2.AsyncClient(headers=ANSWERED, timeout=60) as client:
        left = asyncio.create_task(client.post(f"{first.url}/mcp", json=message))
        while not service.upstream.received:
            await asyncio.sleep(0.01)
        left.cancel()
        await asyncio.wait({left})
        retry = asyncio.create_task(client.post(f"{second.url}/mcp", json=message))
        await asyncio.to_thread(second.process.output_with, "adopts it")
        service.upstream.released.set()
        answer = (await retry).json()["result"]
    assert answer["structuredContent"]["state"] == "succeeded"
    assert service.upstream.received == 1


async def test_the_setting_turns_mcp_off(service: Service) -> None:
    replica = service.start(PIXYPROXY_MCP="0")
    answer = httpx2.post(f"{replica.url}/mcp", json=request("tools/list"), headers=ANSWERED)
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:pixyproxy:problem:not-found")
