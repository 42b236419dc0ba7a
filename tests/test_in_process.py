"""An ASGI app inside the process as the upstream: it streams, fails and ends like one over the network."""

from typing import Any

import anyio
import pytest

from pixyproxy.core.exceptions import UpstreamDeadlineError, UpstreamUnknownOutcomeError
from pixyproxy.upstream.openai.client import open_client
from pixyproxy.upstream.openai.generator import OpenAIImageGenerator
from tests.raw_upstream import HALLO, REQUEST, at_once

pytestmark = pytest.mark.anyio


async def test_the_demo_inside_the_process_streams_as_it_draws() -> None:
    shown = anyio.Event()

    async def demo(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        event = b'data: {"type": "image_generation.%s", "b64_json": "aGFsbG8="}\n\n'
        await send({"type": "http.response.body", "body": event % b"partial_image", "more_body": True})
        await shown.wait()
        await send({"type": "http.response.body", "body": event % b"completed", "more_body": True})
        await anyio.sleep_forever()

    class Sink:
        wanted = 1

        def publish(self, partial: object) -> None:
            shown.set()

    async with open_client(api_key="k", base_url="http://demo/v1", connections=1, asgi_app=demo) as client:
        drawn = await OpenAIImageGenerator(client, deadline=5).draw(REQUEST, turn=at_once, partials=Sink())
    assert drawn.pictures == HALLO


async def test_a_fault_of_the_demo_inside_the_process_is_not_waited_for() -> None:
    async def fails_at_once(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    async def fails_later(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        raise ZeroDivisionError

    async def returns(scope: Any, receive: Any, send: Any) -> None:
        pass

    for demo in (fails_at_once, fails_later, returns):
        async with open_client(api_key="k", base_url="http://demo/v1", connections=1, asgi_app=demo) as client:
            with pytest.raises(UpstreamUnknownOutcomeError):
                await OpenAIImageGenerator(client, deadline=5).draw(REQUEST, turn=at_once)


async def test_the_demo_inside_the_process_ends_with_the_deadline() -> None:
    ended = anyio.Event()

    async def never_answers(scope: Any, receive: Any, send: Any) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with open_client(api_key="k", base_url="http://demo/v1", connections=1, asgi_app=never_answers) as client:
        with pytest.raises(UpstreamDeadlineError):
            await OpenAIImageGenerator(client, deadline=0.2).draw(REQUEST, turn=at_once)
    assert ended.is_set()
