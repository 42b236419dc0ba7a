"""The life of a generation as server-sent events."""

import asyncio
import base64
import json
import socket
import time
from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID

import httpx2
import pytest

from pixyproxy.core.exceptions import StorageUnavailableError, UpstreamRefusedError
from pixyproxy.core.generations import PartialImage
from pixyproxy.web.app import create_api
from pixyproxy.web.http.event_stream import SILENCE, EventStream
from tests import planted
from tests.fakes import tiny_picture
from tests.listening import listening
from tests.stage import KEY, Stage

pytestmark = pytest.mark.anyio

EVENTS = {"Accept": "text/event-stream"}
NOT_AWAITED = {"Prefer": "wait=0"}
PICTURES = tuple(tiny_picture(f"a dot, {number}") for number in range(3))


def events_in(text: str) -> list[tuple[str, dict[str, Any]]]:
    """The events of a stream, each with its data; comments are left out."""
    found = []
    assert text.endswith("\n\n")
    for block in text.removesuffix("\n\n").split("\n\n"):
        if not block.startswith(":"):
            name, data = block.split("\n")
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


async def begin(stage: Stage, **body: Any) -> tuple[UUID, asyncio.Event]:
    """A generation that draws until the event."""
    release = asyncio.Event()

    async def wait() -> None:
        await release.wait()

    stage.generator.before = wait
    async with stage.client() as client:
        response = await client.post("/image", json={"prompt": planted.PROMPT, **body}, headers=NOT_AWAITED)
    assert response.status_code == 202
    return UUID(response.json()["guid"]), release


async def watched(stage: Stage, guid: UUID) -> httpx2.Response:
    """The whole stream."""
    async with stage.client() as client:
        return await client.get(f"/generation/{guid}", headers=EVENTS)


async def settled(stage: Stage) -> None:
    """Return when every task has done what it can."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_generation_that_runs_shows_its_state_its_partial_images_and_its_end() -> None:
    stage = Stage()
    guid, release = await begin(stage, partial_images=3)
    watching = [asyncio.create_task(watched(stage, guid)) for _ in range(2)]
    await settled(stage)
    running = stage.runner.get(guid)
    assert running is not None
    assert running.partials is not None
    assert running.partials.wanted == 3
    for index, data in enumerate(PICTURES):
        running.partials.publish(PartialImage(index, data))
        await settled(stage)
    release.set()
    for response in await asyncio.gather(*watching):
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-accel-buffering"] == "no"
        assert "content-length" not in response.headers
        events = events_in(response.text)
        assert [name for name, _ in events] == ["state", "partial", "partial", "partial", "state", "end"]
        partials = [data for name, data in events if name == "partial"]
        assert [(each["index"], each["content_type"]) for each in partials] == [(n, "image/png") for n in range(3)]
        assert tuple(base64.b64decode(each["b64_json"], validate=True) for each in partials) == PICTURES
        async with stage.client() as client:
            details = (await client.get(f"/generation/{guid}")).json()
        assert [data["state"] for name, data in events if name == "state"] == ["running", "succeeded"]
        assert events[-1][1] == events[-2][1]
        end = events[-1][1]
        assert 0 <= end["duration"] <= details["duration"], "the record is written a little later"
        for later in ("updated_at", "duration"):
            del end[later], details[later]
        assert end == details
    assert stage.storage.objects.keys() == {image["filename"] for image in details["images"]}


@pytest.mark.parametrize("size", [0, 1, 48 * 1024, 48 * 1024 + 1, 3_000_000])
async def test_a_partial_image_of_any_size_is_one_event(size: int) -> None:
    stage = Stage()
    guid, release = await begin(stage, partial_images=1)
    watching = asyncio.create_task(watched(stage, guid))
    await settled(stage)
    running = stage.runner.get(guid)
    assert running is not None
    assert running.partials is not None
    data = b"\xff\xd8\xff" + bytes(size)
    running.partials.publish(PartialImage(0, data))
    for _ in range(10):
        await settled(stage)
    release.set()
    partial = dict(events_in((await watching).text))["partial"]
    assert (partial["content_type"], base64.b64decode(partial["b64_json"], validate=True)) == ("image/jpeg", data)


async def test_what_is_no_picture_is_not_shown() -> None:
    stage = Stage()
    guid, release = await begin(stage, partial_images=1)
    watching = asyncio.create_task(watched(stage, guid))
    await settled(stage)
    running = stage.runner.get(guid)
    assert running is not None
    assert running.partials is not None
    running.partials.publish(PartialImage(0, b"<svg onload='alert(1)'/>"))
    await settled(stage)
    release.set()
    assert [name for name, _ in events_in((await watching).text)] == ["state", "state", "end"]


async def test_a_generation_that_has_ended_shows_its_end_at_once() -> None:
    stage = Stage()
    await stage.create()
    (guid,) = stage.generations.generations
    events = events_in((await watched(stage, guid)).text)
    async with stage.client() as client:
        details = (await client.get(f"/generation/{guid}")).json()
    assert events == [("state", details), ("end", details)]


async def test_a_generation_that_fails_ends_with_its_problem() -> None:
    stage = Stage()
    guid, release = await begin(stage)
    watching = asyncio.create_task(watched(stage, guid))
    await settled(stage)
    stage.generator.failure = UpstreamRefusedError("not this")
    release.set()
    events = events_in((await watching).text)
    assert [(name, data["state"]) for name, data in events] == [
        ("state", "running"),
        ("state", "failed"),
        ("end", "failed"),
    ]
    assert events[-1][1]["error"]["detail"] == "not this"


async def test_another_replica_shows_state_and_end_of_a_generation_that_does_not_run_there() -> None:
    stage = Stage()
    other = stage.replica()
    guid, release = await begin(stage, partial_images=3)
    watching = asyncio.create_task(watched(other, guid))
    await settled(stage)
    running = stage.runner.get(guid)
    assert running is not None
    assert running.partials is not None
    running.partials.publish(PartialImage(0, PICTURES[0]))
    release.set()
    names = [(name, data["state"]) for name, data in events_in((await watching).text)]
    assert names == [("state", "running"), ("state", "succeeded"), ("end", "succeeded")]


async def test_a_process_that_ends_says_where_a_generation_of_another_one_stands_and_no_end() -> None:
    stage = Stage()
    other = stage.replica()
    guid, release = await begin(stage)
    watching = asyncio.create_task(watched(other, guid))
    await settled(stage)
    async with asyncio.timeout(5):
        await other.runner.drain()
        events = events_in((await watching).text)
    assert [(name, data["state"]) for name, data in events] == [("state", "running")] * 2
    release.set()


async def test_a_process_that_ends_shows_the_end_of_what_runs_in_it() -> None:
    stage = Stage()
    guid, release = await begin(stage)
    watching = asyncio.create_task(watched(stage, guid))
    await settled(stage)
    draining = asyncio.create_task(stage.runner.drain())
    await settled(stage)
    release.set()
    await draining
    assert [name for name, _ in events_in((await watching).text)] == ["state", "state", "end"]


async def test_pictures_that_wait_for_the_storage_are_waited_for() -> None:
    stage = Stage(patience=0, lease=0)
    guid, release = await begin(stage)
    watching = asyncio.create_task(watched(stage, guid))
    stage.storage.put_failure = StorageUnavailableError("It takes nothing.")
    release.set()
    while guid not in stage.generations.parked:
        await asyncio.sleep(0.01)
    stage.storage.put_failure = None
    await stage.reconciler().settle()
    events = events_in((await watching).text)
    assert [(name, data["state"]) for name, data in events if data["state"] != "running"] == [
        ("state", "succeeded"),
        ("end", "succeeded"),
    ]


@pytest.mark.parametrize(
    ("accept", "streams"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream;charset=utf-8", True),
        ("application/json, text/event-stream;q=0.5", True),
        ("*/*", False),
        ("text/*", False),
        ("application/json", False),
        ("application/json, text/event-stream;q=0", False),
        ("text/event-stream; q=0.00", False),
        ("", False),
    ],
)
async def test_who_does_not_ask_for_events_gets_json(accept: str, streams: bool) -> None:
    stage = Stage()
    await stage.create()
    (guid,) = stage.generations.generations
    async with stage.client() as client:
        response = await client.get(f"/generation/{guid}", headers={"Accept": accept})
        assert response.headers["content-type"].startswith("text/event-stream" if streams else "application/json")
        head = await client.head(f"/generation/{guid}", headers={"Accept": accept})
    assert head.headers["content-type"] == response.headers["content-type"]
    assert head.content == b""


async def test_a_head_request_does_not_wait_for_the_end() -> None:
    stage = Stage()
    guid, release = await begin(stage)
    async with stage.client() as client, asyncio.timeout(5):
        assert (await client.head(f"/generation/{guid}", headers=EVENTS)).status_code == 200
    release.set()


@pytest.mark.parametrize("guid", ["0f0e0d0c-0b0a-4908-8706-050403020100", "no-guid"])
async def test_an_unknown_generation_is_a_problem_and_no_stream(guid: str) -> None:
    async with Stage().client() as client:
        response = await client.get(f"/generation/{guid}", headers=EVENTS)
    assert (response.status_code, response.json()["type"]) == (404, "urn:pixyproxy:problem:generation-not-found")


def test_openapi_describes_both_answers() -> None:
    operation = create_api(Stage().services, version="test").openapi()["paths"]["/generation/{guid}"]["get"]
    content = operation["responses"]["200"]["content"]
    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/GenerationDetails"}
    assert content["text/event-stream"]["schema"]["type"] == "string"


async def test_nobody_watches_without_a_key() -> None:
    stage = Stage()
    await stage.create()
    (guid,) = stage.generations.generations
    async with stage.client(key=False) as client:
        assert (await client.get(f"/generation/{guid}", headers=EVENTS)).status_code == 401


async def test_partial_images_are_no_part_of_what_was_asked_for() -> None:
    stage = Stage()
    once = {"Idempotency-Key": "order-1"}
    async with stage.client() as client:
        first = await client.post("/image", json={"prompt": "a dot", "partial_images": 2}, headers=once)
        again = await client.post("/image", json={"prompt": "a dot"}, headers=once)
        for invalid in (-1, 4, "2", True):
            refused = await client.post("/image", json={"prompt": "a dot", "partial_images": invalid})
            assert refused.status_code == 422
            assert [error["pointer"] for error in refused.json()["errors"]] == ["#/partial_images"]
    assert (first.status_code, again.status_code, again.json()) == (201, 201, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    (generation,) = stage.generations.generations.values()
    assert "partial_images" not in generation.request.values
    assert len(stage.generator.requests) == 1


async def test_nothing_is_streamed_from_the_upstream_for_a_client_that_does_not_ask() -> None:
    stage = Stage()
    for body in ({}, {"partial_images": 0}):
        guid, release = await begin(stage, **body)
        running = stage.runner.get(guid)
        assert running is not None
        assert running.partials is None
        release.set()
        await stage.runner.get(guid).outcome  # type: ignore[union-attr]


async def test_a_silent_stream_says_that_it_lives_and_ends_with_its_reader() -> None:
    ended = asyncio.Event()

    async def silent() -> AsyncGenerator[bytes, None]:
        try:
            yield b"first\n\n"
            await asyncio.sleep(60)
        finally:
            ended.set()

    stream = EventStream(silent(), keep_alive=0.01)
    seen = []
    async for chunk in stream:
        seen.append(chunk)
        if len(seen) == 4:
            break
    assert seen == [b"first\n\n", SILENCE, SILENCE, SILENCE]
    await stream.aclose()
    assert ended.is_set()
    await stream.aclose()


PIECE = b"\x89PNG\r\n\x1a\n" + bytes(1_000_000)
PUBLISHED = 60


def test_a_slow_reader_misses_partial_images_and_gets_the_end() -> None:
    stage = Stage()

    async def publish() -> None:
        (running,) = stage.runner._running.values()
        assert running.partials is not None
        for index in range(PUBLISHED):
            running.partials.publish(PartialImage(index, PIECE))
            await asyncio.sleep(0.02)

    async def wait() -> None:
        await asyncio.sleep(0.5)

    stage.generator.before, stage.generator.after_turn = wait, publish
    with listening(stage.app) as address:
        body = {"prompt": "a dot", "partial_images": 3}
        location = httpx2.post(f"{address}/image", json=body, headers={**KEY, **NOT_AWAITED}).headers["location"]
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            connection.connect(("127.0.0.1", int(address.rpartition(":")[2])))
            lines = [f"GET {location} HTTP/1.1", "Host: x", "Accept: text/event-stream", "Connection: close"]
            lines += [f"{name}: {value}" for name, value in KEY.items()]
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            while not stage.storage.objects:  # it is drawn and kept, whatever this client takes
                time.sleep(0.05)
            received = b""
            while chunk := connection.recv(1_000_000):
                received += chunk
    assert 1 <= received.count(b"event: partial") < PUBLISHED / 2
    assert received.count(b"event: end") == 1


def test_a_watcher_that_leaves_ends_its_watch_and_nothing_else() -> None:
    stage = Stage()

    async def wait() -> None:
        await asyncio.sleep(1)

    stage.generator.before = wait
    with listening(stage.app, patient=True) as address:
        location = httpx2.post(f"{address}/image", json={"prompt": "a dot"}, headers={**KEY, **NOT_AWAITED}).headers[
            "location"
        ]
        with httpx2.stream("GET", f"{address}{location}", headers={**KEY, **EVENTS}) as response:
            assert next(response.iter_raw()).startswith(b"event: state")
        while not stage.storage.objects:
            time.sleep(0.05)
        assert httpx2.get(f"{address}{location}", headers=KEY).json()["state"] == "succeeded"
