"""stream=true: events as OpenAI names them, and never an end without a picture or an error."""

import asyncio
import json
import socket
import threading
import time
from base64 import b64decode
from collections.abc import AsyncGenerator, Callable
from typing import Any

import httpx2
import pytest
from openai import APIConnectionError, APIError

from pixyproxy.core.exceptions import (
    DatabaseUnavailableError,
    StorageUnavailableError,
    UpstreamAnswerError,
    UpstreamDeadlineError,
    UpstreamUnavailableError,
)
from pixyproxy.core.generations import Drawing, Generation, GenerationRequest, GenerationState, PartialImage
from pixyproxy.core.keys import CONFIGURED_CALLER
from pixyproxy.service.generating.created import Created
from pixyproxy.storage.cached import CachedImageStorage
from pixyproxy.web.http.content import CONNECTION
from pixyproxy.web.http.event_stream import EventStream
from pixyproxy.web.openai.events import events_of as openai_events_of
from tests import planted
from tests.fakes import FakeGenerator, tiny_picture
from tests.listening import listening
from tests.openai_stage import sdk, total_usage
from tests.stage import BASE_URL, KEY, Stage

pytestmark = pytest.mark.anyio
PARTIALS = (b"a first glimpse", b"a second one", b"nearly there")
STREAM = {"prompt": planted.PROMPT, "stream": True, "partial_images": 3}
URL = "/v1/images/generations"


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    """The events of a stream, by name."""
    blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
    found = [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]
    assert all(set(each) == {"event", "data"} for each in found)
    return [(each["event"], json.loads(each["data"])) for each in found]


def until(true: Callable[[], bool]) -> None:
    """Return when it is true, which must be soon."""
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


class PacedGenerator(FakeGenerator):
    """Publishes a partial image each time that it may go on, and then draws."""

    def __init__(self, partials: int, *, data: bytes = b"a glimpse") -> None:
        super().__init__()
        self.count, self.data = partials, data
        self.go_on = threading.Semaphore(0)
        self.ended = threading.Event()

    async def draw(self, *args: Any, **options: Any) -> Drawing:
        sink = options.pop("partials")
        for index in range(self.count):
            await asyncio.to_thread(self.go_on.acquire)
            sink.publish(PartialImage(index, self.data, {"size": "auto"}))
            await asyncio.sleep(0)
        await asyncio.to_thread(self.go_on.acquire)
        self.ended.set()
        return await super().draw(*args, **options)


@pytest.mark.parametrize("wanted", [None, 0, 1, 2, 3])
def test_the_sdk_gets_partial_images_and_then_the_picture(wanted: int | None) -> None:
    generator = PacedGenerator(wanted or 0)
    stage = Stage(generator=generator)
    generator.go_on.release()
    received = []
    with sdk(stage) as client:
        for event in client.images.generate(prompt=planted.PROMPT, stream=True, partial_images=wanted):
            received.append(event)
            generator.go_on.release()
    *partials, completed = received
    assert len(partials) == (wanted or 0)
    for number, partial in enumerate(partials):
        assert partial.type == "image_generation.partial_image"
        assert (b64decode(partial.b64_json), partial.partial_image_index) == (b"a glimpse", number)
        assert (partial.size, partial.output_format, partial.quality) == ("auto", "png", "auto")
    assert completed.type == "image_generation.completed"
    assert b64decode(completed.b64_json) == tiny_picture(planted.PROMPT)
    assert (completed.size, completed.quality, completed.background) == ("32x16", "low", "opaque")
    assert completed.usage.to_dict() == total_usage(7)
    (image,) = stage.images.images.values()
    own = (completed.model_extra or {})["pixyproxy"]
    (generation,) = stage.generations.generations
    assert own == {
        "guid": str(image.guid),
        "url": own["url"],
        "model": "gpt-image-2",
        "generation": str(generation),
        "thumbnail_url": own["url"].replace(".png", "/thumbnail?size=400"),
        "cost": None,
    }
    assert own["url"].endswith(f"/image/{image.filename}")


def test_completed_is_sent_after_commit() -> None:
    stage = Stage()
    with sdk(stage) as client:
        seen = threading.Event()

        async def committed() -> None:
            await asyncio.sleep(0.05)
            assert not seen.is_set()

        stage.generator.after_turn = committed
        for event in client.images.generate(prompt=planted.PROMPT, stream=True):
            seen.set()
            assert event.type == "image_generation.completed"
            assert [each.state for each in stage.generations.generations.values()] == [GenerationState.SUCCEEDED]


async def test_a_stream_has_no_more_than_openai_s_clients_read() -> None:
    stage = Stage()
    stage.generator.partials = PARTIALS
    async with stage.client() as client:
        response = await client.post(URL, json=STREAM, headers={"Accept": "application/json"})
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-request-id"]
    names = [name for name, _ in events_of(response.text)]
    assert (names[-1], set(names[:-1]) - {"image_generation.partial_image"}) == ("image_generation.completed", set())
    assert all(name == data["type"] for name, data in events_of(response.text))


async def test_what_can_be_refused_is_refused_before_the_stream_begins() -> None:
    stage = Stage()
    async with stage.client() as client:
        many = await client.post(URL, json={**STREAM, "n": 2})
        partials = await client.post(URL, json={**STREAM, "partial_images": 4})
        unknown = await client.post(URL, json={**STREAM, "model": "gpt-image-9"})
        stage.database.failure = DatabaseUnavailableError("down")
        down = await client.post(URL, json=STREAM)
    assert [each.status_code for each in (many, partials, unknown, down)] == [400, 400, 404, 503]
    assert [each.json()["error"]["param"] for each in (many, partials, unknown)] == ["n", "partial_images", "model"]
    assert stage.generator.requests == []


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (UpstreamUnavailableError("busy"), "upstream_unavailable"),
        (UpstreamAnswerError("no picture"), "upstream_answer"),
        (ZeroDivisionError("ours"), "internal_error"),
    ],
)
def test_a_failure_after_the_head_is_an_error_in_the_stream(failure: Exception, code: str) -> None:
    stage = Stage()
    stage.generator.failure = failure
    with sdk(stage) as client:
        stream = client.images.generate(prompt=planted.PROMPT, stream=True)
        with pytest.raises(APIError) as error:
            list(stream)
    (generation,) = stage.generations.generations.values()
    assert (error.value.code, error.value.type) == (code, "server_error")
    body: Any = error.value.body
    assert body["pixyproxy"]["generation"] == str(generation.guid)
    assert (str(generation.guid) in error.value.message) is (body["pixyproxy"]["cost"] != "none")


def test_a_picture_that_cannot_be_read_back_is_an_error_that_names_the_generation() -> None:
    stage = Stage()

    async def fail(_: str) -> None:
        raise StorageUnavailableError("The storage does not answer.")

    stage.storage.before_open = fail
    with sdk(stage) as client:
        with pytest.raises(APIError) as error:
            list(client.images.generate(prompt=planted.PROMPT, stream=True))
    (generation,) = stage.generations.generations.values()
    assert generation.state is GenerationState.SUCCEEDED
    assert str(generation.guid) in error.value.message
    body: Any = error.value.body
    assert body["pixyproxy"] == {
        "problem": "storage-unavailable",
        "generation": str(generation.guid),
        "cost": "billed",
    }


def test_a_picture_that_breaks_off_never_looks_complete() -> None:
    stage = Stage()
    stage.storage.breaks_off = StorageUnavailableError("broke off")
    with sdk(stage) as client:
        with pytest.raises(APIConnectionError):
            list(client.images.generate(prompt=planted.PROMPT, stream=True))


def test_a_client_that_leaves_ends_nothing() -> None:
    generator = PacedGenerator(1)
    stage = Stage(generator=generator)
    with listening(stage.app) as url:
        generator.go_on.release()
        with httpx2.stream("POST", url + URL, json=STREAM, headers=KEY) as response:
            next(response.iter_raw())
        generator.go_on.release()
        until(lambda: len(stage.images.images) == 1)
    assert [each.state for each in stage.generations.generations.values()] == [GenerationState.SUCCEEDED]


class Gone:
    """The connection of a client that left."""

    left = True
    slow = False
    unsent = 0

    async def gone(self) -> None:
        pass


async def test_a_client_that_left_before_the_picture_was_drawn_leaves_no_object_open() -> None:
    stage = Stage()
    storage = stage.storage
    cached = stage.storage = CachedImageStorage(storage, capacity=1_000_000)  # type: ignore[assignment]
    stage.start()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await stage.app({**scope, CONNECTION: Gone()}, receive, send)

    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url=BASE_URL, headers=KEY) as client:
        with pytest.raises(AssertionError):  # the client's own: an answer that has no end
            await client.post(URL, json={"prompt": planted.PROMPT, "stream": True})
    assert [each.closed for each in storage.opened] == [True]
    assert cached._used_bytes == 0


@pytest.mark.parametrize("chunks", [1, 2, 3])
async def test_events_that_are_closed_at_any_chunk_leave_no_object_open(chunks: int) -> None:
    stage = Stage()
    streamed = await stage.private.stream(GenerationRequest(prompt=planted.PROMPT), caller=CONFIGURED_CALLER)

    def generation_of(created: Created) -> Generation:
        return created.generation

    events = openai_events_of(
        streamed.events,
        kind="image_generation",
        asked={},
        base_url=BASE_URL,
        opening=stage.public.open_content,
        require_images=generation_of,
        on_error=lambda error: {"message": str(error)},
    )
    for _ in range(chunks):
        await anext(events)
    await events.aclose()
    assert [each.closed for each in stage.storage.opened] == [True]


def test_a_client_that_reads_nothing_misses_partial_images_and_delays_nobody() -> None:
    count = 200
    generator = PacedGenerator(count, data=b"x" * 300_000)
    stage = Stage(generator=generator)
    with listening(stage.app) as url:
        generator.go_on.release(count + 1)
        host, port = url.removeprefix("http://").split(":")
        body = json.dumps(STREAM).encode()
        head = f"POST {URL} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
        head += f"Authorization: {KEY['Authorization']}\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(head.encode() + body)
            assert generator.ended.wait(30)
            until(lambda: len(stage.images.images) == 1)
            received = b""
            while chunk := connection.recv(1 << 20):
                received += chunk
    assert received.count(b"event: image_generation.completed\n") == 1
    assert 1 <= received.count(b"event: image_generation.partial_image\n") < count / 2


async def test_silence_is_filled_with_comments_and_never_within_an_event() -> None:
    go_on = asyncio.Event()

    async def chunks() -> AsyncGenerator[bytes, None]:
        await go_on.wait()
        yield b"data: a"
        await asyncio.sleep(0.1)
        yield b" picture\n\n"
        await asyncio.sleep(0.1)

    stream = EventStream(chunks(), keep_alive=0.01)
    received = aiter(stream)
    assert [await anext(received) for _ in range(3)] == [b": keep-alive\n\n"] * 3
    go_on.set()
    rest = b"".join([chunk async for chunk in received])
    assert b"data: a picture\n\n: keep-alive\n\n" in rest
    await stream.aclose()


async def test_a_stream_that_is_closed_early_leaves_no_task() -> None:
    stage = Stage()
    drawn = asyncio.Event()
    stage.generator.before = drawn.wait
    before = asyncio.all_tasks()
    async with stage.client() as client:
        request = asyncio.create_task(client.post(URL, json=STREAM))
        while not stage.generator.requests:
            await asyncio.sleep(0.01)
        request.cancel()
        await asyncio.wait({request})
        drawn.set()
        await stage.runner.drain()
        await asyncio.sleep(0.05)
    assert asyncio.all_tasks() == before
    assert len(stage.images.images) == 1


async def test_a_stream_of_a_known_idempotency_key_ends_with_the_same_picture() -> None:
    stage = Stage()
    headers = {"Idempotency-Key": "once"}
    async with stage.client() as client:
        answers = [await client.post(URL, json=STREAM, headers=headers) for _ in range(2)]
    first, again = (events_of(answer.text)[-1][1] for answer in answers)
    assert first == again
    assert len(stage.generator.requests) == 1


async def test_a_stream_of_a_key_whose_generation_is_known_to_have_failed_is_refused_before_it_begins() -> None:
    stage = Stage()
    stage.generator.failure = UpstreamDeadlineError("late")
    headers = {"Idempotency-Key": "once"}
    async with stage.client() as client:
        first, again = [await client.post(URL, json=STREAM, headers=headers) for _ in range(2)]
    (generation,) = stage.generations.generations
    assert (first.status_code, [name for name, _ in events_of(first.text)]) == (200, ["error"])
    assert (again.status_code, again.headers["x-should-retry"]) == (424, "false")
    assert str(generation) in again.json()["error"]["message"]
    assert len(stage.generator.requests) == 1
