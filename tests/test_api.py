"""The HTTP contract, over fakes."""

import hashlib
import io
import json
import logging
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import anyio
import httpx2
import pytest
from openapi_spec_validator import validate

from pixyproxy.core.exceptions import (
    DatabaseUnavailableError,
    PixyProxyException,
    StorageError,
    StorageUnavailableError,
    UpstreamAnswerError,
    UpstreamCredentialsError,
    UpstreamDeadlineError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
    UpstreamUnknownOutcomeError,
)
from pixyproxy.core.generations import GenerationRequest
from pixyproxy.core.inputs import InputFile, InputFiles
from pixyproxy.core.keys import EVERYTHING, Caller
from pixyproxy.service.recovering.findings import Finding
from pixyproxy.web.app import create_api
from tests import planted
from tests.examples import an_input
from tests.fakes import FakeObject, tiny_picture
from tests.listening import listening
from tests.servers import wait_until
from tests.stage import BASE_URL, KEY, Stage, public_part

pytestmark = pytest.mark.anyio

UNKNOWN = "0f0e0d0c-0b0a-4908-8706-050403020100"
"""A guid of nothing; the same in every process that collects these tests."""
CONTENT_HEADERS = {
    "cache-control": "public, max-age=31536000, immutable",
    "x-accel-expires": "30",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "cross-origin-resource-policy": "cross-origin",
}


async def test_post_answers_201_with_location_and_details() -> None:
    stage = Stage()
    async with stage.client() as client:
        response = await client.post("/image", json={"prompt": f"  {planted.PROMPT}\n"})
    details = response.json()
    data = tiny_picture(planted.PROMPT)
    assert response.status_code == 201
    assert response.headers["location"] == f"/image/{details['guid']}"
    assert response.headers["cache-control"] == "no-store"
    assert details == {
        "guid": str(UUID(details["guid"])),
        "prompt": planted.PROMPT,
        "filename": f"{details['guid']}.png",
        "url": f"{BASE_URL}/image/{details['guid']}/content",
        "thumbnail_url": f"{BASE_URL}/image/{details['guid']}/thumbnail?size=400",
        "thumbhash": None,
        "content_type": "image/png",
        "size_bytes": len(data),
        "width": 32,
        "height": 16,
        "sha256": hashlib.sha256(data).hexdigest(),
        "model": "gpt-image-2",
        "sources": [],
        "generation": str(next(iter(stage.generations.generations))),
        "caller": "PIXYPROXY_API_KEY",
        "parameters": {"model": "gpt-image-2", "quality": "medium"},
        "cost": None,
        "created_at": details["created_at"],
        "updated_at": details["created_at"],
    }
    assert details["created_at"].endswith("Z")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(details["created_at"])).total_seconds()) < 60


async def test_details_are_public_and_the_same_as_the_posts() -> None:
    stage = Stage()
    details = await stage.create()
    async with stage.client(key=False) as client:
        response = await client.get(f"/image/{details['guid']}")
        assert (response.status_code, response.json()) == (200, public_part(details))
    async with stage.client() as client:
        response = await client.get(f"/image/{details['guid']}")
        assert (response.status_code, response.json()) == (200, details)


@pytest.mark.parametrize("suffix", ["", "/content", ".png"])
async def test_an_image_has_one_url_and_none_in_upper_case(suffix: str) -> None:
    stage = Stage()
    details = await stage.create()
    async with stage.client(key=False) as client:
        assert (await client.get(f"/image/{details['guid'].upper()}{suffix}")).status_code == 404


async def test_urls_begin_with_the_public_url_if_there_is_one() -> None:
    stage = Stage(public_url="https://pictures.example/base")
    details = await stage.create()
    assert details["url"] == f"https://pictures.example/base/image/{details['guid']}/content"
    await stage.create()
    async with stage.client() as client:
        response = await client.get("/image?limit=1")
    assert response.headers["link"].startswith("<https://pictures.example/base/image?limit=1&cursor=")


@pytest.mark.parametrize("output_format", ["png", "webp", "jpeg"])
async def test_content_is_the_picture_with_its_headers(output_format: str) -> None:
    stage = Stage()
    details = await stage.create(output_format=output_format)
    async with stage.client(key=False) as client:
        got = await client.get(details["url"])
        head = await client.head(details["url"])
    assert got.content == tiny_picture(planted.PROMPT, output_format=output_format)
    assert hashlib.sha256(got.content).hexdigest() == details["sha256"]
    expected = {
        **CONTENT_HEADERS,
        "content-type": details["content_type"],
        "content-length": str(len(got.content)),
        "content-disposition": f'inline; filename="{details["filename"]}"',
        "etag": f'"{details["sha256"]}"',
    }
    for response in (got, head):
        assert response.status_code == 200
        assert {name: response.headers[name] for name in expected} == expected
    assert head.content == b""
    assert len(stage.storage.opened) == 1, "HEAD touches no storage"
    assert stage.storage.opened[0].closed


async def test_a_missing_object_behind_a_row_is_a_problem_of_its_own() -> None:
    stage = Stage()
    details = await stage.create()
    for objects in ({}, {details["filename"]: b"another size"}):
        stage.storage.objects = objects
        async with stage.client(key=False) as client:
            response = await client.get(details["url"])
        assert response.status_code == 502
        assert response.json()["type"] == "urn:pixyproxy:problem:image-content-lost"
        assert all(opened.closed for opened in stage.storage.opened)


async def test_content_that_breaks_off_ends_the_connection() -> None:
    stage = Stage()
    details = await stage.create()
    stage.storage.breaks_off = StorageUnavailableError("The bytes broke off.")
    with listening(stage.app) as address:
        with pytest.raises(httpx2.RemoteProtocolError):
            httpx2.get(f"{address}/image/{details['guid']}/content")
        assert httpx2.get(f"{address}/healthz").status_code == 200
    assert stage.storage.opened[0].closed


def test_a_reader_that_stalls_is_disconnected_and_its_object_closed(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(client_patience=0.3)
    stage.generator.pictures = (tiny_picture() + b"\0" * 30_000_000,)
    with listening(stage.app) as address:
        details = httpx2.post(f"{address}/image", json={"prompt": "a dot"}, headers=KEY).json()
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(f"GET /image/{details['guid']}/content HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            wait_until(lambda: closed(stage), seconds=10, what="the object")
            connection.settimeout(5)
            with suppress(ConnectionResetError):  # it was ended at once, and not after all that was on its way
                while connection.recv(1_000_000):
                    pass
        assert [record for record in caplog.records if record.levelno > logging.WARNING] == []


def test_a_reader_that_takes_something_is_not_disconnected_however_large_the_piece() -> None:
    class OnePiece(FakeObject):
        """Comes as a picture from memory does."""

        async def __aiter__(self) -> Any:
            yield memoryview(self._data)

    stage = Stage(client_patience=0.5)
    stage.generator.pictures = (tiny_picture() + b"\0" * 20_000_000,)
    with listening(stage.app) as address:
        details = httpx2.post(f"{address}/image", json={"prompt": "a dot"}, headers=KEY).json()
        data = stage.storage.objects[details["filename"]]

        async def open_whole(key: str, *, part: range | None = None) -> FakeObject:
            stage.storage.opened.append(OnePiece(data))
            return stage.storage.opened[-1]

        stage.storage.open = open_whole  # type: ignore[method-assign]
        host, port = address.removeprefix("http://").split(":")
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            connection.connect((host, int(port)))
            connection.sendall(f"GET /image/{details['guid']}/content HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            begun, taken = time.monotonic(), 0
            while taken < len(data):  # slowly for 2 s: less than what the system holds for it
                slowly = time.monotonic() - begun < 2
                got = len(connection.recv(20_000 if slowly else 2_000_000))
                assert got, "it was let go"
                taken += got
                if slowly:
                    time.sleep(0.05)
        wait_until(lambda: closed(stage), seconds=10, what="the object")


def test_a_reader_that_stalls_does_not_keep_the_server_from_ending() -> None:
    stage = Stage(client_patience=1)
    stage.generator.pictures = (tiny_picture() + b"\0" * 30_000_000,)
    with socket.socket() as connection:
        with listening(stage.app, patient=True) as address:
            details = httpx2.post(f"{address}/image", json={"prompt": "a dot"}, headers=KEY).json()
            host, port = address.removeprefix("http://").split(":")
            connection.connect((host, int(port)))
            connection.sendall(f"GET /image/{details['guid']}/content HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            connection.recv(1000)
        assert stage.storage.opened[0].closed


def closed(stage: Stage) -> None:
    """Every object that was opened is closed again."""
    assert stage.storage.opened
    assert all(opened.closed for opened in stage.storage.opened)


def test_a_reader_that_leaves_is_logged_as_gone_and_its_object_closed(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    stage.generator.pictures = (tiny_picture() + b"\0" * 30_000_000,)
    with listening(stage.app) as address:
        details = httpx2.post(f"{address}/image", json={"prompt": "a dot"}, headers=KEY).json()
        host, port = address.removeprefix("http://").split(":")
        for pipelined in (1, 20):
            with socket.create_connection((host, int(port))) as connection:
                request = f"GET /image/{details['guid']}/content HTTP/1.1\r\nHost: x\r\n\r\n".encode()
                connection.sendall(request * pipelined)
                connection.recv(1000)
            wait_until(lambda: closed(stage), seconds=10, what="the object")
            wait_until(lambda: aborted(caplog), seconds=10, what="the log")
            if pipelined == 1:
                assert [record for record in caplog.records if record.levelno > logging.WARNING] == []
    assert "internal-error" not in caplog.text


def aborted(caplog: pytest.LogCaptureFixture) -> None:
    """The log says that a client left."""
    assert "aborted=yes" in caplog.text


def test_a_client_that_hangs_up_changes_nothing_for_its_generation_and_is_logged_as_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage()

    async def slowly() -> None:
        await anyio.sleep(0.5)

    stage.generator.before = slowly
    with listening(stage.app) as address:
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.post(f"{address}/image", json={"prompt": planted.PROMPT}, headers=KEY, timeout=0.2)
        wait_until(lambda: kept(stage), seconds=10, what="the image")
        wait_until(lambda: aborted(caplog), seconds=10, what="the log")


def kept(stage: Stage) -> None:
    """An image is there, in both stores."""
    assert len(stage.images.images) == len(stage.storage.objects) == 1


async def test_the_list_is_newest_first_in_pages_that_link_to_the_next() -> None:
    stage = Stage()
    made = [await stage.create(prompt=f"{planted.PROMPT} number {number}") for number in range(5)]
    async with stage.client() as client:
        found: list[dict[str, object]] = []
        url, pages = "/image?limit=2", 0
        while url:
            response = await client.get(url)
            assert response.status_code == 200
            assert response.headers["cache-control"] == "no-store"
            found += response.json()
            url, pages = response.links.get("next", {}).get("url", ""), pages + 1
    assert found == made[::-1]
    assert pages == 3


async def test_a_search_is_kept_in_the_next_link() -> None:
    stage = Stage()
    for prompt in ("a 50% grey fox", "a 50% grey cat", "a red fox"):
        await stage.create(prompt=prompt)
    async with stage.client() as client:
        first = await client.get("/image", params={"limit": 1, "q": "50% grey"})
        second = await client.get(first.links["next"]["url"])
    assert [image["prompt"] for image in first.json() + second.json()] == ["a 50% grey cat", "a 50% grey fox"]
    assert "next" not in second.links


async def test_a_list_of_a_caller_is_kept_in_the_next_link_and_of_an_unknown_name_it_is_empty() -> None:
    stage = Stage()
    laptop = {"Authorization": f"Bearer {await stage.keys.create('laptop')}"}
    async with stage.client() as client:
        for number in range(4):
            headers = laptop if number % 2 else {}
            await client.post("/image", json={"prompt": f"fox {number}"}, headers=headers)

        async def prompts(**query: str) -> list[str]:
            found, url = [], str(httpx2.URL("/image", params={"limit": "1", **query}))
            while url:
                answer = await client.get(url)
                assert answer.status_code == 200
                found += [image["prompt"] for image in answer.json()]
                url = answer.links.get("next", {}).get("url", "")
            return found

        assert await prompts(caller="laptop") == await prompts(caller="laptop", q="fox") == ["fox 3", "fox 1"]
        assert await prompts(caller="PIXYPROXY_API_KEY") == ["fox 2", "fox 0"]
        assert await prompts(caller="laptop", q="2") == await prompts(caller="nobody") == []
        await stage.keys.revoke("laptop")
        assert await prompts(caller="laptop") == ["fox 3", "fox 1"]
        assert (await client.get("/image?caller=")).status_code == 422


@pytest.mark.parametrize("q", ['"', '""', "*", "%", "the", "(", "\\", "a*b*", "-fox", "'", '"*"', "\u200d", "é" * 500])
async def test_every_text_is_a_search(q: str) -> None:
    stage = Stage()
    await stage.create(prompt="a red fox")
    async with stage.client() as client:
        assert (await client.get("/image", params={"q": q})).status_code == 200


async def test_an_empty_list_is_an_empty_array() -> None:
    async with Stage().client() as client:
        response = await client.get("/image")
    assert (response.status_code, response.json(), response.links) == (200, [], {})


async def test_both_spellings_of_the_collection_answer_without_a_redirect() -> None:
    async with Stage().client() as client:
        assert (await client.post("/image/", json={"prompt": "a dot"})).status_code == 201
        assert (await client.get("/image/")).json() == (await client.get("/image")).json()


PROBLEMS = {
    "refused": (UpstreamRefusedError("not this", extra={"upstream_code": "moderation_blocked"}), 422, None),
    "our key": (UpstreamCredentialsError("our key"), 502, None),
    "nonsense": (UpstreamAnswerError("nonsense"), 502, None),
    "deadline": (UpstreamDeadlineError("late"), 504, None),
    "busy": (UpstreamUnavailableError("wait", retry_after=9), 503, "9"),
    "a bug": (RuntimeError("a bug that quotes " + planted.PROMPT), 500, None),
}


@pytest.mark.parametrize(("failure", "status", "retry_after"), PROBLEMS.values(), ids=PROBLEMS.keys())
async def test_a_failure_is_a_problem(failure: Exception, status: int, retry_after: str | None) -> None:
    stage = Stage()
    stage.generator.failure = failure
    async with stage.client() as client:
        response = await client.post("/image", json={"prompt": planted.PROMPT})
    problem = response.json()
    request_id = response.headers["x-request-id"]
    expected = failure if isinstance(failure, PixyProxyException) else None
    assert response.status_code == problem["status"] == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers.get("retry-after") == retry_after
    assert problem["request_id"] == request_id
    assert problem["instance"] == f"urn:pixyproxy:request:{request_id}"
    assert problem["type"] == (expected.type if expected else "urn:pixyproxy:problem:internal-error")
    assert problem["title"] == (expected.title if expected else "Internal error")
    assert planted.PROMPT not in response.text
    assert problem.get("upstream_code") == (expected.extra.get("upstream_code") if expected else None)


async def test_storage_faults_of_content_are_problems() -> None:
    stage = Stage()
    details = await stage.create()
    for failure, status in ((StorageUnavailableError("unavailable"), 503), (StorageError("broken"), 500)):
        stage.storage.failure = failure
        async with stage.client(key=False) as client:
            assert (await client.get(details["url"])).status_code == status


async def test_health_and_readiness() -> None:
    stage = Stage()
    async with stage.client(key=False) as client:
        for path in ("/healthz", "/readyz", "/readyz/process"):
            assert (await client.get(path)).status_code == 200
            assert (await client.head(path)).status_code == 200


@pytest.mark.parametrize("parts", [["database"], ["storage"], ["database", "storage"]])
async def test_readiness_names_the_part_that_does_not_answer(parts: list[str]) -> None:
    stage = Stage()
    if "database" in parts:
        stage.database.failure = DatabaseUnavailableError("unavailable")
    if "storage" in parts:
        stage.storage.failure = StorageUnavailableError("unavailable")
    async with stage.client(key=False) as client:
        response = await client.get("/readyz")
        for path in ("/healthz", "/readyz/process"):
            assert (await client.get(path)).status_code == 200
    assert response.status_code == 503
    assert response.json()["failed"] == parts
    assert response.json()["type"] == "urn:pixyproxy:problem:not-ready"
    assert response.headers["retry-after"]


async def test_a_process_whose_end_is_announced_is_not_ready_and_still_begins_generations() -> None:
    stage = Stage()
    stage.readiness.announce_end()
    async with stage.client() as client:
        for path in ("/readyz", "/readyz/process"):
            response = await client.get(path)
            assert (response.status_code, response.json()["failed"]) == (503, ["process"])
        assert (await client.post("/image", json={"prompt": "a dot"})).status_code == 201


async def test_every_answer_carries_its_own_request_id() -> None:
    stage = Stage()
    details = await stage.create()
    seen = set()
    async with stage.client() as client:
        for method, path in (
            ("GET", "/image"),
            ("GET", details["url"]),
            ("HEAD", details["url"]),
            ("GET", "/"),
            ("GET", "/docs"),
            ("GET", "/openapi.json"),
            ("GET", "/nowhere"),
            ("PUT", "/image"),
            ("GET", f"/image/{uuid4()}"),
            ("POST", "/image"),
        ):
            response = await client.request(method, path)
            (request_id,) = response.headers.get_list("x-request-id")
            seen.add(request_id)
    assert len(seen) == 10


@asynccontextmanager
async def drawing_until_the_end_of(stage: Stage) -> AsyncIterator[anyio.Event]:
    """The upstream draws until the event is set, or the block ends; then every generation ends."""
    release = anyio.Event()
    stage.generator.before = release.wait
    try:
        yield release
    finally:
        release.set()
        await stage.runner.drain()


async def ended(client: httpx2.AsyncClient, location: str) -> dict[str, Any]:
    """The generation, when it runs no longer."""
    with anyio.fail_after(20):
        while (details := (await client.get(location)).json())["state"] == "running":
            await anyio.sleep(0.01)
    known: dict[str, Any] = details
    return known


async def test_a_generation_that_takes_longer_than_the_wait_is_202_and_can_be_asked_for() -> None:
    stage = Stage(sync_wait=0.01)
    async with stage.client() as client, drawing_until_the_end_of(stage) as release:
        response = await client.post("/image", json={"prompt": planted.PROMPT, "size": "32x16"})
        details = response.json()
        location = f"/generation/{UUID(details['guid'])}"
        assert response.status_code == 202
        assert response.headers["content-type"] == "application/json"
        assert response.headers["location"] == location
        assert int(response.headers["retry-after"]) >= 1
        assert response.headers["cache-control"] == "no-store"
        assert "preference-applied" not in response.headers
        assert "idempotent-replayed" not in response.headers
        assert details == {
            "guid": details["guid"],
            "state": "running",
            "request": {"prompt": planted.PROMPT, "size": "32x16", "model": "gpt-image-2", "quality": "medium"},
            "images": [],
            "usage": None,
            "cost": None,
            "answer": None,
            "upstream_request_id": None,
            "error": None,
            "caller": "PIXYPROXY_API_KEY",
            "idempotency_key": None,
            "duration": None,
            "created_at": details["created_at"],
            "updated_at": details["created_at"],
        }
        assert details["created_at"].endswith("Z")
        running = await client.get(location)
        assert (running.status_code, running.json()) == (200, details)
        assert running.headers["retry-after"] == response.headers["retry-after"]
        assert running.headers["cache-control"] == "private, no-cache"
        release.set()
        succeeded = await ended(client, location)
        (image,) = succeeded["images"]
        assert (await client.get(f"/image/{image['guid']}")).json() == image
        assert (await client.get(image["url"])).content == tiny_picture(planted.PROMPT)
        assert (succeeded["state"], succeeded["usage"], succeeded["error"]) == ("succeeded", {"total_tokens": 7}, None)
        assert succeeded["answer"] == {
            "size": "32x16",
            "quality": "low",
            "background": "opaque",
            "output_format": "png",
        }
        assert succeeded["upstream_request_id"] == "req_fake"
        assert succeeded["request"] == details["request"]
        settled = await client.get(location)
        assert "retry-after" not in settled.headers
        assert settled.headers["cache-control"] == "private, no-cache"


CALLER = Caller(api_key_id=0, name="another dialect", scopes=EVERYTHING)


async def test_an_edited_image_says_from_what_and_its_generation_what_was_asked_for() -> None:
    stage = Stage()
    stored, upload = an_input(guid=uuid4()), an_input(role="mask", content_type="image/png")
    inputs = InputFiles([InputFile(each, io.BytesIO(b"")) for each in (stored, upload)])
    await stage.private.create(GenerationRequest(prompt="a dot"), caller=CALLER, inputs=inputs)
    async with stage.client() as client, stage.client(key=False) as stranger:
        (generation,) = (await client.get("/generation")).json()
        (image,) = generation["images"]
        assert (await client.get(f"/image/{image['guid']}")).json() == image
        public = (await stranger.get(f"/image/{image['guid']}")).json()
    known = {"role": "image", "sha256": stored.sha256, "content_type": "image/webp", "size_bytes": 77}
    mask = {"role": "mask", "sha256": upload.sha256, "content_type": "image/png", "size_bytes": 77}
    assert image["sources"] == [
        {**known, "guid": str(stored.guid), "url": f"{BASE_URL}/image/{stored.guid}/content"},
        {**mask, "guid": None, "url": None},
    ]
    # Whoever was given an image was not given those it was made of.
    assert public == public_part({**image, "sources": [known, mask]})
    assert str(stored.guid) not in json.dumps(public)
    assert generation["request"]["inputs"] == [{**known, "guid": str(stored.guid)}, mask]


async def test_a_generation_of_several_images_has_them_all() -> None:
    stage = Stage()
    await stage.private.create(GenerationRequest(prompt="a dot", n=3), caller=CALLER)
    async with stage.client() as client:
        (listed,) = (await client.get("/generation")).json()
        details = (await client.get(f"/generation/{listed['guid']}")).json()
        assert details == listed
        assert len({image["guid"] for image in details["images"]}) == 3
        for image in details["images"]:
            assert (await client.get(image["url"])).status_code == 200
        for image in details["images"][:2]:
            await client.delete(f"/image/{image['guid']}")
        left = (await client.get(f"/generation/{listed['guid']}")).json()
    assert left["images"] == details["images"][2:]


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("respond-async", "respond-async"),
        ("wait=0", "wait=0"),
        ("Respond-Async; x=y, handling=lenient, wait=0", "respond-async, wait=0"),
    ],
)
async def test_a_client_that_does_not_wait_is_answered_at_once(prefer: str, applied: str) -> None:
    stage = Stage(sync_wait=0)
    async with stage.client() as client, drawing_until_the_end_of(stage):
        response = await client.post("/image", json={"prompt": "a dot"}, headers={"Prefer": prefer})
    assert response.status_code == 202
    assert response.headers["preference-applied"] == applied


@pytest.mark.parametrize(
    ("sync_wait", "prefer", "applied"),
    [(0.01, "wait=20", "wait=20"), (0.01, "respond-async, wait=20", "respond-async, wait=20"), (0, "wait=x", None)],
)
async def test_a_client_that_waits_gets_the_image(sync_wait: float, prefer: str, applied: str | None) -> None:
    stage = Stage(sync_wait=sync_wait)
    stage.generator.before = lambda: anyio.sleep(0.3)
    async with stage.client() as client:
        response = await client.post("/image", json={"prompt": "a dot"}, headers={"Prefer": prefer})
    assert response.status_code == 201
    assert response.headers.get("preference-applied") == applied


async def test_a_failed_generation_has_its_error_as_a_problem_with_its_cost() -> None:
    stage = Stage()
    stage.generator.failure = UpstreamRefusedError("not this", extra={"upstream_code": "moderation_blocked"})
    async with stage.client() as client:
        refused = await client.post("/image", json={"prompt": "a dot"})
        (listed,) = (await client.get("/generation")).json()
        response = await client.get(f"/generation/{listed['guid']}")
    assert refused.json()["cost"] == "none"
    assert response.status_code == 200
    assert "retry-after" not in response.headers
    details = response.json()
    assert details == listed
    assert (details["state"], details["images"], details["usage"]) == ("failed", [], None)
    assert details["error"] == {
        "type": "urn:pixyproxy:problem:upstream-refused",
        "title": UpstreamRefusedError.title,
        "status": 422,
        "detail": "not this",
        "cost": "none",
        "upstream_code": "moderation_blocked",
    }


@pytest.mark.parametrize("guid", [UNKNOWN, "x", "1", UNKNOWN.replace("-", ""), f"{{{UNKNOWN}}}", UNKNOWN + "%00"])
async def test_an_unknown_generation_is_not_found(guid: str) -> None:
    async with Stage().client() as client:
        response = await client.get(f"/generation/{guid}")
    assert response.status_code == 404
    assert response.json()["type"] == "urn:pixyproxy:problem:generation-not-found"


async def test_generations_are_listed_newest_first_in_pages_that_link_to_the_next() -> None:
    stage = Stage(public_url="https://pictures.example")
    async with stage.client() as client:
        for number in range(5):
            await client.post("/image", json={"prompt": f"a dot, number {number}"})
        found: list[dict[str, Any]] = []
        url, pages = "/generation?limit=2", 0
        while url:
            response = await client.get(url)
            assert response.status_code == 200
            assert response.headers["cache-control"] == "private, no-cache"
            found += response.json()
            url, pages = response.links.get("next", {}).get("url", ""), pages + 1
            assert not url or url.startswith("https://pictures.example/generation?limit=2&cursor=")
        assert [each["request"]["prompt"] for each in found] == [f"a dot, number {number}" for number in range(5)][::-1]
        assert pages == 3
        assert (await client.get(f"/generation/{found[0]['guid']}")).json() == found[0]
        assert (await client.get("/generation/?limit=2")).json() == found[:2]


async def test_generations_are_listed_by_their_state() -> None:
    stage = Stage()
    async with stage.client() as client, drawing_until_the_end_of(stage) as release:
        running = await client.post("/image", json={"prompt": "a dot"}, headers={"Prefer": "respond-async"})

        async def guids(state: str) -> list[str]:
            return [each["guid"] for each in (await client.get("/generation", params={"state": state})).json()]

        assert await guids("running") == [running.json()["guid"]]
        assert await guids("succeeded") == await guids("failed") == []
        release.set()
        await ended(client, running.headers["location"])
        stage.generator.failure = UpstreamAnswerError("nonsense")
        for _ in range(2):
            await client.post("/image", json={"prompt": "a dot"})
        assert await guids("running") == []
        assert await guids("succeeded") == [running.json()["guid"]]
        first = await client.get("/generation?state=failed&limit=1")
        second = await client.get(first.links["next"]["url"])
        assert "state=failed" in first.links["next"]["url"]
        assert [each["guid"] for each in first.json() + second.json()] == await guids("failed")
        assert "next" not in second.links


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("state=done", "?state"),
        ("state=RUNNING", "?state"),
        ("state=", "?state"),
        ("limit=0", "?limit"),
        ("limit=501", "?limit"),
        ("cursor=x", "?cursor"),
        ("q=x", "?"),
    ],
)
async def test_a_list_of_generations_that_breaks_a_rule_is_refused(query: str, pointer: str) -> None:
    async with Stage().client() as client:
        response = await client.get(f"/generation?{query}")
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


def with_key(key: str, **headers: str) -> dict[str, str]:
    return {"Idempotency-Key": key, **headers}


async def test_a_request_with_a_known_idempotency_key_gets_the_same_answer_again() -> None:
    stage = Stage()
    async with stage.client() as client:
        first = await client.post("/image", json={"prompt": "a dot", "size": "32x16"}, headers=with_key("order-66"))
        assert first.status_code == 201
        assert "idempotent-replayed" not in first.headers
        for key in ("order-66", '"order-66"', "  order-66 "):
            body = {"size": "32x16", "background": None, "prompt": " a dot\n"}  # the same, spelled otherwise
            again = await client.post("/image", json=body, headers=with_key(key))
            assert (again.status_code, again.json()) == (201, first.json())
            assert again.headers["idempotent-replayed"] == "true"
            assert again.headers["location"] == first.headers["location"]
            assert again.headers["cache-control"] == "no-store"
    assert len(stage.generator.requests) == 1


async def test_without_an_idempotency_key_every_request_buys_a_picture() -> None:
    stage = Stage()
    assert (await stage.create())["guid"] != (await stage.create())["guid"]
    assert len(stage.generator.requests) == 2


async def test_an_idempotency_key_with_another_body_is_refused() -> None:
    stage = Stage()
    async with stage.client() as client:
        await client.post("/image", json={"prompt": "a dot"}, headers=with_key("order-66"))
        for body in ({"prompt": "two dots"}, {"prompt": "a dot", "quality": "high"}):
            response = await client.post("/image", json=body, headers=with_key("order-66"))
            assert response.status_code == 422
            assert response.json()["type"] == "urn:pixyproxy:problem:idempotency-key-reused"
    assert len(stage.generator.requests) == 1


BAD_KEYS: dict[str, list[bytes]] = {
    "empty": [b""],
    "blank": [b"  "],
    "empty in quotes": [b'""'],
    "blank in quotes": [b'"  "'],
    "too long": [b"x" * 256],
    "too long in quotes": [b'"' + b"x" * 256 + b'"'],
    "with a tab": [b"a\tb"],
    "with a control character": [b"a\x7fb"],
    "not ASCII": ["schlüssel".encode()],
    "Latin-1": [b"schl\xfcssel"],
    "two": [b"a", b"b"],
    "the same twice": [b"a", b"a"],
}


@pytest.mark.parametrize("keys", BAD_KEYS.values(), ids=BAD_KEYS.keys())
async def test_an_idempotency_key_that_cannot_be_one_is_refused(keys: list[bytes]) -> None:
    stage = Stage()
    async with stage.client() as client:
        headers = [(b"Idempotency-Key", key) for key in keys]
        response = await client.post("/image", json={"prompt": "a dot"}, headers=headers)
    assert response.status_code == 400
    assert response.json()["type"] == "urn:pixyproxy:problem:invalid-idempotency-key"
    assert (stage.generator.requests, stage.generations.generations) == ([], {})


@pytest.mark.parametrize("key", ["x" * 255, f'"{"x" * 255}"', "a b", "!#$%&'()*+,-./:;<=>?@[]^_`{|}~"])
async def test_any_other_idempotency_key_is_one(key: str) -> None:
    stage = Stage()
    async with stage.client() as client:
        answers = [await client.post("/image", json={"prompt": "a dot"}, headers=with_key(key)) for _ in range(2)]
    assert [answer.headers.get("idempotent-replayed") for answer in answers] == [None, "true"]
    assert answers[0].json() == answers[1].json()


async def test_while_its_generation_runs_a_known_key_is_a_conflict_that_names_it() -> None:
    stage = Stage()
    async with stage.client() as client, drawing_until_the_end_of(stage):
        headers = with_key("order-66", Prefer="respond-async")
        first = await client.post("/image", json={"prompt": "a dot"}, headers=headers)
        again = await client.post("/image", json={"prompt": "a dot"}, headers=with_key("order-66"))
        assert again.status_code == 409
        assert again.json()["type"] == "urn:pixyproxy:problem:generation-running"
        assert again.json()["generation"] == first.json()["guid"]
        assert int(again.headers["retry-after"]) >= 1
        other = await client.post("/image", json={"prompt": "two dots"}, headers=with_key("order-66"))
        assert other.json()["type"] == "urn:pixyproxy:problem:idempotency-key-reused"
    assert len(stage.generator.requests) == 1


async def test_who_prefers_to_wait_joins_the_generation_that_runs() -> None:
    stage = Stage()
    async with stage.client() as client, drawing_until_the_end_of(stage) as release:
        headers = with_key("order-66", Prefer="respond-async")
        first = await client.post("/image", json={"prompt": "a dot"}, headers=headers)
        again = await client.post("/image", json={"prompt": "a dot"}, headers=headers)
        assert (again.status_code, again.json()) == (202, first.json())
        assert again.headers["idempotent-replayed"] == "true"
        assert again.headers["location"] == first.headers["location"]
        joined: list[httpx2.Response] = []

        async def join() -> None:
            headers = with_key("order-66", Prefer="wait=20")
            joined.append(await client.post("/image", json={"prompt": "a dot"}, headers=headers))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(join)
            await anyio.wait_all_tasks_blocked()
            assert joined == []
            release.set()
        (image,) = (await ended(client, first.headers["location"]))["images"]
    assert [(each.status_code, each.json()) for each in joined] == [(201, image)] * 5
    assert all(each.headers["idempotent-replayed"] == "true" for each in joined)
    assert all(each.headers["preference-applied"] == "wait=20" for each in joined)
    assert len(stage.generator.requests) == 1


async def test_a_request_that_joins_a_generation_of_another_replica_gets_its_end() -> None:
    stage = Stage()
    async with stage.client() as client, drawing_until_the_end_of(stage) as release:
        await client.post("/image", json={"prompt": "a dot"}, headers=with_key("order-66", Prefer="respond-async"))
        elsewhere = stage.runner
        stage.start()  # another process over the same stores
        answers: list[httpx2.Response] = []

        async def join() -> None:
            async with stage.client() as other:
                headers = with_key("order-66", Prefer="wait=20")
                answers.append(await other.post("/image", json={"prompt": "a dot"}, headers=headers))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(join)
            await anyio.wait_all_tasks_blocked()
            release.set()
        await elsewhere.drain()
    assert [(each.status_code, each.headers["idempotent-replayed"]) for each in answers] == [(201, "true")]
    assert len(stage.generator.requests) == 1


async def test_a_request_that_waits_for_another_replica_is_202_when_its_process_ends() -> None:
    stage = Stage()
    async with stage.client() as client, drawing_until_the_end_of(stage):
        headers = with_key("order-66", Prefer="respond-async")
        begun = await client.post("/image", json={"prompt": "a dot"}, headers=headers)
        other = stage.replica()
        answers: list[httpx2.Response] = []

        async def join() -> None:
            async with other.client() as joining:
                headers = with_key("order-66", Prefer="wait=3600")
                answers.append(await joining.post("/image", json={"prompt": "a dot"}, headers=headers))

        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                for _ in range(2):  # one that waits already, and one that comes later
                    tasks.start_soon(join)
                    await anyio.sleep(0.1)
                    other.readiness.ending.set()
    assert [(each.status_code, each.headers["location"]) for each in answers] == [(202, begun.headers["location"])] * 2


async def test_of_many_requests_with_a_new_key_at_once_one_buys_and_all_get_its_image() -> None:
    stage = Stage()
    answers: list[httpx2.Response] = []
    async with stage.client() as client:

        async def post() -> None:
            headers = with_key("order-66", Prefer="wait=20")
            answers.append(await client.post("/image", json={"prompt": "a dot"}, headers=headers))

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(post)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["guid"] for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert len(stage.generator.requests) == 1


async def test_the_keys_of_two_callers_do_not_meet() -> None:
    stage = Stage()
    others = {"Authorization": f"Bearer {await stage.keys.create('laptop')}"}
    async with stage.client() as client:
        mine = await client.post("/image", json={"prompt": "a dot"}, headers=with_key("order-66"))
        theirs = await client.post("/image", json={"prompt": "two dots"}, headers=with_key("order-66", **others))
        again = await client.post("/image", json={"prompt": "two dots"}, headers=with_key("order-66", **others))
    assert (mine.status_code, theirs.status_code) == (201, 201)
    assert "idempotent-replayed" not in theirs.headers
    assert (again.json(), again.headers["idempotent-replayed"]) == (theirs.json(), "true")


async def test_a_request_that_breaks_a_rule_does_not_use_up_its_key() -> None:
    stage = Stage()
    async with stage.client() as client:
        refused = await client.post("/image", json={"prompt": ""}, headers=with_key("order-66"))
        assert refused.status_code == 422
        mended = await client.post("/image", json={"prompt": "a dot"}, headers=with_key("order-66"))
    assert mended.status_code == 201
    assert "idempotent-replayed" not in mended.headers


@pytest.mark.parametrize(
    "failure",
    [UpstreamRefusedError("not this"), UpstreamUnavailableError("wait"), UpstreamCredentialsError("our key")],
)
async def test_a_failure_that_cost_nothing_may_be_tried_again_with_its_key(failure: PixyProxyException) -> None:
    stage = Stage()
    stage.generator.failure = failure
    async with stage.client() as client:
        failed = await client.post("/image", json={"prompt": "a dot"}, headers=with_key("order-66"))
        assert (failed.status_code, failed.json()["cost"]) == (failure.status, "none")
        stage.generator.failure = None
        answers = [
            await client.post("/image", json={"prompt": "a dot"}, headers=with_key("order-66")) for _ in range(2)
        ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert [answer.headers.get("idempotent-replayed") for answer in answers] == [None, "true"]
    assert len(stage.generator.requests) == 2


async def test_a_failure_that_was_billed_is_answered_again_and_not_bought_again() -> None:
    stage = Stage()
    stage.generator.failure = UpstreamAnswerError("nonsense")
    async with stage.client() as client:
        failed = await client.post("/image", json={"prompt": "a dot"}, headers=with_key("order-66"))
        stage.generator.failure = None
        again = await client.post("/image", json={"prompt": "a dot"}, headers=with_key("order-66"))
    for answer in (failed, again):
        assert answer.status_code == 502
        problem = answer.json()
        assert (problem["type"], problem["detail"]) == ("urn:pixyproxy:problem:upstream-answer", "nonsense")
        assert problem["cost"] == "billed"
        assert problem["request_id"] == answer.headers["x-request-id"]
    assert "idempotent-replayed" not in failed.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert len(stage.generator.requests) == 1


@pytest.mark.parametrize("failure", [UpstreamDeadlineError("late"), UpstreamUnknownOutcomeError("lost")])
async def test_what_may_have_been_billed_is_not_bought_again(failure: PixyProxyException) -> None:
    stage = Stage()
    stage.generator.failure = failure
    async with stage.client() as client:
        failed = await client.post("/image", json={"prompt": "a dot"}, headers=with_key("order-66"))
        stage.generator.failure = None
        again = await client.post("/image", json={"prompt": "a dot"}, headers=with_key("order-66"))
        (generation,) = (await client.get("/generation")).json()
    assert (failed.status_code, failed.json()["type"]) == (failure.status, failure.type)
    assert failed.json()["cost"] == "unknown"
    assert again.status_code == 409
    assert again.headers["idempotent-replayed"] == "true"
    problem = again.json()
    assert problem["type"] == "urn:pixyproxy:problem:outcome-unknown"
    assert (problem["generation"], problem["cause"]) == (generation["guid"], failure.type)
    assert len(stage.generator.requests) == 1


async def test_a_process_that_ran_too_many_generations_refuses_one_more_before_anything_is_spent() -> None:
    stage = Stage(maximum=1)
    async with stage.client() as client, drawing_until_the_end_of(stage):
        headers = with_key("order-66", Prefer="respond-async")
        assert (await client.post("/image", json={"prompt": "a dot"}, headers=headers)).status_code == 202
        refused = await client.post("/image", json={"prompt": "a dot"}, headers=with_key("order-67"))
        assert refused.status_code == 503
        assert refused.json()["type"] == "urn:pixyproxy:problem:too-many-generations"
        assert refused.headers["retry-after"]
        assert (await client.post("/image", json={"prompt": "a dot"}, headers=headers)).status_code == 202, "it joins"
    assert len(stage.generator.requests) == len(stage.generations.generations) == 1


async def test_a_deleted_image_is_gone_for_all_clients_and_so_are_its_bytes() -> None:
    stage = Stage()
    kept, details = await stage.create(), await stage.create()
    async with stage.client() as client:
        response = await client.delete(f"/image/{details['guid']}")
        assert (response.status_code, response.content) == (204, b"")
        for method, path in (
            ("DELETE", f"/image/{details['guid']}"),
            ("GET", f"/image/{details['guid']}"),
            ("GET", details["url"]),
            ("HEAD", details["url"]),
        ):
            gone = await client.request(method, path)
            assert gone.status_code == 404
            assert method == "HEAD" or gone.json()["type"] == "urn:pixyproxy:problem:image-not-found"
        assert (await client.get("/image")).json() == [kept]
        assert [each["images"] for each in (await client.get("/generation")).json()] == [[], [kept]]
    assert list(stage.storage.objects) == [kept["filename"]]
    assert stage.images.deleted == {}


@pytest.mark.parametrize("guid", [UNKNOWN, "x", UNKNOWN.replace("-", "")])
async def test_an_image_that_is_not_there_cannot_be_deleted(guid: str) -> None:
    stage = Stage()
    details = await stage.create()
    async with stage.client() as client:
        response = await client.delete(f"/image/{guid}")
    assert (response.status_code, response.json()["type"]) == (404, "urn:pixyproxy:problem:image-not-found")
    assert list(stage.storage.objects) == [details["filename"]]


async def test_nobody_deletes_an_image_without_a_key() -> None:
    stage = Stage()
    details = await stage.create()
    async with stage.client(key=False) as client:
        assert (await client.delete(f"/image/{details['guid']}")).status_code == 401
        assert (await client.get(f"/image/{details['guid']}")).json() == public_part(details)


async def test_the_key_of_a_deleted_image_says_so_and_buys_nothing() -> None:
    stage = Stage()
    async with stage.client() as client:
        made = await client.post("/image", json={"prompt": "a dot"}, headers=with_key("order-66"))
        await client.delete(made.headers["location"])
        again = await client.post("/image", json={"prompt": "a dot"}, headers=with_key("order-66"))
    assert again.status_code == 410
    assert again.json()["type"] == "urn:pixyproxy:problem:image-deleted"
    assert again.headers["idempotent-replayed"] == "true"
    assert len(stage.generator.requests) == 1


@pytest.mark.parametrize("unavailable", ["storage", "records"])
async def test_a_deletion_that_cannot_be_finished_is_one_still_and_a_reconciler_finishes_it(unavailable: str) -> None:
    stage = Stage()
    details = await stage.create()
    if unavailable == "storage":
        stage.storage.failure = StorageUnavailableError("unavailable")
    else:
        stage.images.failure = DatabaseUnavailableError("unavailable")
    async with stage.client() as client:
        assert (await client.delete(f"/image/{details['guid']}")).status_code == 204
        assert (await client.get(f"/image/{details['guid']}")).status_code == 404
        assert (await client.delete(f"/image/{details['guid']}")).status_code == 404
    assert list(stage.images.deleted) == [UUID(details["guid"])]
    stage.storage.failure = stage.images.failure = None
    reconciler = stage.reconciler()
    await reconciler.settle()
    assert reconciler.fixed == {Finding.DELETION: 1}
    assert (stage.storage.objects, stage.images.deleted) == ({}, {})


async def test_a_process_that_ends_begins_nothing_and_answers_what_is_known() -> None:
    stage = Stage()
    async with stage.client() as client:
        known = await client.post("/image", json={"prompt": "a dot"}, headers=with_key("order-66"))
        stage.readiness.ending.set()
        for headers in ({}, with_key("order-67")):
            refused = await client.post("/image", json={"prompt": "a dot"}, headers=headers)
            assert refused.status_code == 503
            assert refused.json()["type"] == "urn:pixyproxy:problem:shutting-down"
            assert refused.json()["cost"] == "none"
            assert refused.headers["retry-after"]
        again = await client.post("/image", json={"prompt": "a dot"}, headers=with_key("order-66"))
        assert (again.status_code, again.json()) == (201, known.json())
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["failed"]) == (503, ["process"])
        assert ready.headers["retry-after"]
        assert (await client.get("/healthz")).status_code == 200
    assert len(stage.generator.requests) == 1


PRIVATE = {
    ("/image", "get"),
    ("/image", "post"),
    ("/image/{guid}", "delete"),
    ("/generation", "get"),
    ("/generation/{guid}", "get"),
    ("/session", "get"),
    ("/session", "delete"),
    ("/v1/images/generations", "post"),
    ("/v1/images/edits", "post"),
    ("/v1/models", "get"),
    ("/v1/models/{model}", "get"),
    ("/key", "get"),
    ("/key", "post"),
    ("/key/self", "get"),
    ("/usage", "get"),
    ("/budget", "get"),
    ("/budget/{period}", "put"),
    ("/budget/{period}", "delete"),
    ("/price", "get"),
    ("/key/{name}", "get"),
    ("/key/{name}", "patch"),
    ("/key/{name}", "delete"),
    ("/key/{name}/rotate", "post"),
}


def test_the_openapi_document_is_valid_and_describes_auth_and_every_error() -> None:
    stage = Stage()
    api = create_api(stage.services, version="test")
    document = api.openapi()
    validate(document)
    paths = document["paths"]
    assert set(paths) == {
        *("/image", "/image/{guid}", "/image/{guid}/content", "/image/{guid}.{extension}"),
        *("/image/{guid}/thumbnail", "/generation", "/generation/{guid}", "/healthz", "/readyz", "/readyz/process"),
        *("/key", "/key/self", "/key/{name}", "/key/{name}/rotate", "/usage"),
        *("/budget", "/budget/{period}", "/price"),
        *("/session", "/v1/images/generations", "/v1/images/edits", "/v1/models", "/v1/models/{model}"),
    }
    for path, operations in paths.items():
        for method, operation in operations.items():
            private = (path, method) in PRIVATE
            assert bool(operation.get("security")) is private
            assert ("401" in operation["responses"]) is (private or (path, method) == ("/session", "post"))
            for status, response in operation["responses"].items():
                if status[0] in "45":
                    (schema,) = response["content"].values()
                    shape = "OpenAIError" if path.startswith("/v1/") else "Problem"
                    assert schema == {"schema": {"$ref": f"#/components/schemas/{shape}"}}
    assert set(paths["/image"]["post"]["responses"]) == {
        *("201", "202", "400", "401", "402", "403", "408", "409", "410", "413", "415", "422"),
        *("429", "500", "502", "503", "504"),
    }
    assert paths["/image"]["post"]["requestBody"]["required"] is True


async def test_only_the_answer_to_a_request_for_a_picture_has_its_cost() -> None:
    stage = Stage()
    details = await stage.create()
    stage.database.failure = stage.generations.failure = DatabaseUnavailableError("unavailable")
    async with stage.client() as client:
        looked = await client.get("/generation/" + details["guid"])
        asked = await client.post("/image", json={"prompt": planted.PROMPT})
    assert (looked.status_code, asked.status_code) == (503, 503)
    assert "cost" not in looked.json(), "the generation may be on its way, and billed"
    assert asked.json()["cost"] == "none"
